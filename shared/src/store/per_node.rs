//! Work on many shards, grouped by node, so that a node that does not respond delays its own shards
//! only.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::{StreamExt as _, future::ready, stream};

use super::Store;
use crate::redis::{Shard, StoreError, StoreFailure};

/// The number of concurrent shards per node: enough to hide the round trip, few enough not to crowd
/// out the calls of players.
const SHARDS_AT_A_TIME: usize = 32;

impl Store {
    /// All shards, grouped by the node that holds them, as far as that is known.
    pub(crate) async fn shards_by_node(&self) -> Vec<Vec<Shard>> {
        self.by_node(self.keys.shards(), |shard| *shard).await
    }

    /// Groups items by the node that holds their shard.
    pub(crate) async fn by_node<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        to_shard: impl Fn(&T) -> Shard,
    ) -> Vec<Vec<T>> {
        self.redis
            .group_by_node(items.into_iter().collect(), to_shard)
            .await
    }
}

/// Works on shards of one node, some at a time. If the node does not respond, the rest is skipped:
/// it would fail as well, and only after a timeout each.
pub(crate) async fn while_node_replies<T, R, W>(
    items: Vec<T>,
    work: impl Fn(T) -> W,
) -> Vec<(R, Option<StoreError>)>
where
    W: Future<Output = (R, Option<StoreError>)>,
{
    let has_failed = &AtomicBool::new(false);
    let work = &work;
    let attempts = stream::iter(items).map(|item| async move {
        if has_failed.load(Relaxed) {
            return None;
        }
        let (result, failure) = work(item).await;
        if failure
            .as_ref()
            .is_some_and(|error| is_of_node(error.failure()))
        {
            has_failed.store(true, Relaxed);
        }
        Some((result, failure))
    });
    attempts
        .buffer_unordered(SHARDS_AT_A_TIME)
        .filter_map(ready)
        .collect()
        .await
}

/// Whether a failure concerns the whole node, and not the data of one shard.
fn is_of_node(failure: StoreFailure) -> bool {
    use StoreFailure::{Loading, NotPrimary, Overloaded, TimedOut, Unreachable};
    matches!(
        failure,
        TimedOut | Unreachable | NotPrimary | Loading | Overloaded
    )
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_node_that_times_out_is_not_asked_again_for_each_shard() {
        let asked = &Cell::new(0);
        let timeout = Duration::from_millis(500);
        let begin = tokio::time::Instant::now();
        let results = while_node_replies((0..1_000).collect(), |_: u32| async move {
            asked.set(asked.get() + 1);
            tokio::time::sleep(timeout).await;
            ((), Some(StoreError::Timeout(timeout)))
        })
        .await;
        assert_eq!(
            (asked.get(), results.len()),
            (SHARDS_AT_A_TIME, SHARDS_AT_A_TIME)
        );
        assert_eq!(begin.elapsed(), timeout, "on tokio's clock");
    }

    #[tokio::test]
    async fn a_shard_with_broken_data_does_not_stop_the_others() {
        let results = while_node_replies((0..100).collect(), |shard: u32| async move {
            (
                shard,
                (shard == 0).then_some(StoreError::Unexpected("a key of another type")),
            )
        })
        .await;
        assert_eq!(results.len(), 100);
        assert_eq!(
            results
                .iter()
                .filter(|(_, failure)| failure.is_some())
                .count(),
            1
        );
    }
}
