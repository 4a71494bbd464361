//! A simulated gateway: a notifier and a watcher, as a real one has.

use std::time::Duration;

use presence_client::{
    ConnectionId, HttpNotifier, InvalidEndpoint, Notifier, PlayerId, Reason, State,
};

use super::{plan::Plan, recorder::Recorder, roster::Roster, view::View};
use crate::{failure::Failure, service::Service, target::unusable};

/// A gateway with its lease, its players' connections and the players that it watches.
#[derive(Debug)]
pub(super) struct Gateway {
    notifier: HttpNotifier,
    view: Option<View>,
    /// Heartbeats that were missed before [`begin`](Self::begin).
    missed_before: u64,
}

impl Gateway {
    /// Starts the gateway of this number.
    pub(super) fn start(
        service: &Service,
        recorder: &Recorder,
        roster: &Roster,
        plan: &Plan,
        number: u32,
    ) -> Result<Self, Failure> {
        let calls = recorder.clone();
        let closed = recorder.clone();
        let restored = recorder.clone();
        let notifier = service
            .notifier()
            .gateway_id(roster.gateway(number))
            .on_call(move |report| calls.record_call(report))
            .on_closed(move |_, _| closed.record_lost_connection())
            .on_restored(move |_, _| restored.record_lost_connection())
            .start()
            .map_err(|error: InvalidEndpoint| unusable(&error))?;
        let view = match plan.watched {
            0 => None,
            watched => {
                // Distribute the views evenly, so that they overlap as little as possible.
                let offset = u64::from(number) * u64::from(plan.players) / u64::from(plan.gateways);
                let first = u32::try_from(offset).unwrap_or_default();
                Some(View::start(
                    &service.watcher()?,
                    recorder,
                    roster,
                    first,
                    watched,
                ))
            }
        };
        Ok(Self {
            notifier,
            view,
            missed_before: 0,
        })
    }

    pub(super) fn connected(&self, player: &PlayerId, connection: &ConnectionId) {
        self.notifier.connected(player, connection);
    }

    pub(super) fn disconnected(&self, player: &PlayerId, connection: &ConnectionId) {
        self.notifier.disconnected(player, connection, Reason::Quit);
    }

    pub(super) fn state_changed(&self, player: &PlayerId, state: State) {
        self.notifier.state_changed(player, state);
    }

    /// Starts the measurement.
    pub(super) fn begin(&mut self) {
        self.missed_before = self.notifier.stats().dropped;
        self.view.iter().for_each(View::begin);
    }

    /// Heartbeats that were missed since [`begin`](Self::begin).
    pub(super) fn missed_heartbeats(&self) -> u64 {
        self.notifier.stats().dropped - self.missed_before
    }

    /// The number of reports that were not delivered yet.
    pub(super) fn waiting(&self) -> u64 {
        self.notifier.stats().queue_length
    }

    /// The players that the gateway watches; `None` if it watches none, or the service does not
    /// support it.
    pub(super) fn view(&self) -> Option<&View> {
        self.view.as_ref().filter(|view| view.is_offered())
    }

    /// Ends the gateway's lease, and with it the connections.
    pub(super) async fn leave(mut self, timeout: Duration) {
        self.view = None;
        // The result does not matter, as all players are read afterwards.
        let _ = self.notifier.drain(Reason::Quit, timeout).await;
    }
}
