//! Request body of connect, heartbeat and disconnect: one connection, or a batch.

use serde::Deserialize;

use super::{Problem, body::check_length};
use crate::model::{
    Connection, ConnectionId, GatewayId, PlayerId, Reason,
    json::{Object, present},
};

/// `{"player_id","connection_id"}` or `{"connections":[…]}`; a disconnect may carry a `reason`
/// as well, a connect or heartbeat the `gateway_id` that the connections belong to.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConnectionsBody {
    #[serde(default, deserialize_with = "present")]
    player_id: Option<PlayerId>,
    #[serde(default, deserialize_with = "present")]
    connection_id: Option<ConnectionId>,
    #[serde(default, deserialize_with = "present")]
    connections: Option<Vec<Object<Entry>>>,
    #[serde(default, deserialize_with = "present")]
    reason: Option<Reason>,
    #[serde(default, deserialize_with = "present")]
    gateway_id: Option<GatewayId>,
}

/// An entry of a batch: a [`Connection`], and no other member.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    player_id: PlayerId,
    connection_id: ConnectionId,
}

/// The connections of a call.
#[derive(Debug)]
pub enum Target {
    /// One connection. The response is the player's presence.
    One(Connection),
    /// A batch. The response lists the outcomes of its entries.
    Many(Vec<Connection>),
}

impl ConnectionsBody {
    /// The connections of a connect or heartbeat, at most `max` of them, and the gateway that they
    /// belong to if the call names one.
    ///
    /// # Errors
    /// 400 if the body has neither shape, or has a `reason`.
    pub fn target_and_gateway(
        mut self,
        max: usize,
    ) -> Result<(Target, Option<GatewayId>), Problem> {
        if self.reason.is_some() {
            return Err(Problem::invalid_request(
                "unknown field `reason`: only a disconnect has one",
            )
            .with_field("reason"));
        }
        let gateway = self.gateway_id.take();
        Ok((self.target(max)?, gateway))
    }

    /// The connections of a disconnect, at most `max` of them, and the reason why they were closed.
    ///
    /// # Errors
    /// 400 if the body has neither shape.
    pub fn target_and_reason(self, max: usize) -> Result<(Target, Reason), Problem> {
        if self.gateway_id.is_some() {
            let detail = "unknown field `gateway_id`: only a connect or a heartbeat has one";
            return Err(Problem::invalid_request(detail).with_field("gateway_id"));
        }
        let reason = self.reason.unwrap_or_default();
        Ok((self.target(max)?, reason))
    }

    fn target(self, max: usize) -> Result<Target, Problem> {
        match (self.player_id, self.connection_id, self.connections) {
            (Some(player_id), Some(connection_id), None) => Ok(Target::One(Connection {
                player_id,
                connection_id,
            })),
            (None, None, Some(connections)) => {
                check_length(&connections, max, "connections")?;
                let entries = connections.into_iter();
                Ok(Target::Many(
                    entries.map(|Object(entry)| entry.into()).collect(),
                ))
            }
            (_, _, Some(_)) => {
                let detail = "a batch has `connections` alone: give `player_id` and `connection_id` in its entries";
                Err(Problem::invalid_request(detail).with_field("connections"))
            }
            (player_id, _, None) => {
                let missing = if player_id.is_none() {
                    "player_id"
                } else {
                    "connection_id"
                };
                let detail = format!(
                    "missing field `{missing}`: give `player_id` and `connection_id`, or `connections`"
                );
                Err(Problem::invalid_request(detail).with_field(missing))
            }
        }
    }
}

impl From<Entry> for Connection {
    fn from(
        Entry {
            player_id,
            connection_id,
        }: Entry,
    ) -> Self {
        Self {
            player_id,
            connection_id,
        }
    }
}
