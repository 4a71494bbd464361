//! Telling the presence service of a gateway's sockets.

mod activity;
mod agenda;
mod beats;
mod builder;
mod call;
mod desk;
mod episode;
mod gate;
mod http;
mod lane;
mod lease;
mod outcome;
mod players;
mod stats;

use std::sync::Arc;

pub use self::{
    builder::HttpNotifierBuilder,
    http::{HttpNotifier, Undelivered},
    stats::Stats,
};
use crate::{Activity, ConnectionId, PlayerId, Reason, State};

/// Who wants to know what happens to a gateway's sockets.
///
/// Nothing here awaits, does I/O or fails: a gateway serves its sockets whether or not anybody hears.
pub trait Notifier: Send + Sync {
    /// A player's socket is open, under an id that was never used before.
    fn connected(&self, player: &PlayerId, connection: &ConnectionId);

    /// A player's socket is closed.
    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason);

    /// A player does something else now. [`State::Offline`] signs the player out on every device.
    fn state_changed(&self, player: &PlayerId, state: State);

    /// A player with an open socket here has another activity now, or none any more.
    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        let _ = (player, activity); // for notifiers that do not report activities
    }
}

/// Tells nobody.
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

/// `None` tells nobody, as [`NoopNotifier`].
impl<N: Notifier> Notifier for Option<N> {
    fn connected(&self, player: &PlayerId, connection: &ConnectionId) {
        self.iter().for_each(|notifier| notifier.connected(player, connection));
    }

    fn disconnected(&self, player: &PlayerId, connection: &ConnectionId, reason: Reason) {
        self.iter().for_each(|notifier| notifier.disconnected(player, connection, reason));
    }

    fn state_changed(&self, player: &PlayerId, state: State) {
        self.iter().for_each(|notifier| notifier.state_changed(player, state));
    }

    fn activity_changed(&self, player: &PlayerId, activity: Option<&Activity>) {
        self.iter().for_each(|notifier| notifier.activity_changed(player, activity));
    }
}
