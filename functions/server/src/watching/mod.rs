//! `GET /watch`: a WebSocket, or server-sent events, for callers that watch players.
//!
//! - `handshake`: which of the two a request asks for.
//! - `session`: a WebSocket, from its first message to its last.
//! - `socket`: what a session knows of its socket: progress, pongs, how it ends.
//! - `pace`: when changes are sent.
//! - `server_sent`: server-sent events.

mod handshake;
mod pace;
mod server_sent;
mod session;
mod socket;

use axum::{extract::Request, response::Response};
use presence::{http::Problem, watch::Watch};
use tokio::sync::watch;

use crate::body::{refuse, respond};
use handshake::Wish;
use session::Session;

/// Answers `GET /watch`.
#[derive(Clone)]
pub(crate) struct Watching {
    watch: Watch,
    /// Streams end when the sender of this is gone.
    closing: watch::Receiver<()>,
}

impl Watching {
    pub(crate) fn new(watch: Watch, closing: watch::Receiver<()>) -> Self {
        Self { watch, closing }
    }

    /// Opens a stream of the kind that the request asks for.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        match handshake::wish(&request) {
            Ok(Wish::WebSocket { accept }) => match self.watch.open() {
                Ok(stream) => {
                    let session = Session::new(stream, self.watch.config().interval, self.closing.clone());
                    handshake::switch(&accept, session)
                }
                Err(problem) => respond(Err(problem)),
            },
            Ok(Wish::ServerSentEvents { players }) => {
                match server_sent::open(&self.watch, players, self.closing.clone()).await {
                    Ok(response) => response,
                    Err(problem) => respond(Err(problem)),
                }
            }
            Ok(Wish::Neither) => handshake::with_version(refuse(request, Problem::upgrade_required()).await),
            Err(problem) => refuse(request, problem).await,
        }
    }
}
