//! Publishing to JetStream, without ever holding a call up for long.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_nats::{
    AuthError, ConnectOptions, Event,
    connection::State,
    jetstream::{
        Context, ErrorCode,
        consumer::{DeliverPolicy, StreamError, pull},
        context::{
            ContextBuilder, CreateStreamError, CreateStreamErrorKind, GetStreamError, PublishAckFuture,
            PublishErrorKind,
        },
        stream::{self, ConsumerError},
    },
};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::{Notify, OnceCell};

use super::{message, spans::PublishSpans};
use crate::{
    config::{EventsConfig, NatsCredentials},
    repository::OutboxEntry,
    telemetry::metrics::{EVENTS_FAILED, EVENTS_PUBLISHED},
    trace::TraceContext,
};

/// How long JetStream may take to acknowledge a message.
const ACK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long one attempt to connect may take; the next one follows by itself.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// After a failure nobody waits for NATS for this long, unless it is connected anew before.
const COOL_DOWN: Duration = Duration::from_secs(5);

/// The number of messages that may wait for their ack at a time: many enough to hide the round trip, few enough to
/// bound memory.
const WINDOW: usize = 512;

/// How often a cluster of NATS servers shall hold each event of a stream that is made here.
const REPLICAS: usize = 3;

/// Publishes events. Connects at the first of them, and reconnects in the background for ever.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    config: EventsConfig,
    jetstream: OnceCell<Context>,
    retry_at: Arc<Mutex<Option<Instant>>>,
    /// Told of each connection that is made.
    connected: Arc<Notify>,
}

/// Why an event was not published. It waits in the outbox.
#[derive(Debug, thiserror::Error)]
enum PublishError {
    #[error("NATS cannot be used as configured")]
    Connect(#[from] async_nats::ConnectError),
    #[error("the outbox holds something that is no event")]
    NoEvent(#[from] serde_json::Error),
    #[error("JetStream did not acknowledge the event")]
    NoAck(#[from] async_nats::jetstream::context::PublishError),
    #[error("the stream is missing and could not be made")]
    NoStream(#[from] CreateStreamError),
}

/// Why events cannot be followed.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error("NATS cannot be used, or the stream not be made")]
    Publish(#[from] PublishError),
    #[error("the stream cannot be read")]
    Stream(#[from] GetStreamError),
    #[error("JetStream makes no consumer")]
    Consumer(#[from] ConsumerError),
    #[error("the consumer does not deliver")]
    Messages(#[from] StreamError),
}

impl Publisher {
    /// Prepares a publisher; nothing is connected before the first event.
    pub fn new(config: EventsConfig) -> Self {
        Self(Arc::new(Inner {
            config,
            jetstream: OnceCell::new(),
            retry_at: Arc::default(),
            connected: Arc::default(),
        }))
    }

    /// Whether it is worth trying: NATS did not fail a moment ago.
    pub(crate) fn is_ready(&self) -> bool {
        self.0.retry_at.lock().is_ok_and(|retry_at| retry_at.is_none_or(|retry_at| retry_at <= Instant::now()))
    }

    /// Publishes events within `limit`, and returns those that JetStream acknowledged. Returns none, and at once, where
    /// NATS failed a moment ago.
    pub(crate) async fn publish<'a>(&self, entries: &'a [OutboxEntry], limit: Duration) -> Vec<&'a OutboxEntry> {
        if entries.is_empty() || !self.is_ready() {
            return Vec::new();
        }
        let published = match tokio::time::timeout(limit, self.0.publish(entries)).await {
            Ok(published) => published,
            Err(_) => {
                tracing::warn!(?limit, "events not published in time; they wait in the outbox");
                Vec::new()
            }
        };
        metrics::counter!(EVENTS_PUBLISHED).increment(published.len() as u64);
        if published.len() < entries.len() {
            metrics::counter!(EVENTS_FAILED).increment((entries.len() - published.len()) as u64);
            self.0.cool_down();
        }
        published
    }
}

impl Publisher {
    /// Follows the stream from now on; `None` where NATS is away. The stream is made if it is missing.
    pub(super) async fn follow(&self) -> Option<pull::Ordered> {
        match self.0.follow().await {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "events cannot be followed");
                None
            }
        }
    }

    /// Whether JetStream answers, within `limit`.
    pub(crate) async fn is_up(&self, limit: Duration) -> bool {
        let ask = async {
            let client = self.0.jetstream().await.ok()?.client();
            client.request("$JS.API.INFO", Bytes::new()).await.ok()
        };
        matches!(tokio::time::timeout(limit, ask).await, Ok(Some(_)))
    }
}

impl Inner {
    fn cool_down(&self) {
        if let Ok(mut retry_at) = self.retry_at.lock() {
            *retry_at = Some(Instant::now() + COOL_DOWN);
        }
    }

    async fn publish<'a>(&self, entries: &'a [OutboxEntry]) -> Vec<&'a OutboxEntry> {
        let mut published = Vec::with_capacity(entries.len());
        if let Err(error) = self.await_connection().await {
            tracing::error!(error = &error as &dyn std::error::Error, "events not published");
            return published;
        }
        for window in entries.chunks(WINDOW) {
            let spans = PublishSpans::start(window, &self.config.subject);
            let results = self.publish_window(window, &spans).await;
            spans.end(results.iter().all(Result::is_ok));
            let errors = results.iter().filter_map(|result| result.as_ref().err());
            if let Some(error) = errors.max_by_key(|error| matches!(error, PublishError::NoEvent(_))) {
                tracing::warn!(error = error as &dyn std::error::Error, "events not published");
            }
            let is_done = |result: &Result<(), _>| matches!(result, Ok(()) | Err(PublishError::NoEvent(_)));
            let done = window.iter().zip(&results).filter(|(_, result)| is_done(result)).map(|(entry, _)| entry);
            published.extend(done);
            if !results.iter().all(is_done) {
                break; // what comes later shall not overtake
            }
        }
        published
    }

    /// Publishes a window, and makes the stream first where it turns out to be missing.
    async fn publish_window(&self, window: &[OutboxEntry], spans: &PublishSpans<'_>) -> Vec<Result<(), PublishError>> {
        let results = self.send_window(window, spans).await;
        if !results.iter().any(is_stream_missing) {
            return results;
        }
        match self.make_stream().await {
            Ok(()) => self.send_window(window, spans).await,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the stream could not be made");
                results
            }
        }
    }

    /// Sends in order, then waits for all acks together.
    async fn send_window(&self, window: &[OutboxEntry], spans: &PublishSpans<'_>) -> Vec<Result<(), PublishError>> {
        let mut acks = Vec::with_capacity(window.len());
        for entry in window {
            acks.push(self.send(entry, spans.context_of(entry)).await);
        }
        join_all(acks.into_iter().map(async |ack| Ok(ack?.await.map(drop)?))).await
    }

    async fn send(&self, entry: &OutboxEntry, trace: &TraceContext) -> Result<PublishAckFuture, PublishError> {
        let headers = message::headers(entry, trace)?;
        let jetstream = self.jetstream().await?;
        let subject = self.config.subject.clone();
        Ok(jetstream.publish_with_headers(subject, headers, Bytes::from(entry.body.clone())).await?)
    }

    /// By a consumer, and not a plain subscription to the subject: that would answer for a stream which is missing, and
    /// whoever publishes would wait for its ack instead of making it.
    async fn follow(&self) -> Result<pull::Ordered, FollowError> {
        let jetstream = self.jetstream().await?;
        let stream = match jetstream.get_stream(&self.config.stream).await {
            Ok(stream) => stream,
            Err(_) => {
                self.make_stream().await?;
                jetstream.get_stream(&self.config.stream).await?
            }
        };
        let config = pull::OrderedConfig { deliver_policy: DeliverPolicy::New, ..pull::OrderedConfig::default() };
        Ok(stream.create_consumer(config).await?.messages().await?)
    }

    /// Makes the stream that is missing, with `REPLICAS` where there are servers for them, else with one. One that is
    /// there is never altered.
    async fn make_stream(&self) -> Result<(), PublishError> {
        let jetstream = self.jetstream().await?;
        let config = |num_replicas| stream::Config {
            name: self.config.stream.clone(),
            subjects: vec![self.config.subject.clone()],
            storage: stream::StorageType::File,
            num_replicas,
            max_age: self.config.retention,
            duplicate_window: self.config.retention,
            ..stream::Config::default()
        };
        let replicas = match jetstream.create_stream(config(REPLICAS)).await {
            Err(error) if lacks_servers(&error) => {
                jetstream.create_stream(config(1)).await?;
                1
            }
            result => result.map(|_| REPLICAS)?,
        };
        tracing::info!(stream = self.config.stream, replicas, "stream made");
        Ok(())
    }

    /// Nothing is handed to the client while it is not connected: it would keep it, and send it when nobody wants that
    /// any more.
    async fn await_connection(&self) -> Result<(), PublishError> {
        let client = self.jetstream().await?.client();
        loop {
            let mut connected = std::pin::pin!(self.connected.notified());
            connected.as_mut().enable();
            if client.connection_state() == State::Connected {
                return Ok(());
            }
            connected.await;
        }
    }

    async fn jetstream(&self) -> Result<&Context, PublishError> {
        self.jetstream.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<Context, PublishError> {
        let (retry_at, connected) = (Arc::clone(&self.retry_at), Arc::clone(&self.connected));
        let options = ConnectOptions::new()
            .name("presence")
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .event_callback(move |event| {
                if matches!(event, Event::Connected) {
                    connected.notify_waiters();
                    if let Ok(mut retry_at) = retry_at.lock() {
                        *retry_at = None;
                    }
                }
                async {}
            });
        let options = match &self.config.credentials {
            Some(NatsCredentials { jwt, key }) => {
                let key = Arc::clone(key);
                options.jwt(jwt.expose().to_owned(), move |challenge| {
                    let answer = key.sign(&challenge).map_err(AuthError::new);
                    async { answer }
                })
            }
            None => options,
        };
        let client = options.connect(&self.config.urls).await?;
        Ok(ContextBuilder::new().timeout(ACK_TIMEOUT).ack_timeout(ACK_TIMEOUT).build(client))
    }
}

fn is_stream_missing(result: &Result<(), PublishError>) -> bool {
    matches!(result, Err(PublishError::NoAck(error)) if error.kind() == PublishErrorKind::StreamNotFound)
}

/// NATS is a single server, or a cluster of too few.
fn lacks_servers(error: &CreateStreamError) -> bool {
    let CreateStreamErrorKind::JetStream(error) = error.kind() else { return false };
    matches!(error.error_code(), ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED | ErrorCode::CLUSTER_NO_PEERS)
}
