//! Publishing of events, from the outbox to JetStream.
//!
//! The scripts write an event into the outbox in the same step as its transition. The caller of
//! the publisher removes it from the outbox after JetStream's ack, so that a crash between the two
//! loses nothing; the event's id makes a second publish harmless. An event that can never be
//! published is removed, too.

mod backlog;
mod breaker;
mod connection;
mod follower;
mod history;
mod live;
mod message;
mod publisher;
mod relay;
mod signal;
mod spans;
mod stream;
mod window;

pub use backlog::Backlog;
pub(crate) use backlog::Oldest;
pub(crate) use follower::{Continuity, FollowError, Follower};
pub use history::{EventHistory, HistoryError};
pub use live::{Listener, LiveEvents};
pub use publisher::Publisher;
pub(crate) use publisher::{AttemptPolicy, NatsHealth};
pub use relay::{Relay, Relayed};
pub use signal::RelaySignal;

/// The way in which the events of a call are published.
#[derive(Clone)]
pub enum PublishMode {
    /// The service emits no events.
    Off,
    /// The call publishes them before it responds: after the response AWS Lambda freezes the
    /// process.
    Inline(Publisher),
    /// The relay of this process publishes them, while the call continues.
    Relayed(RelaySignal),
}
