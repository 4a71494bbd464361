//! Slot map of a Redis Cluster: the master of each hash slot.

use std::collections::HashMap;

use redis::Value;

use super::{link::Address, shard::Shard};

/// The master of each slot.
#[derive(Debug, Default)]
pub(crate) struct SlotMap {
    ranges: Vec<Range>,
    /// The masters, without repetition.
    pub(super) masters: Vec<Address>,
}

/// A range of adjacent slots with one master.
#[derive(Debug)]
struct Range {
    first: u16,
    last: u16,
    master: usize,
}

impl SlotMap {
    /// Parses the reply of `CLUSTER SLOTS`. If a node does not know or does not announce its own
    /// host, `asked` is used, the host that was asked.
    pub(crate) fn parse(reply: &Value, asked: &str) -> Option<Self> {
        let Value::Array(ranges) = reply else {
            return None;
        };
        let mut map = Self::default();
        for range in ranges {
            let (first, last, master) = parse_range(range, asked)?;
            let known = map.masters.iter().position(|other| *other == master);
            let master = known.unwrap_or_else(|| {
                map.masters.push(master);
                map.masters.len() - 1
            });
            map.ranges.push(Range {
                first,
                last,
                master,
            });
        }
        map.ranges.sort_unstable_by_key(|range| range.first);
        (!map.ranges.is_empty()).then_some(map)
    }

    /// The master that holds `shard`. `None` if its slot is unassigned.
    pub(super) fn master(&self, shard: Shard) -> Option<&Address> {
        let slot = shard.slot();
        let at = self.ranges.partition_point(|range| range.last < slot);
        let range = self.ranges.get(at).filter(|range| range.first <= slot)?;
        self.masters.get(range.master)
    }

    /// The first of `shards` that each master holds. Masters without any of them are omitted.
    pub(super) fn shard_of_each_master(&self, shards: impl Iterator<Item = Shard>) -> Vec<Shard> {
        let mut found = HashMap::with_capacity(self.masters.len());
        for shard in shards {
            if let Some(master) = self.master(shard) {
                found.entry(master).or_insert(shard);
            }
        }
        found.into_values().collect()
    }
}

/// Parses the address in a redirection, such as `10.0.0.1:6379`. An empty host stands for `asked`,
/// the node that redirects. `None` if the host is unknown.
pub(super) fn parse_address(text: &str, asked: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let host = match host {
        "" => asked,
        UNKNOWN_HOST => return None,
        host => host.trim_matches(['[', ']']),
    };
    Some((host.to_owned(), port.parse().ok()?))
}

fn parse_range(range: &Value, asked: &str) -> Option<(u16, u16, Address)> {
    let Value::Array(range) = range else {
        return None;
    };
    let [
        Value::Int(first),
        Value::Int(last),
        Value::Array(master),
        ..,
    ] = &range[..]
    else {
        return None;
    };
    let [host, Value::Int(port), about @ ..] = &master[..] else {
        return None;
    };
    let host = match text(host) {
        None | Some("") => asked,
        Some(UNKNOWN_HOST) => ip(about).unwrap_or(asked),
        Some(host) => host,
    };
    let to_slot = |number: i64| u16::try_from(number).ok();
    Some((
        to_slot(*first)?,
        to_slot(*last)?,
        (host.to_owned(), u16::try_from(*port).ok()?),
    ))
}

/// The placeholder for a node without a hostname, in a cluster that prefers hostnames.
const UNKNOWN_HOST: &str = "?";

/// A node's IP address, from the fields after its port: its id, and pairs of names and values.
fn ip(about: &[Value]) -> Option<&str> {
    let [_id, Value::Array(about), ..] = about else {
        return None;
    };
    let mut pairs = about.chunks_exact(2);
    pairs
        .find(|pair| text(&pair[0]) == Some("ip"))
        .and_then(|pair| text(&pair[1]))
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(text) => str::from_utf8(text).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64, host: Value, port: i64) -> Value {
        Value::Array(vec![
            Value::Int(first),
            Value::Int(last),
            Value::Array(vec![
                host,
                Value::Int(port),
                Value::BulkString(b"id".to_vec()),
                Value::Array(vec![]),
            ]),
            Value::Array(vec![Value::BulkString(b"10.0.0.9".to_vec()), Value::Int(1)]),
        ])
    }

    fn host(name: &str) -> Value {
        Value::BulkString(name.as_bytes().to_vec())
    }

    #[test]
    fn every_slot_has_the_master_of_its_range() {
        let reply = Value::Array(vec![
            range(8_000, 16_383, host("10.0.0.2"), 7_001),
            range(0, 100, host("10.0.0.1"), 7_000),
            range(200, 7_999, host("10.0.0.1"), 7_000),
        ]);
        let map = SlotMap::parse(&reply, "seed").unwrap();
        let shards: Vec<_> = (0..16_384).map(Shard::of_slot).collect();
        let get_port = |slot: usize| map.master(shards[slot]).map(|(_, port)| *port);
        assert_eq!(map.masters.len(), 2);
        assert_eq!(
            [get_port(0), get_port(100), get_port(200), get_port(7_999)],
            [Some(7_000); 4]
        );
        assert_eq!([get_port(101), get_port(199)], [None; 2]);
        assert_eq!([get_port(8_000), get_port(16_383)], [Some(7_001); 2]);
        let mut held = map.shard_of_each_master(shards.into_iter());
        held.sort_unstable();
        assert_eq!(
            held.into_iter().map(Shard::slot).collect::<Vec<_>>(),
            [0, 8_000]
        );
    }

    #[test]
    fn a_master_without_a_partition_is_left_out() {
        let ranges = vec![
            range(1, 8_191, host("10.0.0.1"), 7_000),
            range(8_192, 16_383, host("10.0.0.2"), 7_001),
        ];
        let map = SlotMap::parse(&Value::Array(ranges), "seed").unwrap();
        let shards = [0, 8_192].map(Shard::of_slot).into_iter();
        assert_eq!(
            map.shard_of_each_master(shards)
                .into_iter()
                .map(Shard::slot)
                .collect::<Vec<_>>(),
            [8_192]
        );
    }

    #[test]
    fn a_node_that_names_no_host_is_the_one_asked() {
        for nameless in [Value::Nil, host(""), host("?")] {
            let map = SlotMap::parse(
                &Value::Array(vec![range(0, 16_383, nameless, 7_000)]),
                "seed",
            )
            .unwrap();
            assert_eq!(map.masters, [("seed".to_owned(), 7_000)]);
        }
        assert_eq!(
            parse_address(":7001", "seed"),
            Some(("seed".to_owned(), 7_001))
        );
        assert_eq!(
            parse_address("[::1]:7001", "seed"),
            Some(("::1".to_owned(), 7_001))
        );
    }

    #[test]
    fn a_node_without_the_hostname_that_others_have_is_called_by_its_ip() {
        let mut reply = Value::Array(vec![range(0, 16_383, host("?"), 7_000)]);
        if let Value::Array(ranges) = &mut reply
            && let Value::Array(range) = &mut ranges[0]
            && let Value::Array(master) = &mut range[2]
        {
            master[3] = Value::Array(vec![host("ip"), host("10.0.0.7")]);
        }
        assert_eq!(
            SlotMap::parse(&reply, "seed").unwrap().masters,
            [("10.0.0.7".to_owned(), 7_000)]
        );
    }

    #[test]
    fn a_reply_without_slots_is_not_a_slot_map() {
        assert!(SlotMap::parse(&Value::Array(vec![]), "seed").is_none());
        assert!(SlotMap::parse(&Value::Nil, "seed").is_none());
    }
}
