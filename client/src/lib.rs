//! Client library of the presence service, for the gateways of a game and for services that query
//! players. It calls the service over HTTP and depends on nothing behind it.
//!
//! Layout; each item uses only those above it:
//!
//! - [`PlayerId`], [`ConnectionId`], [`State`], [`Activity`], [`Reason`], [`Presence`]: values,
//!   validated when parsed. They are defined in the crate `presence-types`, which the service uses
//!   as well.
//! - [`Endpoint`]: address and token of the service; [`CallError`] and [`Problem`]: why a call
//!   failed.
//! - `sigv4`: signatures for APIs of API Gateway, with the feature of this name.
//! - `transport`: one HTTP call with a time limit; `pool`: its connections, which have a maximum
//!   age.
//! - [`PresenceClient`]: queries and changes for services. The caller awaits each call.
//! - [`operator`]: queries for operators of the service, and its live events.
//! - [`Watcher`]: the current presence of some players, then every change, over one stream for the
//!   whole process.
//! - [`Notifier`]: reports of a gateway, without waiting. [`HttpNotifier`] sends them to the
//!   service, [`NoopNotifier`] discards them.
//!
//! A gateway:
//!
//! ```no_run
//! use std::{sync::Arc, time::Duration};
//!
//! use presence_client::{ConnectionId, Endpoint, HttpNotifier, Notifier, PlayerId, Reason, State};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let endpoint = Endpoint::parse("http://presence:8080")?.with_token("secret")?;
//! let presence = Arc::new(
//!     HttpNotifier::builder(endpoint)
//!         .on_closed(|player, connection| println!("close the socket {connection} of {player}"))
//!         .start()?,
//! );
//! let notifier: Arc<dyn Notifier> = presence.clone(); // for the rest of the gateway's code
//!
//! let player = PlayerId::parse("alice")?;
//! let connection = ConnectionId::parse("gateway-7f3a-1")?;
//! notifier.connected(&player, &connection);
//! notifier.state_changed(&player, State::InMatch);
//! notifier.disconnected(&player, &connection, Reason::from_close_code(1000));
//!
//! // When the gateway stops. Close the sockets after this call has begun.
//! presence.drain(Reason::Moving, Duration::from_secs(10)).await?;
//! # Ok(())
//! # }
//! ```
//!
//! `examples/ws_gateway` is a complete one.
//!
//! # Friends
//!
//! A gateway opens one [`Watcher`], and one [`Subscription`] per socket:
//!
//! ```no_run
//! use presence_client::{Endpoint, PlayerId, Watcher};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let watcher = Watcher::start(Endpoint::parse("http://presence:8080")?.with_token("secret")?)?;
//!
//! let mut friends = watcher.watch(&[PlayerId::parse("bob")?, PlayerId::parse("carol")?]);
//! loop {
//!     let friend = friends.recv().await; // first the presence of each friend, then every change
//!     println!("{} is {}", friend.player_id, friend.state);
//! }
//! # }
//! ```
//!
//! There are no gaps and no duplicates, even when servers stop: see [`Watcher`].
//!
//! # How an `HttpNotifier` works
//!
//! ```text
//! connected, state_changed, disconnected            the service
//!            │                                          ▲ │
//!            ▼                        a call, a batch   │ │ response
//!   one queue per player: first in, first out ──┐       │ ▼
//!   heartbeats: the next one per connection ────┴──▶ one limiter per kind of call ──▶ on_closed, on_restored
//! ```
//!
//! - **Order.** Each report of the gateway goes into the queue of its player, under a lock that is
//!   never held during I/O. The first task of a queue waits at most 5 ms for tasks of other queues
//!   that can share its call; the next task waits for the response. So the reports of one player
//!   arrive in order, and ten thousand reconnects are ten calls.
//! - **Obsolete tasks are dropped.** Only the latest state is sent. If a connection closes before
//!   its connect was sent, nothing is sent about it.
//! - **Heartbeats are not queued.** Each open connection has one next heartbeat, and batches of
//!   those that are due first are sent at even distances (10,000 connections: 1,000 every 1.5 s). A
//!   heartbeat that is late replaces the next one, which counts as [dropped](Stats::dropped).
//! - **Gateway lease.** The gateway has a lease of its own, renewed at the interval that the
//!   service requests. A failed renewal is repeated well before the lease expires. If the service
//!   does not know the gateway, all connections are announced: in batches, at least 500 ms apart,
//!   so 10,000 within 5 s. Connects and heartbeats name the gateway. A service that does not
//!   support leases of gateways (404) is logged once, and the renewal is tried less and less often.
//! - **Drain.** [`drain`](HttpNotifier::drain) sends waiting tasks, stops the heartbeats, and ends
//!   the lease in one call, which ends the leases of all connections. If the service counts fewer
//!   connections than are open, all are disconnected as well.
//! - **Failed calls.** A call fails if it gets no response, or a status that does not concern its
//!   content, such as 401, 403, 429 or 503. Calls of its kind then pause, for 0.1 s and up to 6 s
//!   with jitter, plus `Retry-After`, 15 s at most. After that, one call at a time is tried, until
//!   one succeeds. Its tasks are sent again, as a call whose result is unknown may be repeated. If
//!   only some entries of a batch failed, these are sent again one or two seconds later. So no
//!   report is lost because of a refused token: [`set_token`](HttpNotifier::set_token) replaces the
//!   token and ends the pause.
//! - **Refused calls.** A call that is refused for its content (400, 409, 410, 413) is not
//!   repeated. A refused connect is made up for by the heartbeats of the connection, which restore
//!   it. If a 400 names one entry of a batch, this entry is dropped and the others are sent again.
//!   If a batch is too long for the service, further batches are half as long.
//! - **States.** The last state of each player with an open connection is kept. If the service lost
//!   the player's record (a heartbeat restored a connection, or no lease of the player was renewed
//!   for a TTL), the state is reported again, unless a newer one waits. A sign-out, by this gateway
//!   or by another caller, ends that.
//! - **Activities.** The same holds for the last [activity](Activity) of each player with an open
//!   connection. At most one change per second and player is sent, after the other tasks of the
//!   player. Of the changes in between, only the latest is sent.
//! - **Bounded memory.** However long the service is down, a queue has at most two tasks per
//!   connection and three about the state. A task that could not be delivered within two TTLs is
//!   given up, since everything that it could change has expired in the service by then. The state
//!   of a connected player is kept. What remains is one queue per connected player.
//! - **TCP connections** are replaced [regularly](Endpoint::with_max_connection_age), so that new
//!   servers behind a load balancer receive calls.

mod client;
mod connections;
mod endpoint;
mod error;
mod notifier;
pub mod operator;
mod pool;
#[cfg(feature = "sigv4")]
mod sigv4;
mod transport;
mod watcher;

pub use client::{History, PresenceClient};
pub use connections::Connected;
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{CallError, Problem};
pub use notifier::{
    CallKind, CallReport, HttpNotifier, HttpNotifierBuilder, NoopNotifier, Notifier, Stats,
    Undelivered,
};
#[doc(inline)]
pub use presence_types::{
    Activity, ConnectionId, GatewayId, InvalidId, Party, PlayerId, ProblemKind, Reason, State,
    UnknownName,
};
#[cfg(feature = "sigv4")]
pub use sigv4::{AwsSigner, SignError};
pub use watcher::{
    FeedState, StatusChanges, Subscription, WatchStats, WatchStatus, WatchedPresence, Watcher,
};

/// One player's presence at one moment.
pub type Presence = presence_types::Presence<Activity>;

/// The presences of several players, read at one moment.
pub type Friends = presence_types::Friends<Activity>;
