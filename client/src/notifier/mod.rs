//! Notifier: reports a gateway's sockets to the presence service.
//!
//! - `builder`, `http`: configuration, and the task that sends the calls.
//! - `scheduler`: the sans-IO core, which decides which call is made next; `scheduler/drain`: the
//!   end of the gateway.
//! - `players`, `player_queue`, `activity`: what is still to be sent, per player.
//! - `heartbeats`, `timer_queue`: when heartbeats are due.
//! - `limiter`: concurrency limit and circuit breaker per kind of call; `failure_log`: log lines
//!   for failed calls.
//! - `call`, `outcome`: calls, responses, and what these mean for each entry.
//! - `report`: reports of calls, for the gateway's metrics.
//! - `lease`: the gateway's own lease; `gateway_id`: its generated id.

mod activity;
mod builder;
mod call;
mod failure_log;
mod gateway_id;
mod heartbeats;
mod http;
mod lease;
mod limiter;
mod outcome;
mod player_queue;
mod players;
mod report;
mod scheduler;
mod stats;
mod timer_queue;

use std::sync::Arc;

pub use self::{
    builder::HttpNotifierBuilder,
    http::{HttpNotifier, Undelivered},
    report::{CallKind, CallReport},
    stats::Stats,
};
use crate::{Activity, ConnectionId, PlayerId, Reason, State};

/// Receives what happens to a gateway's sockets.
///
/// The methods do not wait, do no I/O and never fail: a gateway serves its sockets whether or not
/// the presence service is available.
pub trait Notifier: Send + Sync {
    /// A player's socket was opened, under an id that was never used before.
    fn connected(&self, player: &PlayerId, connection: &ConnectionId);

    /// A player's socket was closed.
    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason);

    /// The state of a player has changed. [`State::Offline`] signs the player out on every device.
    fn state_changed(&self, player: &PlayerId, state: State);

    /// The activity of a player with an open socket here has changed; `None` removes it.
    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        let _ = (player, activity); // for notifiers that do not report activities
    }
}

/// A notifier that reports nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoopNotifier;

impl Notifier for NoopNotifier {
    fn connected(&self, _: &PlayerId, _: &ConnectionId) {}

    fn disconnected(&self, _: &PlayerId, _: &ConnectionId, _: Reason) {}

    fn state_changed(&self, _: &PlayerId, _: State) {}
}

impl<N: Notifier + ?Sized> Notifier for Arc<N> {
    fn connected(&self, player: &PlayerId, connection: &ConnectionId) {
        (**self).connected(player, connection);
    }

    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason) {
        (**self).disconnected(player, connection, reason);
    }

    fn state_changed(&self, player: &PlayerId, state: State) {
        (**self).state_changed(player, state);
    }

    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        (**self).activity_changed(player, activity);
    }
}

/// `None` reports nothing, like [`NoopNotifier`].
impl<N: Notifier> Notifier for Option<N> {
    fn connected(&self, player: &PlayerId, connection: &ConnectionId) {
        self.iter()
            .for_each(|notifier| notifier.connected(player, connection));
    }

    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason) {
        self.iter()
            .for_each(|notifier| notifier.disconnected(player, connection, reason));
    }

    fn state_changed(&self, player: &PlayerId, state: State) {
        self.iter()
            .for_each(|notifier| notifier.state_changed(player, state));
    }

    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        self.iter()
            .for_each(|notifier| notifier.activity_changed(player, activity));
    }
}
