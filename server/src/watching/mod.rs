//! Streams for callers that watch players (`GET /watch`): a WebSocket, or server-sent events.
//!
//! - `handshake`: the choice between the two.
//! - `session`: a WebSocket session, from its first message to its last.
//! - `socket`: progress, pongs and the end of a session's socket.
//! - `server_sent`: server-sent events.
//! - `throttle`: how often changes are sent.

mod handshake;
mod server_sent;
mod session;
mod socket;
mod throttle;

use axum::{extract::Request, response::Response};
use presence::{http::Problem, watch::Watch};
use tokio::sync::watch;

use crate::call::{refuse, respond};
use handshake::StreamKind;
use session::Session;

/// The handler of `GET /watch`.
#[derive(Clone)]
pub(crate) struct Watching {
    watch: Watch,
    /// Streams end when the sender is dropped.
    closing: watch::Receiver<()>,
}

impl Watching {
    pub(crate) fn new(watch: Watch, closing: watch::Receiver<()>) -> Self {
        Self { watch, closing }
    }

    /// Opens a stream of the requested kind.
    pub(crate) async fn respond(&self, request: Request) -> Response {
        match handshake::stream_kind(&request) {
            Ok(StreamKind::WebSocket { accept }) => match self.watch.open() {
                Ok(stream) => {
                    let session =
                        Session::new(stream, self.watch.config().interval, self.closing.clone());
                    handshake::switch(&accept, session)
                }
                Err(problem) => respond(Err(problem)),
            },
            Ok(StreamKind::ServerSentEvents { players }) => {
                match server_sent::open(&self.watch, players, self.closing.clone()).await {
                    Ok(response) => response,
                    Err(problem) => respond(Err(problem)),
                }
            }
            Ok(StreamKind::Neither) => {
                handshake::with_version(refuse(request, Problem::upgrade_required()).await)
            }
            Err(problem) => refuse(request, problem).await,
        }
    }
}
