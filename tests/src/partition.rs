//! The names of a cluster's keys, derived from the documentation and not by the service's own code.

/// The number of hash slots of a Redis Cluster.
const SLOTS: u16 = 16_384;

/// The number of partitions unless a test sets another one.
const PARTITIONS: u16 = 256;

/// The key of a player's record, in a cluster with the default number of partitions.
pub fn record_key(player: &str) -> String {
    let partition = key_slot(player) / (SLOTS / PARTITIONS);
    format!("{}:{player}", head(partition))
}

/// The key of what the players of a partition share, such as `expiry`.
pub fn partition_key(partition: u16, name: &str) -> String {
    format!("{}#{name}", head(partition))
}

/// The hash slot of a player's keys, in a cluster with the default number of partitions.
pub fn partition_slot(player: &str) -> u16 {
    key_slot(player) / (SLOTS / PARTITIONS) * (SLOTS / PARTITIONS)
}

/// The hash tag is the first number whose digits hash into the first of the partition's slots.
fn head(partition: u16) -> String {
    let slot = partition * (SLOTS / PARTITIONS);
    let tag = (0..)
        .map(|number: u32| number.to_string())
        .find(|tag| key_slot(tag) == slot);
    format!("presence:{{{}}}", tag.unwrap_or_default())
}

/// What `CLUSTER KEYSLOT` replies.
fn key_slot(text: &str) -> u16 {
    crc16::State::<crc16::XMODEM>::calculate(text.as_bytes()) % SLOTS
}
