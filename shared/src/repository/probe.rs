//! Whether Redis can do what presence needs.

use redis::Cmd;

use super::{Repository, Shard, StoreError, scripts};

/// How long the key that the probe writes lives: an unused Redis holds nothing of it.
const PROBE_TTL_MS: u64 = 10_000;

impl Repository {
    /// Has a script write a key on every node that holds players, and returns why it failed on some of them: calls write, so a node that can
    /// only be read is not healthy.
    ///
    /// # Errors
    /// [`StoreError`] where it failed on all.
    pub(crate) async fn probe(&self) -> Result<Option<StoreError>, StoreError> {
        let shards = self.connection.shard_of_each_node(self.keys.shards()).await?;
        let calls: Vec<_> = shards.into_iter().map(|shard| (shard, self.probe_call(shard))).collect();
        let mut failure = None;
        let mut is_up = false;
        for answer in self.connection.query_all(&calls).await {
            match answer {
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
