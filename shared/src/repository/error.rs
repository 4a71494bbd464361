//! Why Redis could not be used.

use std::time::Duration;

use redis::RedisError;

/// A Redis that could not be used. Nothing is known of what it holds, and a mutation may or may not have been made.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// No answer within the configured time.
    #[error("Redis did not answer within {0:?}")]
    Timeout(Duration),
    /// The connection failed, or Redis refused the command.
    #[error("Redis failed")]
    Redis(#[from] RedisError),
    /// Redis holds, or answered, something that this service did not write.
    #[error("Redis answered something unexpected: {0}")]
    Unexpected(&'static str),
    /// Redis answered something of another type.
    #[error("Redis answered something unexpected")]
    Type(#[from] redis::ParsingError),
}

impl StoreError {
    /// What went wrong, in a word: for metrics and traces.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Timeout(_) => "timeout",
            Self::Redis(_) => "redis",
            Self::Unexpected(_) | Self::Type(_) => "unexpected",
        }
    }
}
