//! Events: from the outbox to JetStream.
//!
//! The scripts write an event into the outbox in the same step as its transition. Whoever publishes it strikes it from
//! the outbox only after JetStream's ack, so that a crash between the two loses nothing; the event's id makes a second
//! publish harmless.

mod message;
mod publisher;
mod relay;

pub use publisher::Publisher;
pub use relay::{Relay, Relayed};
