//! Calls about single connections.

use serde::{Deserialize, Serialize};

use crate::{
    CallError, ConnectionId, PlayerId, Presence, PresenceClient, Reason, client::with_retries,
};

/// An open connection, and how to keep it open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connected {
    /// The player's presence with this connection.
    #[serde(flatten)]
    pub presence: Presence,
    /// Interval of the heartbeats that keep it open, in milliseconds.
    pub heartbeat_interval_ms: u64,
    /// How long it stays open without a heartbeat, in milliseconds.
    pub ttl_ms: u64,
}

#[derive(Serialize)]
struct Body<'a> {
    player_id: &'a PlayerId,
    connection_id: &'a ConnectionId,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
}

/// Single connections, for tools and tests. A gateway uses an
/// [`HttpNotifier`](crate::HttpNotifier), which sends batches and heartbeats, and repeats failed
/// calls.
impl PresenceClient {
    /// Reports a new connection of a player. It belongs to no gateway, and expires unless it gets
    /// heartbeats.
    ///
    /// # Errors
    /// [`CallError`]; a [`Problem`](crate::Problem) `connection-closed` (410) if the connection was
    /// closed before.
    pub async fn connect(
        &self,
        player: &PlayerId,
        connection: &ConnectionId,
    ) -> Result<Connected, CallError> {
        let body = Body {
            player_id: player,
            connection_id: connection,
            reason: None,
        };
        with_retries(|| self.transport.post("/presence/connect", &body)).await
    }

    /// Renews a connection. Returns the player's presence.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub async fn heartbeat(
        &self,
        player: &PlayerId,
        connection: &ConnectionId,
    ) -> Result<Presence, CallError> {
        let body = Body {
            player_id: player,
            connection_id: connection,
            reason: None,
        };
        with_retries(|| self.transport.post("/presence/heartbeat", &body)).await
    }

    /// Closes a connection. Returns the player's presence. An unknown connection is not an error.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn disconnect(
        &self,
        player: &PlayerId,
        connection: &ConnectionId,
        reason: Reason,
    ) -> Result<Presence, CallError> {
        let body = Body {
            player_id: player,
            connection_id: connection,
            reason: Some(reason),
        };
        with_retries(|| self.transport.post("/presence/disconnect", &body)).await
    }
}
