//! Live events as server-sent events (`GET /console/events`).

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse as _, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures_util::{Stream, StreamExt as _, stream};
use presence::{
    events::{Listener, LiveEvents},
    http::Problem,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError, watch};

use crate::call::respond;

/// The number of concurrent streams.
const MAX_STREAMS: usize = 64;

/// The interval of keep-alive comments on an idle stream, so that proxies do not close it and a
/// client that has left is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);

/// Opens streams, up to [`MAX_STREAMS`] at a time.
#[derive(Clone)]
pub(super) struct Streams {
    live: LiveEvents,
    slots: Arc<Semaphore>,
    closing: watch::Receiver<()>,
}

impl Streams {
    pub(super) fn new(live: LiveEvents, closing: watch::Receiver<()>) -> Self {
        Self {
            live,
            slots: Arc::new(Semaphore::new(MAX_STREAMS)),
            closing,
        }
    }

    /// Opens a stream, which ends with the server. It sends `event: feed` first and at each change,
    /// with `live` or `down`; `event: ready` whenever the feed becomes live; each presence event as
    /// `event: presence`; and `event: missed` with a number if the client is slower than the
    /// events.
    pub(super) async fn open(&self) -> Response {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return respond(Err(Problem::overloaded()));
        };
        let events = self.events(slot).await.map(Ok::<_, Infallible>);
        Sse::new(events)
            .keep_alive(KeepAlive::new().interval(KEEP_ALIVE_INTERVAL))
            .into_response()
    }

    async fn events(&self, slot: OwnedSemaphorePermit) -> impl Stream<Item = Event> + use<> {
        let mut listener = self.live.listen().await;
        listener.is_live.mark_changed(); // the first state is sent, too
        let mut closing = self.closing.clone();
        let messages = stream::unfold((listener, slot), async |(mut listener, slot)| {
            Some((next(&mut listener).await?, (listener, slot)))
        });
        let closed = async move { _ = closing.changed().await };
        messages.flat_map(stream::iter).take_until(Box::pin(closed))
    }
}

/// Waits for the next messages. `None` at the end.
async fn next(listener: &mut Listener) -> Option<Vec<Event>> {
    let build_message = |name: &str, data: String| Event::default().event(name).data(data);
    tokio::select! {
        biased; // a change of the feed before the events that follow it
        changed = listener.is_live.changed() => {
            changed.ok()?;
            let is_live = *listener.is_live.borrow_and_update();
            Some(match is_live {
                // Clients of earlier versions wait for the first `ready` and ignore `feed`.
                true => vec![build_message("ready", "{}".to_owned()), build_message("feed", r#"{"feed":"live"}"#.to_owned())],
                false => vec![build_message("feed", r#"{"feed":"down"}"#.to_owned())],
            })
        }
        event = listener.events.recv() => match event {
            Ok(body) => Some(vec![build_message("presence", String::from_utf8_lossy(&body).into_owned())]),
            Err(RecvError::Lagged(count)) => Some(vec![build_message("missed", format!(r#"{{"count":{count}}}"#))]),
            Err(RecvError::Closed) => None,
        },
    }
}
