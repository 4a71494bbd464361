//! Queries of operators: counts, gateways, diagnostics of one player, health, events.

mod events;

use crate::{
    Activity, CallError, Endpoint, InvalidEndpoint, PlayerId, Problem,
    client::with_retries,
    transport::{Transport, path_segment},
};

pub use self::events::{EventFeed, EventStream, StreamItem};
#[doc(inline)]
pub use presence_types::{
    Check, Checks, EventKind, EventReason, Gateway, GatewayState, Gateways, Health, HealthStatus,
    Lease, States, Statistics, Transition,
};

/// Everything that the service knows about a player.
pub type Explanation = presence_types::Explanation<Activity>;

/// A transition of a player, as consumers of the service's events get it.
pub type PresenceEvent = presence_types::PresenceEvent<Activity>;

/// Client of a `presence-server` for operators. The functions support only
/// [`health`](Self::health). Cheap to clone; clones share their connections.
#[derive(Debug, Clone)]
pub struct OperatorClient {
    transport: Transport,
}

impl OperatorClient {
    /// Prepares the client; nothing is connected before the first call.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`].
    pub fn new(endpoint: Endpoint) -> Result<Self, InvalidEndpoint> {
        Transport::new(endpoint).map(|transport| Self { transport })
    }

    /// Sends this bearer token with every call from now on, also those of the client's clones.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`]; the token stays what it was.
    pub fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        self.transport.set_token(token)
    }

    /// How many players there are by state. Transient failures are tried again, twice at most.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn statistics(&self) -> Result<Statistics, CallError> {
        with_retries(|| self.transport.get("/presence")).await
    }

    /// The gateways that hold a lease. Transient failures are tried again, twice at most.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn gateways(&self) -> Result<Gateways, CallError> {
        with_retries(|| self.transport.get("/gateways")).await
    }

    /// Everything that the service knows about a player. Transient failures are tried again, twice
    /// at most.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn explain(&self, player: &PlayerId) -> Result<Explanation, CallError> {
        let path = format!("/console/players/{}", path_segment(player));
        with_retries(|| self.transport.get(&path)).await
    }

    /// The health of the service. Failures are not retried.
    ///
    /// # Errors
    /// [`CallError`] if there is no response about health. A service that is unavailable is not an
    /// error.
    pub async fn health(&self) -> Result<Health, CallError> {
        let response = self.transport.fetch("/health/ready").await?;
        match serde_json::from_slice(response.body()) {
            Ok(health) => Ok(health),
            Err(error) if response.status().is_success() => Err(CallError::Garbled(error)),
            Err(_) => Err(Problem::from_response(&response).into()),
        }
    }

    /// All events of all players from now on, and whether the service receives them.
    ///
    /// # Errors
    /// [`CallError`]; a [`Problem`] `not-found` (404) if the service has no events.
    pub async fn events(&self) -> Result<EventStream, CallError> {
        EventStream::open(self.transport.open("/console/events").await?).await
    }
}
