//! The JetStream stream of the events: found or created at first use, and checked for the health
//! probe.

use async_nats::jetstream::{
    Context, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamError, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, Info, StorageType, Stream},
};

use crate::config::EventsConfig;

/// The number of servers of a NATS cluster that hold each event of a stream that is created here.
const REPLICAS: usize = 3;

/// Error of a stream that does not accept events. They wait in the outbox.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the stream {stream} exists, but does not take the subject {subject}")]
    OtherSubjects { stream: String, subject: String },
    #[error(
        "the subject {subject} belongs to {}, so that the stream {stream} cannot be created",
        owner.as_deref().map_or("another stream".to_owned(), |owner| format!("the stream {owner}"))
    )]
    SubjectTaken {
        stream: String,
        subject: String,
        owner: Option<String>,
    },
    #[error("the stream is sealed")]
    Sealed,
    #[error("the stream is full and refuses new messages")]
    Full,
    #[error("the stream has no leader")]
    NoLeader,
    #[error("the stream could not be looked up")]
    Lookup(#[from] GetStreamError),
    #[error("the stream is missing and could not be created")]
    Create(#[source] CreateStreamError),
}

/// Finds the stream, and creates it if it is missing. An existing stream is never altered.
///
/// Waiting for a publish to report a missing stream would not do: if the subject has any
/// subscriber, a publish without a stream gets no reply at all.
pub(super) async fn ensure(
    jetstream: &Context,
    config: &EventsConfig,
) -> Result<Stream, StreamError> {
    if let Some(stream) = find(jetstream, config).await? {
        return Ok(stream);
    }
    match create(jetstream, config).await {
        // Another process created it first, with another configuration.
        Err(error) if has_code(&error, ErrorCode::STREAM_NAME_EXIST) => find(jetstream, config)
            .await?
            .ok_or(StreamError::Create(error)),
        Err(error) if has_code(&error, ErrorCode::STREAM_SUBJECT_OVERLAP) => {
            Err(subject_taken(jetstream, config).await)
        }
        result => result.map_err(StreamError::Create),
    }
}

/// Checks that the stream accepts events, without changing anything. A missing stream is fine: the
/// first event creates it, unless another stream has the subject.
pub(super) async fn check(jetstream: &Context, config: &EventsConfig) -> Result<(), StreamError> {
    let Some(stream) = find(jetstream, config).await? else {
        return match jetstream.stream_by_subject(&*config.subject).await {
            Ok(owner) => Err(StreamError::taken(config, Some(owner))),
            Err(_) => Ok(()),
        };
    };
    let Info {
        config,
        state,
        cluster,
        ..
    } = stream.cached_info();
    // A limit that is not positive means none.
    let reaches = |limit: i64, value: u64| limit > 0 && value >= limit.unsigned_abs();
    let is_full =
        reaches(config.max_messages, state.messages) || reaches(config.max_bytes, state.bytes);
    if config.sealed {
        Err(StreamError::Sealed)
    } else if is_full && config.discard == DiscardPolicy::New {
        Err(StreamError::Full)
    } else if cluster
        .as_ref()
        .is_some_and(|cluster| cluster.leader.is_none())
    {
        Err(StreamError::NoLeader)
    } else {
        Ok(())
    }
}

async fn find(jetstream: &Context, config: &EventsConfig) -> Result<Option<Stream>, StreamError> {
    match jetstream.get_stream(&config.stream).await {
        Ok(stream)
            if stream
                .cached_info()
                .config
                .subjects
                .iter()
                .any(|pattern| covers(pattern, &config.subject)) =>
        {
            Ok(Some(stream))
        }
        Ok(_) => Err(StreamError::OtherSubjects {
            stream: config.stream.clone(),
            subject: config.subject.clone(),
        }),
        Err(error) if is_missing(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Creates the stream with [`REPLICAS`], or with one replica if the cluster has too few servers.
async fn create(jetstream: &Context, config: &EventsConfig) -> Result<Stream, CreateStreamError> {
    let configure = |num_replicas| Config {
        name: config.stream.clone(),
        subjects: vec![config.subject.clone()],
        storage: StorageType::File,
        num_replicas,
        max_age: config.retention,
        duplicate_window: config.retention,
        ..Config::default()
    };
    let mut replicas = REPLICAS;
    let mut created = jetstream.create_stream(configure(REPLICAS)).await;
    if created.as_ref().is_err_and(lacks_servers) {
        replicas = 1;
        created = jetstream.create_stream(configure(1)).await;
    }
    if created.is_ok() {
        tracing::info!(stream = config.stream, replicas, "stream created");
    }
    created
}

async fn subject_taken(jetstream: &Context, config: &EventsConfig) -> StreamError {
    StreamError::taken(
        config,
        jetstream.stream_by_subject(&*config.subject).await.ok(),
    )
}

impl StreamError {
    /// Whether JetStream did not respond at all.
    pub(super) fn is_silence(&self) -> bool {
        match self {
            Self::Lookup(error) => error.kind() == GetStreamErrorKind::Request,
            Self::Create(error) => {
                matches!(
                    error.kind(),
                    CreateStreamErrorKind::TimedOut | CreateStreamErrorKind::JetStreamUnavailable
                )
            }
            _ => false,
        }
    }

    fn taken(config: &EventsConfig, owner: Option<String>) -> Self {
        Self::SubjectTaken {
            stream: config.stream.clone(),
            subject: config.subject.clone(),
            owner,
        }
    }
}

/// Whether NATS is a single server, or a cluster of too few.
fn lacks_servers(error: &CreateStreamError) -> bool {
    has_code(error, ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED)
        || has_code(error, ErrorCode::CLUSTER_NO_PEERS)
}

fn has_code(error: &CreateStreamError, code: ErrorCode) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(error) if error.error_code() == code)
}

fn is_missing(error: &GetStreamError) -> bool {
    matches!(error.kind(), GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND)
}

/// Whether a subject matches a pattern: `*` stands for one token, `>` for one or more at the end.
fn covers(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            (_, None) => return false,
            (part, Some(token)) if part != "*" && part != token => return false,
            _ => {}
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_subjects_as_in_nats() {
        for (pattern, subject, expected) in [
            ("events.presence", "events.presence", true),
            ("events.*", "events.presence", true),
            ("events.>", "events.presence", true),
            (">", "events.presence", true),
            ("*.presence", "events.presence", true),
            ("events", "events.presence", false),
            ("events.presence.>", "events.presence", false),
            ("*", "events.presence", false),
            ("events.other", "events.presence", false),
            ("events.*.x", "events.presence", false),
        ] {
            assert_eq!(covers(pattern, subject), expected, "{pattern} {subject}");
        }
    }
}
