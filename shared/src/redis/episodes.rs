//! Log of Redis failures: one line when a kind of failure begins at a node, one when it ends, and
//! none per call.

use std::{
    collections::BTreeMap,
    sync::{
        LazyLock, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{StoreError, StoreFailure};

/// The time without a failure of this kind after which an episode is over, once the node responds.
const QUIET_TIME: Duration = Duration::from_secs(5);

/// The episodes of the whole process: each thread has connections of its own, and all of them fail
/// together.
static EPISODES: LazyLock<Episodes> = LazyLock::new(Episodes::default);

/// Ongoing failures.
#[derive(Default)]
struct Episodes {
    open: Mutex<BTreeMap<Key, Episode>>,
    /// The number of `open` episodes, readable without the lock.
    count: AtomicUsize,
}

/// The name of a node, or an empty one for failures that concern no single node, and the kind of
/// failure.
type Key = (String, StoreFailure);

#[derive(Debug)]
struct Episode {
    began: Instant,
    last: Instant,
    failures: u64,
}

/// Records a failure of a node, and logs the first one of an episode with its causes.
pub(crate) fn failed(node: &str, error: &StoreError) {
    let failure = error.failure();
    if EPISODES.begin(node, failure, Instant::now()) {
        let kind = failure.as_str();
        let causes = error.causes();
        tracing::error!(node, kind, %error, causes, "Redis cannot be used; further failures of this kind are counted");
    }
}

/// Records the failure of a call, unless it was recorded as a failure of its node already.
pub(crate) fn call_failed(error: &StoreError) {
    use StoreError::{Overloaded, Partitions, Type, Unexpected};
    if let Unexpected(_) | Type(_) | Overloaded { .. } | Partitions { .. } = error {
        failed("", error);
    }
}

/// Logs the failure of a pass of a background task. A wrong number of partitions stays wrong until
/// an operator acts: one line per episode, not one per pass.
pub(crate) fn pass_failed(error: &StoreError, message: &str) {
    match error {
        StoreError::Partitions { .. } => failed("", error),
        _ => tracing::error!(error = error as &dyn std::error::Error, "{message}"),
    }
}

/// Records that a node responded, and logs the failures that are over.
pub(crate) fn replied(node: &str) {
    if EPISODES.count.load(Ordering::Relaxed) == 0 {
        return;
    }
    for (
        (node, failure),
        Episode {
            began, failures, ..
        },
    ) in EPISODES.end(node, Instant::now())
    {
        let kind = failure.as_str();
        let lasted = began.elapsed();
        tracing::info!(node, kind, failures, ?lasted, "Redis can be used again");
    }
}

impl Episodes {
    /// Counts a failure at `now`. Returns whether it is the first one of an episode.
    fn begin(&self, node: &str, failure: StoreFailure, now: Instant) -> bool {
        let mut open = self.open();
        let mut is_first = false;
        let episode = open.entry((node.to_owned(), failure)).or_insert_with(|| {
            is_first = true;
            Episode {
                began: now,
                last: now,
                failures: 0,
            }
        });
        episode.last = now;
        episode.failures += 1;
        self.count.store(open.len(), Ordering::Relaxed);
        is_first
    }

    /// Removes and returns the episodes that are over at `now`, as `node` responded.
    fn end(&self, node: &str, now: Instant) -> Vec<(Key, Episode)> {
        let mut open = self.open();
        let is_over = |(failing, _): &Key, episode: &mut Episode| {
            (failing == node || failing.is_empty())
                && now.duration_since(episode.last) >= QUIET_TIME
        };
        let over = open
            .extract_if(.., |key, episode| is_over(key, episode))
            .collect();
        self.count.store(open.len(), Ordering::Relaxed);
        over
    }

    fn open(&self) -> MutexGuard<'_, BTreeMap<Key, Episode>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: StoreFailure = StoreFailure::TimedOut;

    #[test]
    fn an_episode_begins_once_and_ends_once() {
        let episodes = Episodes::default();
        let start = Instant::now();
        assert!(episodes.begin("node", KIND, start));
        assert!(!episodes.begin("node", KIND, start + QUIET_TIME));
        assert!(
            episodes
                .end("node", start + QUIET_TIME + Duration::from_secs(1))
                .is_empty(),
            "it failed a moment ago"
        );
        let over = episodes.end("node", start + 2 * QUIET_TIME);
        assert_eq!(
            over.iter()
                .map(|(key, episode)| (&*key.0, key.1, episode.failures))
                .collect::<Vec<_>>(),
            [("node", KIND, 2)]
        );
        assert!(episodes.end("node", start + 3 * QUIET_TIME).is_empty());
        assert!(
            episodes.begin("node", KIND, start + 3 * QUIET_TIME),
            "a new one"
        );
    }

    #[test]
    fn nodes_and_kinds_have_episodes_of_their_own() {
        let episodes = Episodes::default();
        let start = Instant::now();
        for (node, kind) in [("a", KIND), ("b", KIND), ("a", StoreFailure::OutOfMemory)] {
            assert!(episodes.begin(node, kind, start));
        }
        assert_eq!(episodes.end("a", start + QUIET_TIME).len(), 2);
        assert_eq!(episodes.end("b", start + QUIET_TIME).len(), 1);
    }
}
