//! Events: from the outbox to JetStream.
//!
//! The scripts write an event into the outbox in the same step as its transition. Whoever publishes it strikes it from
//! the outbox only after JetStream's ack, so that a crash between the two loses nothing; the event's id makes a second
//! publish harmless.

mod backlog;
mod breaker;
mod connection;
mod follower;
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
pub use live::{Listener, LiveEvents};
pub use publisher::Publisher;
pub(crate) use publisher::{NatsHealth, Patience};
pub use relay::{Relay, Relayed};
pub use signal::RelaySignal;

/// Who publishes the events that a call made.
#[derive(Clone)]
pub enum Delivery {
    /// Nobody: no events are made.
    Disabled,
    /// The call itself, before it is answered: after the answer AWS Lambda freezes the process.
    BeforeAnswer(Publisher),
    /// The relay of this process, while the call goes on.
    ByRelay(RelaySignal),
}
