//! Guard of the number of partitions: it is stored in the cluster at first use, and compared with
//! the configuration later.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{Cmd, Value};
use tokio::time::Instant;

use super::{
    StoreError,
    cluster::Cluster,
    node::Clock,
    policy::{PartitionCount, Policy},
    shard::Shard,
    value,
};

/// How long the last read of the number is valid. A flush removes it, and a program with another
/// number may then store its own. This is shorter than the quiet time of the log's episodes, as
/// each thread of a server reads the number by itself.
const VALIDITY: Duration = Duration::from_secs(3);

/// The time between two reads of a number that is wrong or could not be read.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Compares the stored number of partitions with the configured one. Clones share the result.
#[derive(Clone)]
pub(super) struct LayoutGuard(Arc<Inner>);

struct Inner {
    cluster: Cluster,
    key: String,
    configured: u16,
    known: Mutex<Known>,
    /// Locked during a read: calls that arrive meanwhile wait for its outcome.
    looking: tokio::sync::Mutex<()>,
}

/// The result of the last read.
#[derive(Debug, Clone, Copy)]
struct Known {
    looked_at: Option<Instant>,
    stored: StoredCount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StoredCount {
    /// No number is stored.
    Unused,
    /// The configured number is stored.
    Confirmed,
    /// Another number is stored.
    Other(u16),
    /// The node did not respond. Calls pass: players of other nodes must not wait for it.
    Unread,
}

/// The time of the next read, relative to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Look {
    /// Before the call.
    First,
    /// In parallel to the call.
    Concurrently,
    /// Not with this call.
    NotYet,
}

impl LayoutGuard {
    /// Creates a guard of the data in `cluster`, whose number of partitions is stored under `key`.
    /// Nothing is sent before the first call.
    pub(super) fn new(cluster: Cluster, key: String, configured: u16) -> Self {
        Self(Arc::new(Inner {
            cluster,
            key,
            configured,
            known: Mutex::new(Known {
                looked_at: None,
                stored: StoredCount::Unused,
            }),
            looking: tokio::sync::Mutex::default(),
        }))
    }

    /// Lets a call pass unless the data is spread over another number of partitions. In an unused
    /// cluster, a call that writes stores the number.
    ///
    /// # Errors
    /// [`StoreError::Partitions`].
    pub(super) async fn pass(&self, partition_count: PartitionCount) -> Result<(), StoreError> {
        let known = *self.known();
        match known.next_look(partition_count) {
            Look::NotYet => {}
            Look::First => Box::pin(self.look_once(partition_count)).await,
            Look::Concurrently => {
                let guard = self.clone();
                tokio::spawn(async move { guard.look_once(partition_count).await });
            }
        }
        match self.known().stored {
            StoredCount::Other(stored) => Err(StoreError::Partitions {
                stored,
                configured: self.0.configured,
            }),
            StoredCount::Unused | StoredCount::Confirmed | StoredCount::Unread => Ok(()),
        }
    }

    /// Reads the stored number, unless another call has just done so.
    async fn look_once(&self, partition_count: PartitionCount) {
        let _turn = self.0.looking.lock().await;
        let known = *self.known();
        if known.next_look(partition_count) == Look::NotYet {
            return;
        }
        let stored = match self.stored(partition_count).await {
            Ok(None) => StoredCount::Unused,
            Ok(Some(count)) if count == self.0.configured => StoredCount::Confirmed,
            Ok(Some(count)) => StoredCount::Other(count),
            // If it cannot be read, the last known number still holds.
            Err(_) if known.stored == StoredCount::Unused => StoredCount::Unread,
            Err(_) => known.stored,
        };
        *self.known() = Known {
            looked_at: Some(Instant::now()),
            stored,
        };
    }

    async fn stored(&self, partition_count: PartitionCount) -> Result<Option<u16>, StoreError> {
        let key = &self.0.key;
        let set = redis::cmd("SET")
            .arg(key)
            .arg(self.0.configured)
            .arg("NX")
            .to_owned();
        let get = redis::cmd("GET").arg(key).to_owned();
        let commands: &[(Shard, Cmd)] = match partition_count {
            PartitionCount::Check => &[(Shard::FIRST, get)],
            PartitionCount::Store => &[(Shard::FIRST, set), (Shard::FIRST, get)],
        };
        let replies = self
            .0
            .cluster
            .query_all(Clock::Unread, Policy::UPKEEP, commands)
            .await;
        // The write may fail because Redis is full; the read still works.
        let (value, _) = replies
            .into_iter()
            .last()
            .unwrap_or(Err(StoreError::Unexpected("no reply")))?;
        parse(&value)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn next_look(self, partition_count: PartitionCount) -> Look {
        let Some(looked_at) = self.looked_at else {
            return Look::First;
        };
        let age = looked_at.elapsed();
        match self.stored {
            StoredCount::Unused
                if partition_count == PartitionCount::Store || age >= RETRY_INTERVAL =>
            {
                Look::First
            }
            StoredCount::Other(_) if age >= RETRY_INTERVAL => Look::First,
            StoredCount::Unread if age >= RETRY_INTERVAL => Look::Concurrently,
            StoredCount::Confirmed if age >= VALIDITY => Look::Concurrently,
            _ => Look::NotYet,
        }
    }
}

/// Parses the stored number. `None` if the key is missing.
fn parse(value: &Value) -> Result<Option<u16>, StoreError> {
    let Some(text) = value::text(value)? else {
        return Ok(None);
    };
    let number = str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number
        .map(Some)
        .ok_or(StoreError::Unexpected("malformed number of partitions"))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    fn known(stored: StoredCount) -> Known {
        Known {
            looked_at: Some(Instant::now()),
            stored,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_write_waits_for_a_look_and_later_calls_for_none() {
        let first = Known {
            looked_at: None,
            stored: StoredCount::Unused,
        };
        assert_eq!(first.next_look(PartitionCount::Check), Look::First);
        assert_eq!(
            known(StoredCount::Unused).next_look(PartitionCount::Store),
            Look::First
        );
        assert_eq!(
            known(StoredCount::Confirmed).next_look(PartitionCount::Store),
            Look::NotYet
        );
        let confirmed = known(StoredCount::Confirmed);
        advance(VALIDITY).await;
        assert_eq!(
            confirmed.next_look(PartitionCount::Store),
            Look::Concurrently
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_that_does_not_respond_holds_up_one_call() {
        let unread = known(StoredCount::Unread);
        assert_eq!(unread.next_look(PartitionCount::Store), Look::NotYet);
        advance(RETRY_INTERVAL).await;
        assert_eq!(unread.next_look(PartitionCount::Store), Look::Concurrently);
    }

    #[test]
    fn the_stored_number_is_digits() {
        assert_eq!(parse(&Value::Nil).unwrap(), None);
        assert_eq!(
            parse(&Value::BulkString(b"256".to_vec())).unwrap(),
            Some(256)
        );
        assert!(parse(&Value::BulkString(b"many".to_vec())).is_err());
    }
}
