//! Every key, spelled in one place. `lua/README.md` tells what each holds.

use std::{collections::BTreeMap, fmt::Write as _, sync::LazyLock};

use super::joined::Joined;
use crate::{config::RedisMode, model::PlayerId};

/// The number of hash slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// Spells keys. No id and no prefix holds a brace, so that a key with braces is never a player's record.
///
/// All of a player's keys lie in the slot of the record: a hash tag that encloses the whole of the record's name makes it
/// so.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    mode: RedisMode,
}

/// What shares one expiry index and one outbox: a hash slot in cluster mode, everything otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Shard(u16);

impl Keys {
    pub(crate) fn new(prefix: String, mode: RedisMode) -> Self {
        Self { prefix, mode }
    }

    /// The player's presence: a string of JSON that lives for the TTL.
    pub(crate) fn record<'a>(&'a self, player: &'a PlayerId) -> Joined<'a> {
        Joined([&self.prefix, player.as_str(), "", ""])
    }

    /// What outlives the record: a line of text.
    pub(crate) fn past<'a>(&'a self, player: &'a PlayerId) -> Joined<'a> {
        Joined(["{", &self.prefix, player.as_str(), "}:past"])
    }

    /// The player's closed connections: a sorted set.
    pub(crate) fn closed<'a>(&'a self, player: &'a PlayerId) -> Joined<'a> {
        Joined(["{", &self.prefix, player.as_str(), "}:closed"])
    }

    /// The players who may run out, by a time that is never later than their record's expiry.
    pub(crate) fn index(&self, shard: Shard) -> Joined<'_> {
        Joined([&self.prefix, "{", self.tag(shard), "}:expiry"])
    }

    /// The events that wait for JetStream's ack.
    pub(crate) fn outbox(&self, shard: Shard) -> Joined<'_> {
        Joined([&self.prefix, "{", self.tag(shard), "}:outbox"])
    }

    /// When the last sweep of all shards ended.
    pub(crate) fn swept(&self) -> Joined<'_> {
        Joined([&self.prefix, "{", self.tag(Shard::FIRST), "}:swept"])
    }

    /// What tells one data set from another: a random text.
    pub(crate) fn dataset(&self, shard: Shard) -> Joined<'_> {
        Joined([&self.prefix, "{", self.tag(shard), "}:dataset"])
    }

    /// What the health check writes to the node of a shard.
    pub(crate) fn probe(&self, shard: Shard) -> Joined<'_> {
        Joined([&self.prefix, "{", self.tag(shard), "}:probe"])
    }

    /// Where the player's index and outbox lie.
    pub(crate) fn shard(&self, player: &PlayerId) -> Shard {
        match self.mode {
            RedisMode::Standalone | RedisMode::Sentinel => Shard(0),
            RedisMode::Cluster => Shard(slot([&self.prefix, player.as_str()])),
        }
    }

    /// The places of players in their list, by shard.
    pub(crate) fn group_by_shard<'a>(
        &self,
        players: impl Iterator<Item = &'a PlayerId>,
    ) -> BTreeMap<Shard, Vec<usize>> {
        let mut shards = BTreeMap::<_, Vec<usize>>::new();
        for (place, player) in players.enumerate() {
            shards.entry(self.shard(player)).or_default().push(place);
        }
        shards
    }

    /// All shards.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard> + use<> {
        let count = match self.mode {
            RedisMode::Standalone | RedisMode::Sentinel => 1,
            RedisMode::Cluster => SLOTS,
        };
        (0..count).map(Shard)
    }

    fn tag(&self, shard: Shard) -> &str {
        match self.mode {
            RedisMode::Standalone | RedisMode::Sentinel => "all",
            RedisMode::Cluster => &SLOT_TAGS[usize::from(shard.0)],
        }
    }
}

impl Shard {
    /// Where keys lie that belong to no player.
    pub(crate) const FIRST: Self = Self(0);

    /// The shard of a hash slot, in cluster mode.
    pub(crate) fn of_slot(slot: u16) -> Self {
        Self(slot)
    }

    /// The hash slot, in cluster mode.
    pub(crate) fn slot(self) -> u16 {
        self.0
    }
}

/// A short hash tag for each slot: the first number whose digits hash into it.
static SLOT_TAGS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let mut tags = vec![String::new(); usize::from(SLOTS)];
    let mut missing = tags.len();
    let mut digits = String::new();
    for number in 0_u32.. {
        digits.clear();
        let _ = write!(digits, "{number}");
        let tag = &mut tags[usize::from(slot([&digits]))];
        if tag.is_empty() {
            tag.clone_from(&digits);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    tags
});

/// The hash slot of a key without a hash tag, given in parts, as Redis Cluster's specification has it.
pub(super) fn slot<const N: usize>(parts: [&str; N]) -> u16 {
    let mut checksum = crc16::State::<crc16::XMODEM>::new();
    for part in parts {
        checksum.update(part.as_bytes());
    }
    checksum.get() % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_keys_of_a_player_lie_in_one_slot() {
        let keys = Keys::new("presence:".into(), RedisMode::Cluster);
        let player = PlayerId::parse("alice").unwrap();
        let record = keys.record(&player).to_string();
        assert_eq!(record, "presence:alice");
        assert_eq!(keys.past(&player).to_string(), "{presence:alice}:past");
        assert_eq!(keys.closed(&player).to_string(), "{presence:alice}:closed");
        let index = keys.index(keys.shard(&player)).to_string();
        let tag = index.split(['{', '}']).nth(1).unwrap();
        assert_eq!(slot([tag]), slot([&record]));
    }

    #[test]
    fn every_slot_has_a_tag_of_its_own() {
        for (number, tag) in SLOT_TAGS.iter().enumerate() {
            assert_eq!(usize::from(slot([tag])), number);
        }
    }

    #[test]
    fn the_slot_of_the_specifications_example() {
        assert_eq!(slot(["12345", "6789"]), 0x31C3 % SLOTS);
    }
}
