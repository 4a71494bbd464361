//! Server-sent events: the messages of a WebSocket for callers that name their players once, in the
//! URL.

use std::{convert::Infallible, time::Duration};

use axum::{
    http::{HeaderValue, header},
    response::{
        IntoResponse as _, Response, Sse,
        sse::{Event, KeepAlive},
    },
};
use futures_util::stream;
use presence::{
    http::Problem,
    model::PlayerId,
    watch::{FeedStates, Watch, WatchReply, WatchStream},
};
use tokio::sync::watch;

use super::throttle::Throttle;

/// The interval of keep-alive comments on an idle stream: proxies do not close it, and a client
/// that has left is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// A stream of server-sent events.
struct Events {
    stream: WatchStream,
    feeds: FeedStates,
    snapshot: Option<WatchReply>,
    throttle: Throttle,
    closing: watch::Receiver<()>,
    is_closing: bool,
}

/// Opens a stream about some players: `event: feed` first, then `event: presences` with all of
/// them, then both as they change, until the server ends.
///
/// # Errors
/// 503 if too many streams are open, or if the players cannot be read.
pub(super) async fn open(
    watch: &Watch,
    players: Vec<PlayerId>,
    closing: watch::Receiver<()>,
) -> Result<Response, Problem> {
    let stream = watch.open()?;
    let snapshot = Some(stream.watch_all(players).await?);
    let feeds = stream.feed_states();
    let throttle = Throttle::new(watch.config().interval);
    let mut events = Events {
        stream,
        feeds,
        snapshot,
        throttle,
        closing,
        is_closing: false,
    };
    let first = event("feed", events.feeds.next().await.message());
    let rest = stream::unfold(events, async |mut events| {
        Some((Ok(events.next().await?), events))
    });
    let all = futures_util::StreamExt::chain(stream::iter([Ok::<_, Infallible>(first)]), rest);
    let mut response = Sse::new(all)
        .keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL))
        .into_response();
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Events {
    /// Waits for the next event. `None` at the end.
    async fn next(&mut self) -> Option<Event> {
        if let Some(snapshot) = &mut self.snapshot {
            match self.stream.next_presences(snapshot) {
                Some(message) => return Some(event("presences", message)),
                None => self.snapshot = None,
            }
        }
        if !self.is_closing {
            tokio::select! {
                biased;
                _ = self.closing.changed() => self.is_closing = true,
                feed = self.feeds.next() => return Some(event("feed", feed.message())),
                changes = self.throttle.changes(&self.stream) => return Some(event("presences", changes.message)),
            }
        }
        self.throttle
            .take(&self.stream)
            .map(|changes| event("presences", changes.message))
    }
}

fn event(name: &str, data: String) -> Event {
    Event::default().event(name).data(data)
}
