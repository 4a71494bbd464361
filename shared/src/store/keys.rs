//! Names of all keys. `lua/README.md` describes their content.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    model::PlayerId,
    redis::{ConcatArg, SLOTS, Shard, slot, slot_tag},
};

/// Builds the names of keys. Neither ids nor the prefix contain a brace or a `#`, so names of
/// different kinds never collide.
///
/// All keys of a player are in one slot. In a cluster that is the slot of the player's partition,
/// whose hash tag all its keys have.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    prefix: String,
    /// The part before the id in the names of a player's past and tombstones without a cluster.
    braced_prefix: String,
    /// The [`id_offset`](Self::id_offset) without a cluster.
    single_id_offset: String,
    layout: Layout,
}

/// The distribution of players.
#[derive(Debug, Clone)]
enum Layout {
    /// All players are in one Redis.
    Single,
    /// Players are spread over the partitions of a cluster.
    Partitioned {
        slots_per_partition: u16,
        partitions: Arc<[Partition]>,
    },
}

/// The parts that all keys of a partition share.
#[derive(Debug)]
struct Partition {
    /// The prefix and the hash tag.
    head: String,
    /// The part before the id in the names of a player's keys.
    player_prefix: String,
    /// The number of bytes of `player_prefix`, followed by a space.
    id_offset: String,
}

impl Keys {
    /// Creates the names of keys that begin with `prefix`. `partitions` is the number of partitions
    /// of a cluster, a power of two; `None` without a cluster.
    pub(crate) fn new(prefix: String, partitions: Option<u16>) -> Self {
        let layout = match partitions {
            None => Layout::Single,
            Some(count) => {
                let slots_per_partition = SLOTS / count;
                let slots = (0..SLOTS).step_by(slots_per_partition.into());
                let partitions = slots
                    .map(|slot| Partition::new(&prefix, slot_tag(slot)))
                    .collect();
                Layout::Partitioned {
                    slots_per_partition,
                    partitions,
                }
            }
        };
        let braced_prefix = format!("{{{prefix}");
        let single_id_offset = format!("{} ", prefix.len());
        Self {
            prefix,
            braced_prefix,
            single_id_offset,
            layout,
        }
    }

    /// The player's record: a JSON string that lives until its last lease expires, or the grace.
    pub(crate) fn record<'a>(&'a self, shard: Shard, player: &'a PlayerId) -> ConcatArg<'a> {
        match self.partition(shard) {
            None => ConcatArg([&self.prefix, player.as_str(), ""]),
            Some(partition) => ConcatArg([&partition.player_prefix, player.as_str(), ""]),
        }
    }

    /// The player's past, a line of text that outlives the record.
    pub(crate) fn past<'a>(&'a self, shard: Shard, player: &'a PlayerId) -> ConcatArg<'a> {
        match self.partition(shard) {
            None => ConcatArg([&self.braced_prefix, player.as_str(), "}:past"]),
            Some(partition) => ConcatArg([&partition.player_prefix, player.as_str(), "#past"]),
        }
    }

    /// The player's tombstones, the ids of closed connections: a sorted set.
    pub(crate) fn tombstones<'a>(&'a self, shard: Shard, player: &'a PlayerId) -> ConcatArg<'a> {
        match self.partition(shard) {
            None => ConcatArg([&self.braced_prefix, player.as_str(), "}:closed"]),
            Some(partition) => ConcatArg([&partition.player_prefix, player.as_str(), "#closed"]),
        }
    }

    /// The number of bytes before the id in the names of a shard's records, followed by a space.
    pub(crate) fn id_offset(&self, shard: Shard) -> &str {
        self.partition(shard)
            .map_or(&self.single_id_offset, |partition| &partition.id_offset)
    }

    /// The expiry index: a sorted set of players by a time that is not later than the expiry of
    /// their record, unless the clock was set back.
    pub(crate) fn expiry_index(&self, shard: Shard) -> ConcatArg<'_> {
        self.shared(shard, "expiry")
    }

    /// The outbox: a stream of the events that wait for JetStream's ack.
    pub(crate) fn outbox(&self, shard: Shard) -> ConcatArg<'_> {
        self.shared(shard, "outbox")
    }

    /// The connections that belong to gateways: a sorted set by name.
    pub(crate) fn owners(&self, shard: Shard) -> ConcatArg<'_> {
        self.shared(shard, "owners")
    }

    /// The gateways' leases: a sorted set by their expiry.
    pub(crate) fn gateways(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "gateways")
    }

    /// The gateways whose connections are being ended: a sorted set by the time from which on
    /// sweeps end them.
    pub(crate) fn gateways_ending(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "gateways-ending")
    }

    /// The gateways that were lost recently: a sorted set by the expiry of their leases.
    pub(crate) fn gateways_lost(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "gateways-lost")
    }

    /// The result of the last check for lost gateways: a hash.
    pub(crate) fn gateways_seen(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "gateways-seen")
    }

    /// The time at which the last sweep of all shards ended.
    pub(crate) fn last_sweep(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "swept")
    }

    /// The time at which a sweep of all partitions of a cluster last began.
    pub(crate) fn sweeping(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "sweeping")
    }

    /// The time at which a relay had last emptied all outboxes of a cluster.
    pub(crate) fn relayed(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "relayed")
    }

    /// The time at which a relay last began to look at all outboxes of a cluster.
    pub(crate) fn relaying(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "relaying")
    }

    /// The number of partitions. The key's own slot does not depend on that number.
    pub(crate) fn partition_count(&self) -> ConcatArg<'_> {
        self.shared(Shard::FIRST, "partitions")
    }

    /// A random mark that identifies the data set.
    pub(crate) fn dataset(&self, shard: Shard) -> ConcatArg<'_> {
        self.shared(shard, "dataset")
    }

    /// The key that the health check writes to the node of a shard.
    pub(crate) fn probe(&self, shard: Shard) -> ConcatArg<'_> {
        self.shared(shard, "probe")
    }

    /// The shard of the player's keys.
    ///
    /// Partitions divide the slots into ranges of equal size. A player belongs to the range with
    /// the slot of the bare id.
    pub(crate) fn shard(&self, player: &PlayerId) -> Shard {
        match self.layout {
            Layout::Single => Shard::FIRST,
            Layout::Partitioned {
                slots_per_partition,
                ..
            } => {
                let slot = slot([player.as_str()]);
                Shard::of_slot(slot - slot % slots_per_partition)
            }
        }
    }

    /// Groups items by the shard of their player.
    pub(crate) fn group_by_shard<'a, T>(
        &self,
        items: impl Iterator<Item = T>,
        player: impl Fn(&T) -> &'a PlayerId,
    ) -> BTreeMap<Shard, Vec<T>> {
        let mut shards = BTreeMap::<_, Vec<T>>::new();
        for item in items {
            let shard = self.shard(player(&item));
            shards.entry(shard).or_default().push(item);
        }
        shards
    }

    /// All shards.
    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard> + use<> {
        let (end, step) = match self.layout {
            Layout::Single => (1, 1),
            Layout::Partitioned {
                slots_per_partition,
                ..
            } => (SLOTS, slots_per_partition),
        };
        (0..end).step_by(step.into()).map(Shard::of_slot)
    }

    /// Whether players are spread over the partitions of a cluster.
    pub(crate) fn is_partitioned(&self) -> bool {
        matches!(self.layout, Layout::Partitioned { .. })
    }

    /// The name of a key that the players of a shard share.
    fn shared<'a>(&'a self, shard: Shard, name: &'a str) -> ConcatArg<'a> {
        match self.partition(shard) {
            None => ConcatArg([&self.prefix, "{all}:", name]),
            Some(Partition { head, .. }) => ConcatArg([head, "#", name]),
        }
    }

    fn partition(&self, shard: Shard) -> Option<&Partition> {
        match &self.layout {
            Layout::Single => None,
            Layout::Partitioned {
                slots_per_partition,
                partitions,
            } => Some(&partitions[usize::from(shard.slot() / slots_per_partition)]),
        }
    }
}

impl Partition {
    fn new(prefix: &str, tag: &str) -> Self {
        let head = format!("{prefix}{{{tag}}}");
        let player_prefix = format!("{head}:");
        let id_offset = format!("{} ", player_prefix.len());
        Self {
            head,
            player_prefix,
            id_offset,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(partitions: u16) -> Keys {
        Keys::new("presence:".into(), Some(partitions))
    }

    /// The slot of a key, by its hash tag.
    fn slot_of(key: &ConcatArg<'_>) -> u16 {
        let key = key.to_string();
        slot([key.split(['{', '}']).nth(1).unwrap()])
    }

    #[test]
    fn a_standalone_redis_keeps_its_key_names() {
        let keys = Keys::new("presence:".into(), None);
        let player = PlayerId::parse("alice").unwrap();
        let shard = keys.shard(&player);
        assert_eq!(keys.record(shard, &player).to_string(), "presence:alice");
        assert_eq!(
            keys.past(shard, &player).to_string(),
            "{presence:alice}:past"
        );
        assert_eq!(
            keys.tombstones(shard, &player).to_string(),
            "{presence:alice}:closed"
        );
        assert_eq!(
            keys.expiry_index(shard).to_string(),
            "presence:{all}:expiry"
        );
        assert_eq!(keys.outbox(shard).to_string(), "presence:{all}:outbox");
        assert_eq!(keys.last_sweep().to_string(), "presence:{all}:swept");
        assert_eq!((keys.id_offset(shard), keys.shards().count()), ("9 ", 1));
    }

    #[test]
    fn all_keys_of_a_partition_lie_in_its_slot() {
        for partitions in [1, 64, 256, 16_384] {
            let keys = cluster(partitions);
            let player = PlayerId::parse("alice").unwrap();
            let shard = keys.shard(&player);
            let own = [
                keys.record(shard, &player),
                keys.past(shard, &player),
                keys.tombstones(shard, &player),
            ];
            let shared = [
                keys.expiry_index(shard),
                keys.outbox(shard),
                keys.owners(shard),
                keys.dataset(shard),
                keys.probe(shard),
            ];
            assert!(
                own.iter()
                    .chain(&shared)
                    .all(|key| slot_of(key) == shard.slot())
            );
            let record = keys.record(shard, &player).to_string();
            let offset: usize = keys.id_offset(shard).trim().parse().unwrap();
            assert_eq!(&record[offset..], "alice");
        }
    }

    /// The examples of docs/presence.md, for other languages.
    #[test]
    fn the_partition_of_a_player_is_documented() {
        for (id, partitions, record) in TEST_VECTORS {
            let keys = cluster(partitions);
            let player = PlayerId::parse(id).unwrap();
            assert_eq!(
                keys.record(keys.shard(&player), &player).to_string(),
                record
            );
        }
    }

    /// An id, the number of partitions, and the record's key.
    const TEST_VECTORS: [(&str, u16, &str); 5] = [
        ("alice", 256, "presence:{7806}:alice"),
        ("bob", 256, "presence:{48223}:bob"),
        ("player-0000001", 256, "presence:{5469}:player-0000001"),
        ("alice", 1, "presence:{3560}:alice"),
        ("alice", 16_384, "presence:{10419}:alice"),
    ];

    #[test]
    fn partitions_are_spread_evenly_over_masters() {
        let keys = cluster(256);
        for masters in [1_u32, 2, 3, 4, 6, 7, 16, 32] {
            let mut held = vec![0_u32; masters as usize];
            for shard in keys.shards() {
                held[(u32::from(shard.slot()) * masters / u32::from(SLOTS)) as usize] += 1;
            }
            assert!(
                held.iter().max().unwrap() - held.iter().min().unwrap() <= 1,
                "{held:?}"
            );
        }
    }

    #[test]
    fn players_are_spread_evenly_whatever_their_ids_look_like() {
        let format_numbered = |n: u64| format!("player-{n:07}");
        let format_steam = |n: u64| (76_561_197_960_265_728 + 2 * n).to_string();
        let format_mail = |n: u64| format!("u{n}@example.com");
        for format in [
            &format_numbered as &dyn Fn(u64) -> String,
            &format_steam,
            &format_mail,
        ] {
            let ids: Vec<_> = (0..50_000)
                .map(|n| PlayerId::parse(&format(n)).unwrap())
                .collect();
            let shards = cluster(256).group_by_shard(ids.iter(), |id| id);
            let most = shards.values().map(Vec::len).max().unwrap();
            assert_eq!(shards.len(), 256);
            assert!(most < 50_000 / 256 * 5 / 4, "{}: {most}", format(0));
        }
    }

    /// The number of partitions is stored in the same place whatever it is.
    #[test]
    fn the_place_of_the_partition_count_does_not_depend_on_it() {
        assert_eq!(
            cluster(1).partition_count().to_string(),
            cluster(16_384).partition_count().to_string()
        );
    }
}
