//! Gateways: their leases, and the connections that belong to them.

use std::collections::VecDeque;

use futures_util::future::join_all;
use redis::{Cmd, Value};

use super::{
    OutboxEntry, Outcome, Repository, StoreError,
    keys::Shard,
    mutate::{ENTRIES_PER_CALL, OTHER_TYPE},
    scripts,
    sweep::is_wrong_type,
};
use crate::{
    model::{Connection, ConnectionId, DisconnectReason, Gateway, GatewayId, GatewayStatus, PlayerId},
    trace::TraceContext,
};

/// The number of connections that one step of a drain reads, over all shards: few enough not to hold up the calls of
/// players.
const CONNECTIONS_PER_STEP: usize = 1_000;

/// The number of shards that a drain works on at a time.
const SHARDS_PER_STEP: usize = 64;

/// The time that a gateway's own call has to end the leases of its connections, in milliseconds: more than a call may take.
/// What is left then is for the sweeps.
const LEAVING_TIMEOUT_MS: u64 = 15_000;

/// The number of gateways that are counted in one go.
const GATEWAYS_PER_PIPELINE: usize = 100;

/// A gateway the leases of whose connections are to be ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ending {
    pub(crate) gateway: GatewayId,
    /// Leases that were renewed later stay, in Unix milliseconds.
    before: u64,
    /// The reason of OFFLINE transitions.
    reason: String,
    /// How long a player without any lease left keeps the record, in milliseconds.
    grace: u64,
    /// The member of the sorted set of such gateways.
    member: String,
}

/// What a look for lost gateways found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LostGateways {
    /// Nothing may be ended now.
    pub(crate) is_held: bool,
    /// The number of gateways that this look found to be lost.
    pub(crate) lost: u64,
    /// The number of known gateways.
    pub(crate) known: u64,
    /// The gateways the leases of whose connections are to be ended now.
    pub(crate) endings: Vec<Ending>,
}

/// The leases that one step of a drain ended.
#[derive(Debug, Default)]
pub(crate) struct EndedLeases {
    pub(crate) ended: u64,
    pub(crate) events: Vec<OutboxEntry>,
}

/// Ends the leases of a gateway's connections, step by step. However many drains of one gateway run, each lease is ended
/// once.
pub(crate) struct EndingDrain<'a> {
    repository: &'a Repository,
    ending: &'a Ending,
    trace: &'a TraceContext,
    /// The shards that may hold more connections, and the last member that was read of each.
    shards: VecDeque<(Shard, Option<Vec<u8>>)>,
    failure: Option<StoreError>,
}

/// Connections of a gateway, as one read of a shard's owners found them.
#[derive(Debug, Default)]
struct OwnedPage {
    connections: Vec<Connection>,
    /// Members that are not connections of this shard's players.
    strangers: Vec<Vec<u8>>,
    /// The last member, if there may be more.
    more_after: Option<Vec<u8>>,
}

impl Repository {
    /// Renews a gateway's lease.
    pub(crate) async fn renew_gateway(&self, gateway: &GatewayId) -> Result<GatewayStatus, StoreError> {
        let complete = |command: &mut Cmd| {
            command.arg(1).arg(self.keys.gateways()).arg(gateway.as_str()).arg(self.gateway_ttl);
        };
        let added: u64 = redis::from_redis_value(self.run_one(&scripts::RENEW_GATEWAY, Shard::FIRST, complete).await?)?;
        Ok(if added == 1 { GatewayStatus::New } else { GatewayStatus::Alive })
    }

    /// Ends a gateway's lease; `None` if it is not known. The caller ends the leases of its connections.
    pub(crate) async fn leave_gateway(
        &self,
        gateway: &GatewayId,
        reason: DisconnectReason,
    ) -> Result<Option<Ending>, StoreError> {
        let (reason, grace) = self.end_of(reason);
        let complete = |command: &mut Cmd| {
            command.arg(2).arg(self.keys.gateways()).arg(self.keys.gateways_ending());
            command.arg(gateway.as_str()).arg(format!("{reason}!{grace}")).arg(LEAVING_TIMEOUT_MS);
        };
        let member = self.run_one(&scripts::LEAVE_GATEWAY, Shard::FIRST, complete).await?;
        let member: Option<String> = redis::from_redis_value(member)?;
        member.map(|member| Ending::parse(&member).ok_or(UNEXPECTED_MEMBER)).transpose()
    }

    /// Looks for gateways whose leases have expired. However many sweepers look, each is lost once.
    pub(crate) async fn lost_gateways(&self) -> Result<LostGateways, StoreError> {
        let (reason, grace) = self.end_of(DisconnectReason::Lost);
        let complete = |command: &mut Cmd| {
            let keys = &self.keys;
            let keys = [keys.gateways(), keys.gateways_ending(), keys.gateways_lost(), keys.gateways_seen()];
            command.arg(keys.len()).arg(&keys);
            command.arg(self.gateway_ttl).arg(self.gateway_outage).arg(format!("{reason}!{grace}"));
        };
        match self.run_one(&scripts::LOST_GATEWAYS, Shard::FIRST, complete).await {
            Ok(reply) => LostGateways::parse(reply),
            Err(error) => {
                self.delete_wrong_gateway_keys().await?;
                Err(error)
            }
        }
    }

    /// Deletes keys of gateways that hold another type: with them no gateway can renew its lease.
    async fn delete_wrong_gateway_keys(&self) -> Result<(), StoreError> {
        let keys = &self.keys;
        for key in [keys.gateways(), keys.gateways_ending(), keys.gateways_lost()] {
            self.delete_wrong_type(Shard::FIRST, key.to_string(), &["ZCARD"]).await?;
        }
        self.delete_wrong_type(Shard::FIRST, keys.gateways_seen().to_string(), &["HLEN"]).await
    }

    /// Prepares to end the leases of a gateway's connections.
    pub(crate) async fn drain<'a>(
        &'a self,
        ending: &'a Ending,
        trace: &'a TraceContext,
    ) -> Result<EndingDrain<'a>, StoreError> {
        let heads: Vec<_> = self.keys.shards().map(|shard| (shard, self.owned(shard, ending, None, 1))).collect();
        let replies = self.connection.query_all(&heads).await;
        let mut drain = EndingDrain { repository: self, ending, trace, shards: VecDeque::new(), failure: None };
        for ((shard, _), reply) in heads.iter().zip(replies) {
            match reply.and_then(|reply| Ok(redis::from_redis_value::<Vec<Vec<u8>>>(reply)?)) {
                Ok(head) if head.is_empty() => {}
                Ok(_) => drain.shards.push_back((*shard, None)),
                Err(error) if is_wrong_type(&error) => {
                    let owners = self.keys.owners(*shard).to_string();
                    self.delete_wrong_type(*shard, owners, &["ZCARD"]).await?;
                }
                Err(error) => drain.failure = Some(error),
            }
        }
        Ok(drain)
    }

    /// The first connections of a gateway in a shard, after a member.
    fn owned(&self, shard: Shard, ending: &Ending, after: Option<&[u8]>, count: usize) -> Cmd {
        let (first, end) = bounds(&ending.gateway);
        let start = after.map_or(first.into_bytes(), |member| [b"(", member].concat());
        let mut zrange = redis::cmd("ZRANGE");
        zrange.arg(self.keys.owners(shard)).arg(start).arg(end).arg("BYLEX").arg("LIMIT").arg(0).arg(count);
        zrange
    }

    async fn owned_page(
        &self,
        shard: Shard,
        ending: &Ending,
        after: Option<&[u8]>,
        count: usize,
    ) -> Result<OwnedPage, StoreError> {
        let members = self.connection.query(shard, &self.owned(shard, ending, after, count)).await?;
        let members: Vec<Vec<u8>> = redis::from_redis_value(members)?;
        let mut page = OwnedPage { more_after: members.last().cloned(), ..OwnedPage::default() };
        if members.len() < count {
            page.more_after = None;
        }
        for member in members {
            match connection_of(&member).filter(|connection| self.keys.shard(&connection.player_id) == shard) {
                Some(connection) => page.connections.push(connection),
                None => page.strangers.push(member),
            }
        }
        Ok(page)
    }

    async fn remove_strange_owners(&self, shard: Shard, strangers: &[Vec<u8>]) -> Result<(), StoreError> {
        if strangers.is_empty() {
            return Ok(());
        }
        let zrem = redis::cmd("ZREM").arg(self.keys.owners(shard)).arg(strangers).to_owned();
        self.connection.query(shard, &zrem).await.map(drop)
    }

    /// Ends leases of connections of one shard.
    async fn end_leases(
        &self,
        ending: &Ending,
        connections: &[Connection],
        trace: &TraceContext,
    ) -> Result<EndedLeases, StoreError> {
        let players: Vec<_> = connections.iter().map(|connection| &connection.player_id).collect();
        let reply = self
            .call(&scripts::END_LEASES, &players, trace, |command| {
                command.arg(ending.gateway.as_str()).arg(ending.before).arg(&ending.reason).arg(ending.grace);
                for connection in connections {
                    command.arg(connection.connection_id.as_str());
                }
            })
            .await?;
        if reply.outcomes.contains(&Outcome::Failed) {
            return Err(OTHER_TYPE);
        }
        let ended = reply.outcomes.iter().filter(|outcome| **outcome == Outcome::Expired).count();
        Ok(EndedLeases { ended: ended as u64, events: reply.events })
    }

    /// All known gateways, by id, and the clock (Unix milliseconds).
    pub(crate) async fn gateways(&self) -> Result<(Vec<Gateway>, u64), StoreError> {
        let zrange = redis::cmd("ZRANGE").arg(self.keys.gateways()).arg(0).arg(-1).arg("WITHSCORES").to_owned();
        let reply = self.connection.query_all_timed(&[(Shard::FIRST, zrange)]).await.pop();
        let (leases, now) = reply.unwrap_or(Err(StoreError::Unexpected("no answer")))?;
        let leases: Vec<(String, f64)> = redis::from_redis_value(leases)?;
        let parse = |(id, expires_at): (String, f64)| Some((GatewayId::parse(&id).ok()?, expires_at as u64));
        let leases: Vec<_> = leases.into_iter().filter_map(parse).collect();
        let mut gateways = Vec::with_capacity(leases.len());
        for leases in leases.chunks(GATEWAYS_PER_PIPELINE) {
            let counts = self.count_owned(leases.iter().map(|(gateway, _)| gateway)).await?;
            gateways.extend(leases.iter().zip(counts).map(|((gateway_id, expires_at), connections)| Gateway {
                gateway_id: gateway_id.clone(),
                connections,
                expires_in_ms: expires_at.saturating_sub(now),
            }));
        }
        gateways.sort_by(|one, other| one.gateway_id.cmp(&other.gateway_id));
        Ok((gateways, now))
    }

    /// The number of connections of each gateway.
    async fn count_owned<'a>(
        &self,
        gateways: impl Iterator<Item = &'a GatewayId> + Clone,
    ) -> Result<Vec<u64>, StoreError> {
        let mut zlexcounts = Vec::new();
        for shard in self.keys.shards() {
            for gateway in gateways.clone() {
                let (start, end) = bounds(gateway);
                let zlexcount = redis::cmd("ZLEXCOUNT").arg(self.keys.owners(shard)).arg(start).arg(end).to_owned();
                zlexcounts.push((shard, zlexcount));
            }
        }
        let mut counts = vec![0; gateways.count()];
        let replies = self.connection.query_all(&zlexcounts).await;
        let places = (0..counts.len()).cycle();
        for (place, reply) in places.zip(replies) {
            match reply {
                Ok(count) => counts[place] += redis::from_redis_value::<u64>(count)?,
                Err(error) if is_wrong_type(&error) => {} // the sweep deletes it
                Err(error) => return Err(error),
            }
        }
        Ok(counts)
    }

    /// The reason of OFFLINE transitions, and the grace (ms).
    pub(super) fn end_of(&self, reason: DisconnectReason) -> (&'static str, u64) {
        match reason {
            DisconnectReason::Quit => ("disconnect", 0),
            DisconnectReason::Lost => ("lost", self.grace),
            DisconnectReason::Moving => ("lost", self.move_grace),
        }
    }
}

impl EndingDrain<'_> {
    /// Ends the next leases; `None` after the last. Shards whose node does not answer are left out.
    pub(crate) async fn next(&mut self) -> Option<EndedLeases> {
        let shards: Vec<_> = self.shards.drain(..self.shards.len().min(SHARDS_PER_STEP)).collect();
        if shards.is_empty() {
            return None;
        }
        let count = (CONNECTIONS_PER_STEP / shards.len()).max(ENTRIES_PER_CALL);
        let steps = shards.into_iter().map(|(shard, after)| self.step(shard, after, count));
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

    /// Ends leases of one shard; returns the shard again if it may hold more.
    async fn step(
        &self,
        shard: Shard,
        after: Option<Vec<u8>>,
        count: usize,
    ) -> Result<(EndedLeases, Option<(Shard, Option<Vec<u8>>)>), StoreError> {
        let page = self.repository.owned_page(shard, self.ending, after.as_deref(), count).await?;
        self.repository.remove_strange_owners(shard, &page.strangers).await?;
        let chunks = page.connections.chunks(ENTRIES_PER_CALL);
        let calls = chunks.map(|connections| self.repository.end_leases(self.ending, connections, self.trace));
        let mut all = EndedLeases::default();
        for ended in join_all(calls).await {
            let ended = ended?;
            all.ended += ended.ended;
            all.events.extend(ended.events);
        }
        Ok((all, page.more_after.map(|member| (shard, Some(member)))))
    }

    /// Notes that all leases have ended.
    ///
    /// # Errors
    /// [`StoreError`] if a node did not answer: sweeps end the rest.
    pub(crate) async fn finish(self) -> Result<(), StoreError> {
        if let Some(error) = self.failure {
            return Err(error);
        }
        let keys = &self.repository.keys;
        let zrem = redis::cmd("ZREM").arg(keys.gateways_ending()).arg(&self.ending.member).to_owned();
        self.repository.connection.query(Shard::FIRST, &zrem).await.map(drop)
    }
}

const UNEXPECTED_MEMBER: StoreError = StoreError::Unexpected("a gateway whose connections are being ended");

impl Ending {
    /// Reads `<gateway_id>!<before>!<reason>!<grace>`.
    fn parse(member: &str) -> Option<Self> {
        let mut parts = member.split('!');
        let ending = Self {
            gateway: GatewayId::parse(parts.next()?).ok()?,
            before: parts.next()?.parse().ok()?,
            reason: parts.next()?.to_owned(),
            grace: parts.next()?.parse().ok()?,
            member: member.to_owned(),
        };
        parts.next().is_none().then_some(ending)
    }
}

impl LostGateways {
    fn parse(reply: Value) -> Result<Self, StoreError> {
        const UNEXPECTED: StoreError = StoreError::Unexpected("a script's reply");
        let mut parts = redis::from_redis_value::<Vec<Value>>(reply)?.into_iter();
        let mut number = || Ok::<u64, StoreError>(redis::from_redis_value(parts.next().ok_or(UNEXPECTED)?)?);
        let (held, lost, known) = (number()?, number()?, number()?);
        let members = parts.map(redis::from_redis_value::<String>).collect::<Result<Vec<_>, _>>()?;
        let endings = members.iter().filter_map(|member| Ending::parse(member)).collect();
        Ok(Self { is_held: held == 1, lost, known, endings })
    }
}

/// Where a gateway's connections begin and end among the owners.
fn bounds(gateway: &GatewayId) -> (String, String) {
    // `"` follows `!`, and neither is part of an id.
    (format!("[{}!", gateway.as_str()), format!("({}\"", gateway.as_str()))
}

/// The connection that a member of the owners names.
fn connection_of(member: &[u8]) -> Option<Connection> {
    let (_, connection) = str::from_utf8(member).ok()?.split_once('!')?;
    let (player_id, connection_id) = connection.split_once(' ')?;
    let player_id = PlayerId::parse(player_id).ok()?;
    Some(Connection { player_id, connection_id: ConnectionId::parse(connection_id).ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_of_the_owners_is_a_connection() {
        let connection = connection_of(b"g1=+/!steam:1@eu|x c=+/").unwrap();
        assert_eq!((connection.player_id.as_str(), connection.connection_id.as_str()), ("steam:1@eu|x", "c=+/"));
        for member in ["", "g1", "g1!", "g1!alice", "g1!alice c c", "!"] {
            assert_eq!(connection_of(member.as_bytes()), None, "{member:?}");
        }
    }

    #[test]
    fn an_ending_is_read_as_it_was_noted() {
        let ending = Ending::parse("g1!1795492717576!lost!30000").unwrap();
        assert_eq!((ending.gateway.as_str(), ending.before), ("g1", 1_795_492_717_576));
        assert_eq!((&*ending.reason, ending.grace), ("lost", 30_000));
        for member in ["", "g1", "g1!x!lost!0", "g1!1!lost", "g1!1!lost!0!0", "a b!1!lost!0"] {
            assert_eq!(Ending::parse(member), None, "{member:?}");
        }
    }
}
