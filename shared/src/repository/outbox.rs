//! The outbox: events that wait for JetStream's ack, in one Redis stream a shard.

use std::{collections::BTreeMap, time::Duration};

use redis::{Cmd, Value, streams::StreamRangeReply};

use super::{OutboxEntry, Partial, Repository, StoreError, keys::Shard};
use crate::trace::TraceContext;

impl Repository {
    /// The shards where events wait, each with the age of the oldest one in milliseconds.
    pub(crate) async fn waiting_shards(&self) -> Result<Partial<(Shard, u64)>, StoreError> {
        let now = self.time(Shard::FIRST).await?;
        let heads = self.connection.query_each(self.keys.shards(), |shard| self.first_of_outbox(shard, 1)).await;
        Ok(Partial::collect(heads.into_iter().map(|(shard, head)| {
            let oldest = entries(shard, head?)?.into_iter().next();
            Ok(oldest.and_then(|oldest| Some((shard, now.saturating_sub(oldest.made_at()?)))))
        })))
    }

    /// The oldest events of a shard, at most `count` of them.
    pub(crate) async fn outbox(&self, shard: Shard, count: usize) -> Result<Vec<OutboxEntry>, StoreError> {
        entries(shard, self.connection.query(&self.first_of_outbox(shard, count)).await?)
    }

    fn first_of_outbox(&self, shard: Shard, count: usize) -> Cmd {
        let mut xrange = redis::cmd("XRANGE");
        xrange.arg(self.keys.outbox(shard)).arg("-").arg("+").arg("COUNT").arg(count);
        xrange
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
}

fn entries(shard: Shard, answer: Value) -> Result<Vec<OutboxEntry>, StoreError> {
    let answer: StreamRangeReply = redis::from_redis_value(answer)?;
    let entries = answer.ids.into_iter().map(|entry| {
        let text = |name: &str| entry.get::<String>(name).unwrap_or_default();
        OutboxEntry {
            shard,
            body: text("event").into_bytes(),
            trace: TraceContext::from_outbox(text("traceparent"), text("tracestate")),
            entry_id: entry.id,
        }
    });
    Ok(entries.collect())
}
