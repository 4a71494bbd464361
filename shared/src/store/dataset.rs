//! Identity of the data set in Redis. It changes when data is lost or replaced, which emits no
//! events.

use std::collections::{BTreeMap, BTreeSet};

use redis::Value;

use super::Store;
use crate::redis::{Shard, StoreError, value};

/// The mark of each node, in one of its shards. `None` if it is missing.
type Marks = BTreeMap<Shard, Option<Vec<u8>>>;

/// The identity of a data set. A flush removes the marks; a failover or restart changes the
/// replication ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dataset {
    marks: Marks,
    /// The replication id of each master. Empty if a server does not report it.
    replication_ids: BTreeSet<String>,
}

impl Dataset {
    /// Whether data may have been lost between this observation and a later one.
    pub(crate) fn is_replaced_by(&self, later: &Self) -> bool {
        let ids = [&self.replication_ids, &later.replication_ids];
        self.marks != later.marks || (ids.iter().all(|ids| !ids.is_empty()) && ids[0] != ids[1])
    }
}

impl Store {
    /// Reads the identity of the data set, and the clock of a node (Unix milliseconds). Writes
    /// missing marks.
    ///
    /// # Errors
    /// [`StoreError`] if a node did not respond.
    pub(crate) async fn dataset(&self) -> Result<(Dataset, u64), StoreError> {
        let (read, replication_ids) = tokio::join!(self.marks(), self.replication_ids());
        let (marks, now) = read?;
        Ok((
            Dataset {
                marks,
                replication_ids,
            },
            now,
        ))
    }

    async fn marks(&self) -> Result<(Marks, u64), StoreError> {
        let mark = format!("{:016x}", rand::random::<u64>());
        let shards = self.redis.shard_of_each_node(self.keys.shards()).await?;
        let commands: Vec<_> = shards
            .iter()
            .flat_map(|shard| {
                let key = self.keys.dataset(*shard);
                let set = redis::cmd("SET").arg(key).arg(&mark).arg("NX").to_owned();
                [
                    (*shard, set),
                    (*shard, redis::cmd("GET").arg(key).to_owned()),
                ]
            })
            .collect();
        let replies = self.redis.query_all_timed(&commands).await;
        let mut now = 0;
        let mut marks = Marks::new();
        // The write may fail because Redis is full. Only the read counts.
        for (shard, reply) in shards
            .into_iter()
            .zip(replies.into_iter().skip(1).step_by(2))
        {
            let (mark, time) = reply?;
            now = time;
            marks.insert(shard, value::text(&mark)?.map(<[u8]>::to_vec));
        }
        Ok((marks, now))
    }

    /// Reads the replication ids. Empty if the Redis user may not call `INFO`.
    async fn replication_ids(&self) -> BTreeSet<String> {
        let command = redis::cmd("INFO").arg("replication").to_owned();
        let replies = self.redis.query_nodes(&command).await;
        let ids: Option<_> = replies
            .into_iter()
            .map(|reply| replication_id(&reply.ok()?))
            .collect();
        ids.unwrap_or_default()
    }
}

/// The id in a reply of `INFO replication`.
fn replication_id(reply: &Value) -> Option<String> {
    let text = match reply {
        Value::BulkString(bytes) => str::from_utf8(bytes).ok()?,
        Value::VerbatimString { text, .. } => text,
        _ => return None,
    };
    text.lines()
        .find_map(|line| line.strip_prefix("master_replid:"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(mark: &str, id: &str) -> Dataset {
        let ids = [id].into_iter().filter(|id| !id.is_empty());
        let marks = Marks::from([(Shard::FIRST, Some(mark.into()))]);
        Dataset {
            marks,
            replication_ids: ids.map(str::to_owned).collect(),
        }
    }

    #[test]
    fn another_mark_or_another_replication_id_is_another_data_set() {
        let before = dataset("m1", "r1");
        assert!(!before.is_replaced_by(&dataset("m1", "r1")));
        assert!(before.is_replaced_by(&dataset("m2", "r1")), "a flush");
        assert!(before.is_replaced_by(&dataset("m1", "r2")), "a failover");
        assert!(
            !before.is_replaced_by(&dataset("m1", "")),
            "a user that may not ask"
        );
        assert!(
            before.is_replaced_by(&Dataset {
                marks: Marks::from([(Shard::FIRST, None)]),
                ..before.clone()
            }),
            "a full Redis"
        );
    }

    #[test]
    fn the_replication_id_is_one_line_of_many() {
        let text = b"# Replication\r\nrole:master\r\nmaster_replid:c9a2\r\nmaster_replid2:0000\r\n"
            .to_vec();
        assert_eq!(
            replication_id(&Value::BulkString(text)).as_deref(),
            Some("c9a2")
        );
        assert_eq!(replication_id(&Value::Nil), None);
    }
}
