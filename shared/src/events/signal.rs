//! Signal from the calls of a process to its relay: new events wait.

use std::{
    collections::BTreeSet,
    mem,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use crate::{redis::Shard, store::OutboxEntry};

/// The shards whose outboxes have new events. Calls add shards and continue at once; the relay
/// waits for them.
#[derive(Debug, Clone, Default)]
pub struct RelaySignal(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    shards: Mutex<BTreeSet<Shard>>,
    notify: Notify,
}

impl RelaySignal {
    /// Notifies the relay of new events.
    pub(crate) fn notify(&self, events: &[OutboxEntry]) {
        if events.is_empty() {
            return;
        }
        if let Ok(mut shards) = self.0.shards.lock() {
            shards.extend(events.iter().map(|event| event.shard));
        }
        self.0.notify.notify_one();
    }

    /// Waits for new events, and returns their shards.
    pub(super) async fn notified(&self) -> BTreeSet<Shard> {
        loop {
            let shards = self
                .0
                .shards
                .lock()
                .map(|mut shards| mem::take(&mut *shards))
                .unwrap_or_default();
            if !shards.is_empty() {
                return shards;
            }
            self.0.notify.notified().await;
        }
    }
}
