//! Cached age of the oldest event in the outbox.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::store::{OutboxBacklog, PartialResult};

/// How long an observed age is valid. A relay records one more often than that.
const TTL: Duration = Duration::from_mins(1);

/// The age of the oldest event that waits in the outbox, as this process last observed it. Clones
/// share it.
///
/// Reading the whole outbox takes one command per partition of a cluster, too many for each health
/// check.
#[derive(Debug, Clone, Default)]
pub struct Backlog(Arc<Mutex<Option<(Instant, Oldest)>>>);

/// The oldest event of the whole outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oldest {
    /// The age is unknown: not every node responded.
    Unknown,
    /// No event waits.
    None,
    /// The age of the oldest event that waits.
    Aged(Duration),
}

impl Oldest {
    /// The oldest of the events that wait in all shards.
    pub(crate) fn of(waiting: &PartialResult<OutboxBacklog>) -> Self {
        match waiting.error {
            Some(_) => Self::Unknown,
            None => waiting
                .values
                .iter()
                .map(OutboxBacklog::age)
                .max()
                .map_or(Self::None, Self::Aged),
        }
    }
}

impl Backlog {
    /// Whether an observation of this age is still valid.
    pub(crate) fn is_fresh(age: Duration) -> bool {
        age < TTL
    }

    /// Stores what was observed in the whole outbox.
    pub(crate) fn record(&self, oldest: Oldest) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), oldest));
    }

    /// The time since the last observation. `None` if that is no longer valid.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (seen_at, _) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(seen_at.elapsed()).filter(|elapsed| *elapsed < TTL)
    }

    /// The last observation, its age counted up to now. `None` if it is no longer valid.
    pub(crate) fn oldest(&self) -> Option<Oldest> {
        let (seen_at, oldest) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let elapsed = seen_at.elapsed();
        // The event has waited on since it was observed.
        (elapsed < TTL).then_some(match oldest {
            Oldest::Aged(age) => Oldest::Aged(age + elapsed),
            oldest => oldest,
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_event_that_waits_grows_older_until_the_next_observation() {
        let backlog = Backlog::default();
        assert_eq!(backlog.oldest(), None);
        backlog.record(Oldest::Aged(Duration::from_secs(5)));
        advance(Duration::from_secs(3)).await;
        assert_eq!(backlog.oldest(), Some(Oldest::Aged(Duration::from_secs(8))));
        backlog.record(Oldest::None);
        advance(Duration::from_secs(3)).await;
        assert_eq!(backlog.oldest(), Some(Oldest::None));
        advance(TTL).await;
        assert_eq!(backlog.oldest(), None);
    }
}
