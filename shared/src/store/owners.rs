//! Owners: the connections that belong to gateways, and the drain that ends their leases.

use std::collections::VecDeque;

use futures_util::future::join_all;
use redis::Cmd;

use super::{
    OutboxEntry, Store,
    batch::ENTRIES_PER_CALL,
    gateways::Ending,
    mutate::OTHER_TYPE,
    reply::{Outcome, Reply},
    scripts,
    sweep::is_wrong_type,
};
use crate::{
    model::{Connection, ConnectionId, GatewayId, PlayerId},
    redis::{Shard, StoreError},
    telemetry::TraceContext,
};

/// The number of connections that one step of a drain reads, over all shards: few enough not to
/// delay the calls of players.
const CONNECTIONS_PER_STEP: usize = 1_000;

/// The number of shards that a drain works on at a time.
const SHARDS_PER_STEP: usize = 64;

/// The leases that one step of a drain ended.
#[derive(Debug, Default)]
pub(crate) struct EndedLeases {
    pub(crate) ended: u64,
    pub(crate) events: Vec<OutboxEntry>,
}

/// Ends the leases of a gateway's connections, step by step. With any number of concurrent drains,
/// each lease is ended once.
pub(crate) struct ConnectionsEnding<'a> {
    store: &'a Store,
    ending: &'a Ending,
    trace: &'a TraceContext,
    /// The shards that may hold more connections, and the last member that was read of each.
    shards: VecDeque<(Shard, Option<Vec<u8>>)>,
    failure: Option<StoreError>,
}

/// The outcome of the end of one lease: of the script end_leases.
#[derive(Debug, Clone, Copy)]
enum EndOutcome {
    /// This call ended the lease.
    Ended,
    /// The lease was renewed after the gateway was lost, and stays.
    Renewed,
    /// The connection does not belong to the gateway.
    NotOwned,
}

/// Connections of a gateway, from one read of a shard's owners.
#[derive(Debug, Default)]
struct OwnedPage {
    connections: Vec<Connection>,
    /// Members that are not connections of this shard's players.
    foreign_members: Vec<Vec<u8>>,
    /// The last member, if more may follow.
    more_after: Option<Vec<u8>>,
}

impl Outcome for EndOutcome {
    fn from_letter(letter: u8) -> Option<Self> {
        match letter {
            b'E' => Some(Self::Ended),
            b'A' => Some(Self::Renewed),
            b'X' => Some(Self::NotOwned),
            _ => None,
        }
    }
}

impl Store {
    /// Prepares to end the leases of a gateway's connections.
    pub(crate) async fn end_connections<'a>(
        &'a self,
        ending: &'a Ending,
        trace: &'a TraceContext,
    ) -> Result<ConnectionsEnding<'a>, StoreError> {
        let heads: Vec<_> = self
            .keys
            .shards()
            .map(|shard| (shard, self.owned(shard, ending, None, 1)))
            .collect();
        let replies = self.redis.query_all(&heads).await;
        let mut connections_ending = ConnectionsEnding {
            store: self,
            ending,
            trace,
            shards: VecDeque::new(),
            failure: None,
        };
        for ((shard, _), reply) in heads.iter().zip(replies) {
            match reply.and_then(|reply| Ok(redis::from_redis_value::<Vec<Vec<u8>>>(reply)?)) {
                Ok(head) if head.is_empty() => {}
                Ok(_) => connections_ending.shards.push_back((*shard, None)),
                Err(error) if is_wrong_type(&error) => {
                    let owners = self.keys.owners(*shard).to_string();
                    self.delete_wrong_type(*shard, owners, &["ZCARD"]).await?;
                }
                Err(error) => connections_ending.failure = Some(error),
            }
        }
        Ok(connections_ending)
    }

    /// Builds the command that reads a gateway's connections in a shard, from the one after a
    /// member on.
    fn owned(&self, shard: Shard, ending: &Ending, after: Option<&[u8]>, count: usize) -> Cmd {
        let (first, end) = bounds(&ending.gateway);
        let start = after.map_or(first.into_bytes(), |member| [b"(", member].concat());
        let mut zrange = redis::cmd("ZRANGE");
        zrange
            .arg(self.keys.owners(shard))
            .arg(start)
            .arg(end)
            .arg("BYLEX")
            .arg("LIMIT")
            .arg(0)
            .arg(count);
        zrange
    }

    async fn owned_page(
        &self,
        shard: Shard,
        ending: &Ending,
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<OwnedPage, StoreError> {
        let reply = self
            .redis
            .query(shard, &self.owned(shard, ending, after, count))
            .await?;
        let members: Vec<Vec<u8>> = redis::from_redis_value(reply)?;
        let mut page = OwnedPage {
            more_after: members.last().cloned(),
            ..OwnedPage::default()
        };
        if members.len() < count {
            page.more_after = None;
        }
        for member in members {
            match connection_of(&member)
                .filter(|connection| self.keys.shard(&connection.player_id) == shard)
            {
                Some(connection) => page.connections.push(connection),
                None => page.foreign_members.push(member),
            }
        }
        Ok(page)
    }

    async fn remove_foreign_owners(
        &self,
        shard: Shard,
        foreign_members: &[Vec<u8>],
    ) -> Result<(), StoreError> {
        if foreign_members.is_empty() {
            return Ok(());
        }
        let zrem = redis::cmd("ZREM")
            .arg(self.keys.owners(shard))
            .arg(foreign_members)
            .to_owned();
        self.redis.query(shard, &zrem).await.map(drop)
    }

    /// Ends the leases of connections of one shard.
    async fn end_leases(
        &self,
        ending: &Ending,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> Result<EndedLeases, StoreError> {
        let players: Vec<_> = connections
            .iter()
            .map(|connection| &connection.player_id)
            .collect();
        let Reply {
            outcomes, events, ..
        } = self
            .call(&scripts::END_LEASES, &players, trace, |command| {
                command
                    .arg(ending.gateway.as_str())
                    .arg(ending.before)
                    .arg(ending.reason.as_str())
                    .arg(ending.grace);
                for connection in connections {
                    command.arg(connection.connection_id.as_str());
                }
            })
            .await?;
        let mut ended = 0;
        for outcome in outcomes {
            match outcome.ok_or(OTHER_TYPE)? {
                EndOutcome::Ended => ended += 1,
                EndOutcome::Renewed | EndOutcome::NotOwned => {}
            }
        }
        Ok(EndedLeases { ended, events })
    }

    /// Counts the connections of each gateway.
    pub(super) async fn count_owned<'a>(
        &self,
        gateways: impl Iterator<Item = &'a GatewayId> + Clone,
    ) -> Result<Vec<u64>, StoreError> {
        let mut zlexcounts = Vec::new();
        for shard in self.keys.shards() {
            for gateway in gateways.clone() {
                let (start, end) = bounds(gateway);
                let zlexcount = redis::cmd("ZLEXCOUNT")
                    .arg(self.keys.owners(shard))
                    .arg(start)
                    .arg(end)
                    .to_owned();
                zlexcounts.push((shard, zlexcount));
            }
        }
        let mut counts = vec![0; gateways.count()];
        let replies = self.redis.query_all(&zlexcounts).await;
        let positions = (0..counts.len()).cycle();
        for (position, reply) in positions.zip(replies) {
            match reply {
                Ok(count) => counts[position] += redis::from_redis_value::<u64>(count)?,
                Err(error) if is_wrong_type(&error) => {} // the sweep deletes it
                Err(error) => return Err(error),
            }
        }
        Ok(counts)
    }
}

impl ConnectionsEnding<'_> {
    /// Ends the next leases. `None` after the last ones. Shards whose node does not respond
    /// are skipped.
    pub(crate) async fn next(&mut self) -> Option<EndedLeases> {
        let shards: Vec<_> = self
            .shards
            .drain(..self.shards.len().min(SHARDS_PER_STEP))
            .collect();
        if shards.is_empty() {
            return None;
        }
        let count = (CONNECTIONS_PER_STEP / shards.len()).max(ENTRIES_PER_CALL);
        let steps = shards
            .into_iter()
            .map(|(shard, after)| self.step(shard, after, count));
        let mut all = EndedLeases::default();
        for step in join_all(steps).await {
            match step {
                Ok((ended, more)) => {
                    all.ended += ended.ended;
                    all.events.extend(ended.events);
                    self.shards.extend(more);
                }
                Err(error) => self.failure = Some(error),
            }
        }
        Some(all)
    }

    /// Ends leases of one shard. Also returns the shard if it may hold more.
    async fn step(
        &self,
        shard: Shard,
        after: Option<Vec<u8>>,
        count: usize,
    ) -> Result<(EndedLeases, Option<(Shard, Option<Vec<u8>>)>), StoreError> {
        let page = self
            .store
            .owned_page(shard, self.ending, after.as_deref(), count)
            .await?;
        self.store
            .remove_foreign_owners(shard, &page.foreign_members)
            .await?;
        let chunks = page.connections.chunks(ENTRIES_PER_CALL);
        let calls =
            chunks.map(|connections| self.store.end_leases(self.ending, connections, self.trace));
        let mut all = EndedLeases::default();
        for result in join_all(calls).await {
            let ended = result?;
            all.ended += ended.ended;
            all.events.extend(ended.events);
        }
        Ok((all, page.more_after.map(|member| (shard, Some(member)))))
    }

    /// Records that all leases have ended.
    ///
    /// # Errors
    /// [`StoreError`] if a node did not respond. Sweeps end the rest.
    pub(crate) async fn finish(self) -> Result<(), StoreError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let keys = &self.store.keys;
        let zrem = redis::cmd("ZREM")
            .arg(keys.gateways_ending())
            .arg(&self.ending.member)
            .to_owned();
        self.store.redis.query(Shard::FIRST, &zrem).await.map(drop)
    }
}

/// The bounds of a gateway's connections in the sorted set of owners.
fn bounds(gateway: &GatewayId) -> (String, String) {
    // `"` follows `!`, and neither is part of an id.
    (
        format!("[{}!", gateway.as_str()),
        format!("({}\"", gateway.as_str()),
    )
}

/// Parses the connection in a member of the owners.
fn connection_of(member: &[u8]) -> Option<Connection> {
    let (_, connection) = str::from_utf8(member).ok()?.split_once('!')?;
    let (player_id, connection_id) = connection.split_once(' ')?;
    let player_id = PlayerId::parse(player_id).ok()?;
    Some(Connection {
        player_id,
        connection_id: ConnectionId::parse(connection_id).ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_the_owners_is_a_connection() {
        let connection = connection_of(b"g1=+/!steam:1@eu|x c=+/").unwrap();
        assert_eq!(
            (
                connection.player_id.as_str(),
                connection.connection_id.as_str()
            ),
            ("steam:1@eu|x", "c=+/")
        );
        for member in ["", "g1", "g1!", "g1!alice", "g1!alice c c", "!"] {
            assert_eq!(connection_of(member.as_bytes()), None, "{member:?}");
        }
    }
}
