//! Publisher of events to JetStream, with a time limit and a circuit breaker.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_nats::jetstream::{Context, stream::Stream};
use tokio::time::{Instant, timeout, timeout_at};

use super::{
    breaker::Breaker,
    connection::{Connection, Session},
    spans::PublishSpans,
    stream,
    window::{self, PublishError, Results, WINDOW},
};
use crate::{
    config::EventsConfig,
    store::OutboxEntry,
    telemetry::metrics::{EVENTS_DROPPED, EVENTS_FAILED, EVENTS_PUBLISHED},
};

/// How long a failed attempt counts against the health of NATS. The relay retries sooner while
/// events wait.
const FAILURE_MEMORY: Duration = Duration::from_secs(10);

/// The shortest time between two warnings about dropped events.
const DROP_WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Publishes events. It connects when it is first used, and reconnects in the background.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

struct Inner {
    config: EventsConfig,
    connection: Connection,
    breaker: Breaker,
    /// Used by health checks only, so that they log each problem once and do not block publishing.
    health_log: Breaker,
    /// The time of the last warning about dropped events.
    drops_logged_at: Mutex<Option<Instant>>,
}

/// The time limit of an attempt to publish, and the pause after a failed one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AttemptPolicy {
    timeout: Duration,
    cool_down: Duration,
}

/// The events that can be removed from the outbox.
#[derive(Debug, Default)]
pub(crate) struct Published<'a> {
    /// Events that JetStream acknowledged.
    pub(crate) acknowledged: Vec<&'a OutboxEntry>,
    /// Events that no attempt can publish: malformed, or refused permanently.
    pub(crate) dropped: Vec<&'a OutboxEntry>,
}

/// The health of NATS as far as events need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NatsHealth {
    /// Events are published.
    Ok,
    /// JetStream responds, but the stream does not accept events. They wait in the outbox.
    Degraded,
    /// JetStream does not respond.
    Unavailable,
}

impl AttemptPolicy {
    /// The policy of a function's call, whose caller waits for the response.
    pub(crate) const CALL: Self = Self {
        timeout: Duration::from_millis(250),
        cool_down: Duration::from_secs(5),
    };

    /// The policy of the relay, which runs in the background.
    pub(crate) const RELAY: Self = Self {
        timeout: Duration::from_secs(3),
        cool_down: Duration::from_secs(1),
    };
}

impl<'a> Published<'a> {
    /// All events that are done, acknowledged and dropped ones.
    pub(crate) fn done(&self) -> Vec<&'a OutboxEntry> {
        [&*self.acknowledged, &*self.dropped].concat()
    }
}

impl Publisher {
    /// Prepares a publisher; it connects when it is first used.
    pub fn new(config: EventsConfig) -> Self {
        let breaker = Breaker::default();
        let connection = Connection::new(&config, breaker.clone());
        Self(Arc::new(Inner {
            config,
            connection,
            breaker,
            health_log: Breaker::default(),
            drops_logged_at: Mutex::default(),
        }))
    }

    /// Whether an attempt is worthwhile: none failed within the cool-down.
    pub(crate) fn may_publish(&self, policy: AttemptPolicy) -> bool {
        self.0.breaker.is_closed(policy.cool_down)
    }

    /// Publishes events, and returns those that are done. Returns at once if an attempt failed
    /// within the cool-down.
    pub(crate) async fn publish<'a>(
        &self,
        entries: &'a [OutboxEntry],
        policy: AttemptPolicy,
    ) -> Published<'a> {
        if entries.is_empty() || !self.may_publish(policy) {
            return Published::default();
        }
        let published = self
            .0
            .publish(entries, Instant::now() + policy.timeout)
            .await;
        let waiting = entries.len() - published.acknowledged.len() - published.dropped.len();
        metrics::counter!(EVENTS_PUBLISHED).increment(published.acknowledged.len() as u64);
        metrics::counter!(EVENTS_DROPPED).increment(published.dropped.len() as u64);
        metrics::counter!(EVENTS_FAILED).increment(waiting as u64);
        published
    }

    /// Checks what publishing needs, each step within `step_timeout`: JetStream responds, the
    /// stream accepts events, and no attempt failed recently.
    pub(crate) async fn health(&self, step_timeout: Duration) -> NatsHealth {
        let Inner {
            config,
            connection,
            breaker,
            ..
        } = &*self.0;
        let Ok(Ok(session)) = timeout(step_timeout, connection.connected()).await else {
            return NatsHealth::Unavailable;
        };
        let ping = async {
            session
                .client()
                .request("$JS.API.INFO", "".into())
                .await
                .is_ok()
        };
        let check = stream::check(&session.jetstream, config);
        let (is_up, checked) =
            tokio::join!(timeout(step_timeout, ping), timeout(step_timeout, check));
        // A check that timed out is not held against the stream.
        let stream_error = checked.map_or(None, Result::err);
        let health = match (is_up, &stream_error) {
            (Ok(true), None) if breaker.is_closed(FAILURE_MEMORY) => NatsHealth::Ok,
            (Ok(true), _) => NatsHealth::Degraded,
            _ => NatsHealth::Unavailable,
        };
        match stream_error {
            Some(error) => self
                .0
                .health_log
                .report(&error, "the stream does not accept events"),
            None => _ = self.0.health_log.close(),
        }
        health
    }

    /// Waits for a connection, and returns the stream, which is created if it is missing.
    pub(super) async fn stream(&self) -> Result<Stream, PublishError> {
        let session = self.0.connection.connected().await?;
        Ok(stream::ensure(&session.jetstream, &self.0.config).await?)
    }

    /// Waits for a connection, and returns JetStream with the stream, which is created if it is
    /// missing.
    pub(super) async fn jetstream(&self) -> Result<(Context, Stream), PublishError> {
        let session = self.0.connection.connected().await?;
        let stream = stream::ensure(&session.jetstream, &self.0.config).await?;
        Ok((session.jetstream.clone(), stream))
    }

    /// Whether NATS is connected at the moment.
    pub(super) async fn is_connected(&self) -> bool {
        self.0.connection.is_connected().await
    }

    /// The subject of the events.
    pub(super) fn subject(&self) -> &str {
        &self.0.config.subject
    }
}

impl Inner {
    async fn publish<'a>(&self, entries: &'a [OutboxEntry], deadline: Instant) -> Published<'a> {
        let mut published = Published::default();
        let session = match timeout_at(deadline, self.connection.connected()).await {
            Ok(Ok(session)) => session,
            Ok(Err(error)) => return self.fail(&error.into(), published),
            Err(_) => return self.fail(&PublishError::NotConnected, published),
        };
        if let Err(error) = self.find_stream(&session, deadline).await {
            self.note_failure(&error);
            if error.is_silence() {
                self.connection.replace(&session).await;
            }
            return published;
        }
        for window in entries.chunks(WINDOW) {
            let results = match self.publish_window(&session, window, deadline).await {
                Ok(results) => results,
                Err(error) => return self.fail(&error, published),
            };
            if results.iter().all(Result::is_ok) {
                session.set_has_worked();
                published.acknowledged.extend(window);
                continue;
            }
            let is_complete = self.sort(window, &results, &mut published);
            if !is_complete {
                // The stream may have been deleted, or replaced by another one.
                session.set_has_stream(false);
                // A server that acknowledges nothing may be cut off from its cluster.
                if results
                    .iter()
                    .all(|result| result.as_ref().is_err_and(PublishError::is_silence))
                {
                    self.connection.replace(&session).await;
                }
                return published; // later events must not overtake those that wait
            }
        }
        if self.breaker.close() {
            tracing::info!("events are published again");
        }
        published
    }

    /// Finds or creates the stream, once per session.
    async fn find_stream(&self, session: &Session, deadline: Instant) -> Result<(), PublishError> {
        if !session.has_stream() {
            let found =
                timeout_at(deadline, stream::ensure(&session.jetstream, &self.config)).await;
            found.map_err(|_| PublishError::LookupTimedOut)??;
            session.set_has_stream(true);
        }
        Ok(())
    }

    async fn publish_window(
        &self,
        session: &Session,
        window: &[OutboxEntry],
        deadline: Instant,
    ) -> Result<Results, PublishError> {
        let spans = PublishSpans::start(window, &self.config.subject);
        let results = window::send(&session.client(), &self.config, window, &spans, deadline).await;
        spans.end(
            results
                .as_ref()
                .is_ok_and(|results| results.iter().all(Result::is_ok)),
        );
        results
    }

    /// Sorts the events of a window by their results. Returns whether all of them are done.
    fn sort<'a>(
        &self,
        window: &'a [OutboxEntry],
        results: &Results,
        published: &mut Published<'a>,
    ) -> bool {
        let mut waits_for = None;
        let mut dropped_for = None;
        for (entry, result) in window.iter().zip(results) {
            match result {
                Ok(()) => published.acknowledged.push(entry),
                Err(error) if error.is_final() => {
                    dropped_for = Some(error);
                    published.dropped.push(entry);
                    tracing::debug!(
                        entry = entry.entry_id,
                        error = error as &dyn Error,
                        "event dropped"
                    );
                }
                Err(error) => waits_for = Some(error),
            }
        }
        if let Some(error) = dropped_for {
            self.warn_of_drops(error);
        }
        if let Some(error) = waits_for {
            self.note_failure(error);
        }
        waits_for.is_none()
    }

    /// Records a failed attempt, and returns what was published before it failed.
    fn fail<'a>(&self, error: &PublishError, published: Published<'a>) -> Published<'a> {
        self.note_failure(error);
        published
    }

    /// Records a failed attempt, and logs it unless the one before had the same reason.
    fn note_failure(&self, error: &PublishError) {
        self.breaker
            .report(error, "events are not published; they wait in the outbox");
    }

    fn warn_of_drops(&self, error: &PublishError) {
        let mut logged_at = self
            .drops_logged_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if logged_at.is_none_or(|logged_at| logged_at.elapsed() >= DROP_WARNING_INTERVAL) {
            *logged_at = Some(Instant::now());
            tracing::error!(
                error = error as &dyn Error,
                "events dropped that cannot be published; presence_events_dropped_total counts all"
            );
        }
    }
}
