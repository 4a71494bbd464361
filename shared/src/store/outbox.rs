//! The outbox: events that wait for JetStream's ack, in one Redis stream per shard.

use std::{collections::BTreeMap, time::Duration};

use redis::{Cmd, Value, streams::StreamRangeReply};

use super::{OutboxEntry, PartialResult, Store, sweep::is_wrong_type};
use crate::{
    redis::{Shard, StoreError},
    telemetry::TraceContext,
};

/// Events that wait in a shard's outbox.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OutboxBacklog {
    pub(crate) shard: Shard,
    /// When the oldest one was created, in Unix milliseconds.
    oldest: u64,
    /// When the outbox was read, by the clock of its node.
    now: u64,
}

impl OutboxBacklog {
    /// The age of the oldest event.
    pub(crate) fn age(&self) -> Duration {
        Duration::from_millis(self.now.saturating_sub(self.oldest))
    }
}

impl Store {
    /// Reads the shards in which events wait.
    ///
    /// An outbox key of another type is deleted: it would make all transitions of its players fail.
    pub(crate) async fn waiting_shards(&self) -> PartialResult<OutboxBacklog> {
        let heads: Vec<_> = self
            .keys
            .shards()
            .map(|shard| (shard, self.first_of_outbox(shard, 1)))
            .collect();
        let replies = self.redis.query_all_timed(&heads).await;
        let mut results = Vec::new();
        for ((shard, _), reply) in heads.iter().zip(replies) {
            results.push(match reply {
                Ok((head, now)) => entries(*shard, head).map(|entries| {
                    let oldest = entries.first().and_then(OutboxEntry::created_at);
                    oldest.map(|oldest| OutboxBacklog {
                        shard: *shard,
                        oldest,
                        now,
                    })
                }),
                Err(error) if is_wrong_type(&error) => {
                    let outbox = self.keys.outbox(*shard).to_string();
                    self.delete_wrong_type(*shard, outbox, &["XRANGE", "-", "+", "COUNT", "1"])
                        .await
                        .map(|()| None)
                }
                Err(error) => Err(error),
            });
        }
        PartialResult::collect(results.into_iter())
    }

    /// Reads the oldest events of a shard, at most `count` of them.
    pub(crate) async fn outbox(
        &self,
        shard: Shard,
        count: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        entries(
            shard,
            self.redis
                .query(shard, &self.first_of_outbox(shard, count))
                .await?,
        )
    }

    fn first_of_outbox(&self, shard: Shard, count: usize) -> Cmd {
        let mut xrange = redis::cmd("XRANGE");
        xrange
            .arg(self.keys.outbox(shard))
            .arg("-")
            .arg("+")
            .arg("COUNT")
            .arg(count);
        xrange
    }

    /// Removes events from the outbox that JetStream has acknowledged, or that are dropped.
    pub(crate) async fn remove_done(&self, entries: &[&OutboxEntry]) -> Result<(), StoreError> {
        let mut shards = BTreeMap::<_, Vec<&str>>::new();
        for entry in entries {
            shards.entry(entry.shard).or_default().push(&entry.entry_id);
        }
        let build_xdel = |(shard, ids)| {
            (
                shard,
                redis::cmd("XDEL")
                    .arg(self.keys.outbox(shard))
                    .arg(ids)
                    .to_owned(),
            )
        };
        let commands: Vec<_> = shards.into_iter().map(build_xdel).collect();
        self.redis
            .query_all(&commands)
            .await
            .into_iter()
            .try_for_each(|reply| reply.map(drop))
    }

    /// Drops the waiting events that are older than `retention`, and returns their number.
    pub(crate) async fn drop_older(
        &self,
        waiting: OutboxBacklog,
        retention: Duration,
    ) -> Result<u64, StoreError> {
        let oldest = waiting.now.saturating_sub(retention.as_millis() as u64);
        let mut xtrim = redis::cmd("XTRIM");
        xtrim
            .arg(self.keys.outbox(waiting.shard))
            .arg("MINID")
            .arg(oldest);
        Ok(redis::from_redis_value(
            self.redis.query(waiting.shard, &xtrim).await?,
        )?)
    }
}

pub(super) fn entries(shard: Shard, value: Value) -> Result<Vec<OutboxEntry>, StoreError> {
    let reply: StreamRangeReply = redis::from_redis_value(value)?;
    let entries = reply.ids.into_iter().map(|entry| {
        // Missing or malformed fields become empty: the publisher rejects such an event.
        let read_field = |name: &str| entry.get::<String>(name).unwrap_or_default();
        OutboxEntry {
            shard,
            body: entry.get("event").unwrap_or_default(),
            trace: TraceContext::from_stored(&read_field("traceparent"), &read_field("tracestate")),
            entry_id: entry.id,
        }
    });
    Ok(entries.collect())
}
