//! Probe of Redis for health checks.

use redis::Cmd;

use super::{Store, scripts};
use crate::redis::{Shard, StoreError};

/// How long the key that the probe writes lives, so that an unused Redis stays empty.
const PROBE_TTL_MS: u64 = 10_000;

impl Store {
    /// Makes a script write a key on each node that holds players. Calls write, so a node that can
    /// only be read is unhealthy. Returns one of the errors if it failed on some nodes.
    ///
    /// # Errors
    /// [`StoreError`] if it failed on all nodes.
    pub(crate) async fn probe(&self) -> Result<Option<StoreError>, StoreError> {
        let shards = self.redis.shard_of_each_node(self.keys.shards()).await?;
        let calls: Vec<_> = shards
            .into_iter()
            .map(|shard| (shard, self.probe_call(shard)))
            .collect();
        let mut failure = None;
        let mut is_up = false;
        for reply in self.redis.query_all(&calls).await {
            match reply {
                Ok(_) => is_up = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !is_up => Err(error),
            failure => Ok(failure),
        }
    }

    fn probe_call(&self, shard: Shard) -> Cmd {
        scripts::PROBE.call_by_source(|command| {
            command.arg(1).arg(self.keys.probe(shard)).arg(PROBE_TTL_MS);
        })
    }
}
