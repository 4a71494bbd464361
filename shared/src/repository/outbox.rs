//! The outbox: events that wait for JetStream's ack, in one Redis stream a shard.

use std::{collections::BTreeMap, time::Duration};

use futures_util::{
    StreamExt as _, TryStreamExt as _,
    future::{ready, try_join},
    stream,
};
use redis::streams::StreamRangeReply;

use super::{OutboxEntry, Repository, SHARDS_AT_A_TIME, StoreError, keys::Shard};
use crate::trace::TraceContext;

impl Repository {
    /// The oldest events of a shard, at most `count` of them.
    pub(crate) async fn outbox(&self, shard: Shard, count: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        let mut xrange = redis::cmd("XRANGE");
        xrange.arg(self.keys.outbox(shard)).arg("-").arg("+").arg("COUNT").arg(count);
        let entries: StreamRangeReply = redis::from_redis_value(self.connection.query(&xrange).await?)?;
        Ok(entries
            .ids
            .into_iter()
            .map(|entry| {
                let text = |name: &str| entry.get::<String>(name).unwrap_or_default();
                OutboxEntry {
                    shard,
                    body: text("event").into_bytes(),
                    trace: TraceContext::from_outbox(text("traceparent"), text("tracestate")),
                    entry_id: entry.id,
                }
            })
            .collect())
    }

    /// Strikes events from the outbox: JetStream has them.
    pub(crate) async fn strike(&self, entries: &[&OutboxEntry]) -> Result<(), StoreError> {
        let mut shards = BTreeMap::<_, Vec<&str>>::new();
        for entry in entries {
            shards.entry(entry.shard).or_default().push(&entry.entry_id);
        }
        for (shard, ids) in shards {
            let mut xdel = redis::cmd("XDEL");
            xdel.arg(self.keys.outbox(shard)).arg(ids);
            self.connection.query(&xdel).await?;
        }
        Ok(())
    }

    /// Drops the events of a shard that are older than `retention`, and returns their number.
    pub(crate) async fn drop_older(&self, shard: Shard, retention: Duration) -> Result<u64, StoreError> {
        let oldest = self.time(shard).await?.saturating_sub(retention.as_millis() as u64);
        let mut xtrim = redis::cmd("XTRIM");
        xtrim.arg(self.keys.outbox(shard)).arg("MINID").arg(oldest);
        Ok(redis::from_redis_value(self.connection.query(&xtrim).await?)?)
    }

    /// The age of the oldest event that waits, in milliseconds; `None` where none does.
    pub(crate) async fn outbox_age(&self) -> Result<Option<u64>, StoreError> {
        let ages = stream::iter(self.keys.shards()).map(|shard| async move {
            let (oldest, now) = try_join(self.outbox(shard, 1), self.time(shard)).await?;
            Ok(oldest.first().and_then(OutboxEntry::made_at).map(|made_at| now.saturating_sub(made_at)))
        });
        ages.buffer_unordered(SHARDS_AT_A_TIME).try_fold(None, |oldest, age| ready(Ok(oldest.max(age)))).await
    }
}
