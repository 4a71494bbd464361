//! Tests over real HTTP, against a stand-in for the service.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod client;
mod events;
mod faults;
mod gateway;
mod gateway_lease;
mod notifier;
#[cfg(feature = "sigv4")]
mod sigv4;
mod stand_in;
mod watcher;
