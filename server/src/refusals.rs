//! Refused calls: the reasons, and the log with the client's address, at a bounded rate.

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use presence::http::Problem;

/// The shortest time between two lines about refused calls.
const LOG_INTERVAL: Duration = Duration::from_secs(1);

/// The reason why a call is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The token is missing or wrong.
    Token,
    /// The token may read, and the call changes something.
    ReadToken,
    /// A browser sends the request on behalf of another site.
    CrossSite,
    /// The request is not meant for this machine.
    Host,
    /// The request is not HTTP as this server reads it.
    Malformed(&'static str),
}

impl Refusal {
    /// The reason as a label of metrics and logs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::ReadToken => "read_token",
            Self::CrossSite => "cross_site",
            Self::Host => "host",
            Self::Malformed(_) => "malformed",
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Token => Self::unauthorized(
                "send one of the configured tokens: Authorization: Bearer <token>",
            ),
            Refusal::ReadToken => Self::forbidden(
                "this token may read and change nothing; send one of PRESENCE_AUTH_TOKENS",
            ),
            Refusal::CrossSite => Self::forbidden("the request comes from a page of another site"),
            Refusal::Host => Self::forbidden(
                "without tokens a server on a loopback address accepts only loopback names as Host, such as localhost",
            ),
            Refusal::Malformed(detail) => Self::invalid_request(detail),
        }
    }
}

/// The reason of a refusal. It travels in the extensions of the response, from which the log is
/// written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    /// The route, with its placeholders.
    pub(crate) call: &'static str,
    /// The reason, as the metric's label names it.
    pub(crate) reason: &'static str,
}

/// The log of refused calls.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    latest: Mutex<Latest>,
}

#[derive(Debug, Default)]
struct Latest {
    logged_at: Option<Instant>,
    unlogged: u64,
}

impl Refusals {
    /// Logs a refusal, unless one has just been logged.
    pub(crate) fn log(&self, peer: SocketAddr, Refused { call, reason }: Refused) {
        if let Some(unlogged) = self.count(Instant::now()) {
            tracing::warn!(%peer, call, reason, unlogged, "call refused");
        }
    }

    /// Counts a refusal. If it is to be logged, returns the number of earlier ones that were not.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        if latest
            .logged_at
            .is_some_and(|logged_at| now.duration_since(logged_at) < LOG_INTERVAL)
        {
            latest.unlogged += 1;
            return None;
        }
        latest.logged_at = Some(now);
        Some(std::mem::take(&mut latest.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_refusal_per_second_is_logged_and_the_others_are_counted() {
        let refusals = Refusals::default();
        let start = Instant::now();
        assert_eq!(refusals.count(start), Some(0));
        assert_eq!((0..1_000).filter_map(|_| refusals.count(start)).count(), 0);
        assert_eq!(refusals.count(start + LOG_INTERVAL), Some(1_000));
        assert_eq!(refusals.count(start + LOG_INTERVAL), None);
    }
}
