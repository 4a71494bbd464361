//! What a game's gateways, and services that ask about players, link to use the presence service. It speaks HTTP to the
//! service and knows of nothing behind it.
//!
//! Layout, in the direction of its arrows:
//!
//! - [`PlayerId`], [`ConnectionId`], [`State`], [`Activity`], [`Reason`], [`Presence`]: the words, parsed at the edge.
//! - [`Endpoint`]: where the service is; [`CallError`] and [`Problem`]: why a call failed.
//! - `transport`: one HTTP call, within its limits; `pool`: its connections, with a maximum age.
//! - [`PresenceClient`]: the calls for services, awaited by whoever makes them.
//! - [`operator`]: the calls for people who run the service, and its events as they come.
//! - [`Watcher`]: what each of some players is, then every change, over one stream for the whole process.
//! - [`Notifier`]: what a gateway tells, without waiting. [`NoopNotifier`] tells nobody, [`HttpNotifier`] the service.
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
//! let notifier: Arc<dyn Notifier> = presence.clone(); // what the gateway's code gets to see
//!
//! let (player, connection) = (PlayerId::parse("alice")?, ConnectionId::parse("gateway-7f3a-1")?);
//! notifier.connected(&player, &connection);
//! notifier.state_changed(&player, State::InMatch);
//! notifier.disconnected(&player, &connection, Reason::from_close_code(1000));
//!
//! presence.drain(Reason::Moving, Duration::from_secs(10)).await?; // at the end; sockets are closed after this call began
//! # Ok(())
//! # }
//! ```
//!
//! `examples/ws_gateway.rs` is a whole one.
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
//!     let friend = friends.recv().await; // first what each one is, then every change
//!     println!("{} is {}", friend.player_id, friend.state);
//! }
//! # }
//! ```
//!
//! Nothing is lost and nothing is delivered twice, also when servers end: see [`Watcher`].
//!
//! # How an `HttpNotifier` works
//!
//! ```text
//! connected, state_changed, disconnected          the service
//!            │                                        ▲ │
//!            ▼                          a call, a batch │ answer
//!   a lane a player: first in, first out ─────┐       │ ▼
//!   heartbeats: each connection's next ───────┴──▶ a gate a kind of call ──▶ on_closed
//! ```
//!
//! - What the gateway tells goes into its player's lane, under a lock that is never held during I/O. A lane's first task
//!   waits, 5 ms at most, with those of other lanes that can share its call; the next waits for the answer. So one
//!   player's news arrive in order, and ten thousand reconnects are ten calls.
//! - Of a lane's tasks only what matters is kept: the latest state; and of a connection that closed before the service
//!   was told of it, nothing.
//! - Heartbeats are no queue: every open connection has one next heartbeat, and a batch of those that come first goes out
//!   at even distances (10,000 connections: 1,000 every 1.5 s). One that is late takes the place of the next, counted as
//!   [dropped](Stats::dropped).
//! - The gateway has a lease of its own, renewed at the interval that the service asks for. A renewal that fails is repeated
//!   well before the lease expires. If the service does not know the gateway any more, all connections are announced: in
//!   batches, at least 500 ms apart, so 10,000 within 5 s. Connects and heartbeats name the gateway. A service that does
//!   not have leases of gateways (404) is logged once, and asked again less and less often.
//! - [`drain`](HttpNotifier::drain) delivers what waits, stops the heartbeats, and ends the lease in one call, which ends those of
//!   all connections. If the service counts fewer connections than are open, all are disconnected as well.
//! - A call that fails (no answer, or a status that is not about what the call says, such as 401, 403, 429 or 503) closes
//!   the gate of its kind for a while that grows from 0.1 s to 6 s with jitter, `Retry-After` added, 15 s at most; then
//!   one call at a time tries, until one succeeds. What it carried is sent again; all calls may be repeated. If only some
//!   entries of a batch failed, these are sent again a second or two later. So a token that is not accepted costs no
//!   report: [`set_token`](HttpNotifier::set_token) gives a new one, and ends the pause.
//! - A call that is refused (400, 409, 410, 413) is not repeated: a connection is then left to its heartbeats, which
//!   restore it. If a 400 names one entry of a batch, that is dropped and the others are sent again; if a batch is too
//!   long for the service, batches are halved from then on.
//! - The last state of each player with an open connection is kept. If the service lost the player's record (a heartbeat
//!   restored a connection, or no lease of the player was renewed for a TTL), the state is reported again, unless a newer
//!   one waits. A sign-out ends that, by this gateway or by another caller.
//! - The same goes for the last [activity](Activity) of each player with an open connection. At most one change per second
//!   and player is sent, after what else waits for the player: of those in between the latest wins.
//! - Memory is bounded, however long the service is down. A lane has at most two tasks per connection and three about the
//!   state; and what could not be delivered for twice a lease's time is given up, as the service has forgotten by then
//!   what it was about: all but the state of a player who is connected. What remains after that is a lane for each open
//!   connection.
//! - TCP connections are replaced [regularly](Endpoint::with_max_connection_age), so that new servers behind a load
//!   balancer get calls.

mod activity;
mod client;
mod endpoint;
mod error;
mod id;
mod notifier;
pub mod operator;
mod pool;
mod presence;
mod transport;
mod watcher;

pub use activity::{Activity, Party};
pub use client::PresenceClient;
pub use endpoint::{Endpoint, InvalidEndpoint};
pub use error::{CallError, Problem};
pub use id::{ConnectionId, GatewayId, InvalidId, PlayerId};
pub use notifier::{HttpNotifier, HttpNotifierBuilder, NoopNotifier, Notifier, Stats, Undelivered};
pub use presence::{Friends, History, Presence, Reason, State};
pub use watcher::{FeedState, StatusChanges, Subscription, WatchStats, WatchStatus, WatchedPresence, Watcher};
