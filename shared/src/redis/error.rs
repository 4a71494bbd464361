//! Errors of Redis, and their kinds. `RedisError` is the error of the crate `redis`; a `StoreError`
//! is what callers get.

use std::{fmt, ops::Deref, time::Duration};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::error_chain::error_chain;

/// Error of a call to Redis. What Redis holds is unknown, and a mutation may or may not have been
/// made; see [`failure`](Self::failure).
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Redis did not respond within the configured time.
    #[error("Redis did not respond within {0:?}")]
    Timeout(Duration),
    /// The node is a replica, so its data may be outdated.
    #[error("the Redis node is not a primary")]
    NotPrimary,
    /// Too much work waits for the node. Nothing was sent.
    #[error("too much work waits for Redis")]
    Overloaded {
        /// The time after which a retry may succeed.
        retry_after: Duration,
    },
    /// The data in the cluster is spread over another number of partitions. Nothing was sent.
    #[error(
        "the data in Redis is spread over {stored} partitions, but PRESENCE_CLUSTER_PARTITIONS is {configured}"
    )]
    Partitions {
        /// The number that is stored in Redis.
        stored: u16,
        /// The number that this program is configured for.
        configured: u16,
    },
    /// The connection failed, or Redis refused the command.
    #[error("Redis failed")]
    Redis(#[source] RedisFault),
    /// Redis holds or returned data that this service did not write.
    #[error("unexpected reply or data in Redis: {0}")]
    Unexpected(&'static str),
    /// Redis returned a value of another type.
    #[error("unexpected reply of Redis")]
    Type(#[from] redis::ParsingError),
}

/// An error of the connection, or of Redis itself. It has no source: the source of the crate's
/// error repeats its message, and logs name each cause once.
#[derive(Debug, Clone)]
pub struct RedisFault(RedisError);

/// The kinds of failure of Redis that callers and operators have to distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreFailure {
    /// The node did not respond in time. Whether the command was executed is unknown.
    TimedOut,
    /// The connection failed or was lost. Whether the command was executed is unknown.
    Unreachable,
    /// The node is a replica, or lost its primary. Nothing was changed.
    NotPrimary,
    /// The node is loading its data. Nothing was changed.
    Loading,
    /// The node's memory is full. Nothing was changed.
    OutOfMemory,
    /// The node refused the command for another reason.
    Refused,
    /// Too much work waits for the node. Nothing was sent.
    Overloaded,
    /// This program is configured for another number of partitions. Nothing was sent.
    Misconfigured,
    /// The data or the reply is not what this service wrote or expects.
    Unexpected,
}

impl StoreError {
    /// The kind of failure as a label of metrics and traces.
    pub(crate) fn kind(&self) -> &'static str {
        self.failure().as_str()
    }

    /// The kind of failure.
    pub fn failure(&self) -> StoreFailure {
        use StoreFailure::{
            Loading, Misconfigured, NotPrimary, OutOfMemory, Overloaded, Refused, TimedOut,
            Unexpected, Unreachable,
        };
        match self {
            Self::Timeout(_) => TimedOut,
            Self::NotPrimary => NotPrimary,
            Self::Overloaded { .. } => Overloaded,
            Self::Partitions { .. } => Misconfigured,
            Self::Redis(error) => match error.kind() {
                ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => {
                    NotPrimary
                }
                ErrorKind::Server(ServerErrorKind::BusyLoading) => Loading,
                _ if error.code() == Some("OOM") => OutOfMemory,
                _ if error.code() == Some("WRONGTYPE") => Unexpected,
                ErrorKind::Io | ErrorKind::Parse | ErrorKind::MasterNameNotFoundBySentinel => {
                    Unreachable
                }
                _ => Refused,
            },
            Self::Unexpected(_) | Self::Type(_) => Unexpected,
        }
    }

    /// Whether a command failed because its keys are on two nodes, as their slot is being moved.
    pub(crate) fn is_keys_apart(&self) -> bool {
        matches!(self, Self::Redis(error) if error.kind() == ErrorKind::Server(ServerErrorKind::TryAgain))
    }

    /// The causes of this error in one string, outermost first.
    pub(crate) fn causes(&self) -> String {
        std::error::Error::source(self)
            .map(error_chain)
            .unwrap_or_default()
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        Self::Redis(RedisFault(error))
    }
}

impl fmt::Display for RedisFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for RedisFault {}

impl Deref for RedisFault {
    type Target = RedisError;

    fn deref(&self) -> &RedisError {
        &self.0
    }
}

impl StoreFailure {
    /// The kind as metrics and traces name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "timeout",
            Self::Unreachable => "unreachable",
            Self::NotPrimary => "not_primary",
            Self::Loading => "loading",
            Self::OutOfMemory => "out_of_memory",
            Self::Refused => "refused",
            Self::Overloaded => "overloaded",
            Self::Misconfigured => "misconfigured",
            Self::Unexpected => "unexpected",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_distinguished() {
        for (reply, failure) in [
            (
                "READONLY You can't write against a read only replica.",
                StoreFailure::NotPrimary,
            ),
            (
                "MASTERDOWN Link with MASTER is down",
                StoreFailure::NotPrimary,
            ),
            (
                "LOADING Redis is loading the dataset in memory",
                StoreFailure::Loading,
            ),
            (
                "OOM command not allowed when used memory > 'maxmemory'.",
                StoreFailure::OutOfMemory,
            ),
            (
                "NOREPLICAS Not enough good replicas to write.",
                StoreFailure::Refused,
            ),
            ("NOAUTH Authentication required.", StoreFailure::Refused),
            (
                "WRONGTYPE Operation against a key holding the wrong kind of value",
                StoreFailure::Unexpected,
            ),
            ("ERR what?", StoreFailure::Refused),
        ] {
            let reply = redis::parse_redis_value(format!("-{reply}\r\n").as_bytes()).unwrap();
            assert_eq!(
                StoreError::from(reply.extract_error().unwrap_err()).failure(),
                failure
            );
        }
        let reset = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionReset));
        assert_eq!(StoreError::from(reset).failure(), StoreFailure::Unreachable);
    }
}
