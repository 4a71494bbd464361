//! Shards and hash slots: where keys are.

use std::{fmt::Write as _, sync::LazyLock};

/// The number of hash slots of a Redis Cluster.
pub(crate) const SLOTS: u16 = 16_384;

/// Keys that share one expiry index and one outbox: those of a partition of a cluster, or all of a
/// standalone Redis. A shard is identified by the hash slot of its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Shard(u16);

impl Shard {
    /// The shard of the keys that all shards share, and the only one without a cluster.
    pub(crate) const FIRST: Self = Self(0);

    /// The shard whose keys are in this hash slot.
    pub(crate) fn of_slot(slot: u16) -> Self {
        Self(slot)
    }

    /// The hash slot, in cluster mode.
    pub(crate) fn slot(self) -> u16 {
        self.0
    }
}

/// A hash tag of a few digits for this slot.
pub(crate) fn slot_tag(slot: u16) -> &'static str {
    &SLOT_TAGS[usize::from(slot)]
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

/// The hash slot of a key without a hash tag, by Redis Cluster's specification. The key is given in
/// parts.
pub(crate) fn slot<const N: usize>(parts: [&str; N]) -> u16 {
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
