//! Discovery of the primary of a pair.

use crate::{MovingEndpoint, SentinelReply, SentinelStub};

/// What leads the service to the primary.
pub(super) enum Front {
    /// A stable address, at which the primary is reached.
    Endpoint(MovingEndpoint),
    /// Sentinels that name the primary, which is reached directly.
    Sentinels([SentinelStub; 3]),
}

impl Front {
    /// An endpoint that leads to a port.
    pub(super) async fn endpoint(port: u16) -> Self {
        Self::Endpoint(MovingEndpoint::start(port).await)
    }

    /// Three Sentinels that name a port.
    pub(super) async fn sentinels(port: u16) -> Self {
        let start = || SentinelStub::start(names(port));
        Self::Sentinels([start().await, start().await, start().await])
    }

    /// The value of `PRESENCE_REDIS_URL`.
    pub(super) fn urls(&self) -> String {
        match self {
            Self::Endpoint(endpoint) => endpoint.url(),
            Self::Sentinels(sentinels) => sentinels.each_ref().map(SentinelStub::url).join(","),
        }
    }

    /// Leads new connections to another port. Open ones stay.
    pub(super) fn move_to(&self, port: u16) {
        match self {
            Self::Endpoint(endpoint) => endpoint.move_to(port),
            Self::Sentinels(sentinels) => sentinels
                .iter()
                .for_each(|sentinel| sentinel.set(names(port))),
        }
    }

    /// Silences open connections. Sentinels are not between the service and the primary: plans have
    /// no such fault for them.
    pub(super) fn silence_all(&self) {
        if let Self::Endpoint(endpoint) = self {
            endpoint.silence_all();
        }
    }

    /// Lets new connections work again.
    pub(super) fn end_silence(&self) {
        if let Self::Endpoint(endpoint) = self {
            endpoint.end_silence();
        }
    }
}

fn names(port: u16) -> SentinelReply {
    SentinelReply::Primary("127.0.0.1".to_owned(), port)
}
