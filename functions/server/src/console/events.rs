//! Events as they come: server-sent events.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::response::{
    IntoResponse as _, Response, Sse,
    sse::{Event, KeepAlive},
};
use futures_util::{Stream, StreamExt as _, stream};
use presence::{events::LiveEvents, http::Problem};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast::error::RecvError, watch};

use crate::body::respond;

/// The number of streams at a time.
const MAX_STREAMS: usize = 64;

/// A stream on which nothing happens says so, lest a proxy take it for dead; and a client that is gone is noticed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Opens streams, as many as are allowed.
#[derive(Clone)]
pub(super) struct Streams {
    live: LiveEvents,
    slots: Arc<Semaphore>,
    closing: watch::Receiver<()>,
}

impl Streams {
    pub(super) fn new(live: LiveEvents, closing: watch::Receiver<()>) -> Self {
        Self { live, slots: Arc::new(Semaphore::new(MAX_STREAMS)), closing }
    }

    /// `event: ready` first; then each presence event as `event: presence`, until the server ends. Where the client is
    /// slower than the events: `event: missed`, with their number.
    pub(super) async fn open(&self) -> Response {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return respond(Err(Problem::overloaded()));
        };
        let events = self.events(slot).await.map(Ok::<_, Infallible>);
        Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
    }

    async fn events(&self, slot: OwnedSemaphorePermit) -> impl Stream<Item = Event> + use<> {
        let receiver = self.live.listen().await;
        let mut closing = self.closing.clone();
        let ready = Event::default().event("ready").data("{}");
        let events = stream::unfold((receiver, slot), async |(mut receiver, slot)| {
            let event = match receiver.recv().await {
                Ok(body) => Event::default().event("presence").data(String::from_utf8_lossy(&body)),
                Err(RecvError::Lagged(count)) => {
                    Event::default().event("missed").data(format!(r#"{{"count":{count}}}"#))
                }
                Err(RecvError::Closed) => return None,
            };
            Some((event, (receiver, slot)))
        });
        let closed = async move { _ = closing.changed().await };
        stream::once(std::future::ready(ready)).chain(events).take_until(Box::pin(closed))
    }
}
