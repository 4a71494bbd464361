//! Recent events of one player, searched in the stream.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    header::NATS_MESSAGE_ID,
    jetstream::{
        consumer::{AckPolicy, DeliverPolicy, pull},
        stream::ConsumerError,
    },
};
use futures_util::TryStreamExt as _;
use serde::Serialize;
use serde_json::Value;

use super::{Publisher, window::PublishError};
use crate::model::PlayerId;

/// The number of the newest events that a search reads, about 5 MB: the stream has one subject for
/// all players.
const MAX_SEARCHED: u64 = 10_000;

/// The most events that a search returns.
const MAX_RETURNED: usize = 50;

/// How long JetStream keeps the consumer of a search.
const INACTIVE_THRESHOLD: Duration = Duration::from_secs(5);

/// Recent events of a player.
#[derive(Debug, Serialize)]
pub struct EventHistory {
    /// When the oldest event that was searched was published, in Unix ms; `None` if the stream is
    /// empty.
    pub since: Option<u64>,
    /// The player's events since then, newest first, at most 50.
    pub events: Vec<Value>,
}

/// Error of a search.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// NATS cannot be used, or the stream could not be created.
    #[error("NATS cannot be used, or the stream could not be created")]
    Stream(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// JetStream did not deliver the events.
    #[error("JetStream did not deliver the events")]
    Consumer(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The search took too long.
    #[error("the search took too long")]
    TimedOut,
}

impl From<PublishError> for HistoryError {
    fn from(error: PublishError) -> Self {
        Self::Stream(error.into())
    }
}

impl From<ConsumerError> for HistoryError {
    fn from(error: ConsumerError) -> Self {
        Self::Consumer(error.into())
    }
}

/// Searches the newest events for those of the player.
pub(super) async fn search(
    publisher: &Publisher,
    player: &PlayerId,
) -> Result<EventHistory, HistoryError> {
    let mut history = EventHistory {
        since: None,
        events: Vec::new(),
    };
    let stream = publisher.stream().await?;
    let state = &stream.cached_info().state;
    if state.messages == 0 {
        return Ok(history);
    }
    let newest = (state.last_sequence + 1).saturating_sub(MAX_SEARCHED);
    let consumer = stream.create_consumer(pull::Config {
        deliver_policy: DeliverPolicy::ByStartSequence {
            start_sequence: state.first_sequence.max(newest),
        },
        ack_policy: AckPolicy::None,
        filter_subject: publisher.subject().to_owned(),
        inactive_threshold: INACTIVE_THRESHOLD,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    });
    let available = consumer
        .await?
        .fetch()
        .max_messages(MAX_SEARCHED as usize)
        .messages()
        .await;
    let mut messages = available.map_err(|error| HistoryError::Consumer(error.into()))?;
    while let Some(message) = messages.try_next().await.map_err(HistoryError::Consumer)? {
        if history.since.is_none() {
            let published = message.info().map_err(HistoryError::Consumer)?.published;
            history.since = u64::try_from(published.unix_timestamp_nanos() / 1_000_000).ok();
        }
        // Other publishers on the subject may send other data under the player's id.
        if is_of(player, message.headers.as_ref())
            && let Ok(event) = serde_json::from_slice(&message.payload)
        {
            history.events.push(event);
        }
    }
    history.events.reverse();
    history.events.truncate(MAX_RETURNED);
    Ok(history)
}

/// Whether the id of a message, `<player_id>:<version>`, is that of an event of the player. It is
/// cheaper to read than the event itself.
fn is_of(player: &PlayerId, headers: Option<&HeaderMap>) -> bool {
    let id = headers.and_then(|headers| headers.get(NATS_MESSAGE_ID));
    id.is_some_and(|id| {
        id.as_str()
            .rsplit_once(':')
            .is_some_and(|(id, _)| id == player.as_str())
    })
}
