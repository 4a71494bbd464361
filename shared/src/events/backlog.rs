//! The age of the oldest event that waits in the outbox, as this process saw it last.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::repository::{Partial, Waiting};

/// How long a look at the outbox is good for. A relay looks more often than that by itself.
const TTL: Duration = Duration::from_mins(1);

/// The age of the oldest event that waits in the outbox, as this process saw it last. Clones share it.
///
/// Looking at the whole outbox takes a command per partition of a cluster, too many for each health check.
#[derive(Debug, Clone, Default)]
pub struct Backlog(Arc<Mutex<Option<(Instant, Oldest)>>>);

/// What a look at the whole outbox found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Oldest {
    /// Not every node answered.
    Unknown,
    /// No event waits.
    None,
    /// The age of the oldest event that waits.
    Aged(Duration),
}

impl Oldest {
    /// The oldest of the events that wait in all shards.
    pub(crate) fn of(waiting: &Partial<Waiting>) -> Self {
        match waiting.failure {
            Some(_) => Self::Unknown,
            None => waiting.found.iter().map(Waiting::age).max().map_or(Self::None, Self::Aged),
        }
    }
}

impl Backlog {
    /// Whether a look so long ago is still good.
    pub(crate) fn is_fresh(age: Duration) -> bool {
        age < TTL
    }

    /// Keeps what a look at the whole outbox found.
    pub(crate) fn record(&self, oldest: Oldest) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((Instant::now(), oldest));
    }

    /// The time since the last look; `None` if it was too long ago.
    pub(crate) fn age(&self) -> Option<Duration> {
        let (seen_at, _) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(seen_at.elapsed()).filter(|elapsed| *elapsed < TTL)
    }

    /// What the last look found, as of now; `None` if it was too long ago.
    pub(crate) fn oldest(&self) -> Option<Oldest> {
        let (seen_at, oldest) = (*self.0.lock().unwrap_or_else(PoisonError::into_inner))?;
        let elapsed = seen_at.elapsed();
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
    async fn an_event_that_waits_grows_older_until_the_next_look() {
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
