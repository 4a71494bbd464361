//! Presences that friends are shown: the client's `Watcher`, connected through the load balancer as
//! a gateway's is.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use presence_client::{Endpoint, PlayerId, WatchedPresence, Watcher};

use crate::ledger::{Account, Ledger};

/// A watcher of all players. Clones share it.
#[derive(Clone)]
pub(crate) struct Friends {
    watcher: Watcher,
    shown: Arc<Mutex<BTreeMap<String, WatchedPresence>>>,
    changes: Arc<AtomicUsize>,
    anomalies: Arc<AtomicUsize>,
}

impl Friends {
    /// Watches players from now on.
    pub(crate) fn watch(url: &str, players: impl Iterator<Item = String>) -> Self {
        let watcher = Watcher::start(Endpoint::parse(url).expect("a URL")).expect("a watcher");
        let players: Vec<_> = players
            .map(|player| PlayerId::parse(&player).expect("a player"))
            .collect();
        let friends = Self {
            watcher,
            shown: Arc::default(),
            changes: Arc::default(),
            anomalies: Arc::default(),
        };
        let mut subscription = friends.watcher.watch(&players);
        let following = friends.clone();
        tokio::spawn(async move {
            loop {
                following.show(subscription.recv().await);
            }
        });
        friends
    }

    fn show(&self, presence: WatchedPresence) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = shown.get(presence.player_id.as_str()) {
            self.changes.fetch_add(1, Ordering::Relaxed);
            // Redis loses nothing in the demo: each change has a higher version than the one
            // before.
            let is_newer = presence.version > before.version;
            self.anomalies
                .fetch_add(usize::from(!is_newer), Ordering::Relaxed);
        }
        shown.insert(presence.player_id.as_str().to_owned(), presence);
    }

    /// Players that are shown in a state or activity that differs from the ledger's.
    pub(crate) fn wrong(&self, ledger: &Ledger) -> Vec<String> {
        let shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let is_right = |player: &str, account: &Account| {
            shown
                .get(player)
                .is_some_and(|shown| agrees(shown, account))
        };
        let wrong = ledger
            .accounts()
            .filter(|(player, account)| !is_right(player, account));
        let describe = |(player, account): (&String, &Account)| match account.activity() {
            Some(activity) => format!("{player}, who is {} with {activity}", account.state()),
            None => format!("{player}, who is {}", account.state()),
        };
        wrong.map(describe).collect()
    }

    /// The number of changes that were shown.
    pub(crate) fn changes(&self) -> usize {
        self.changes.load(Ordering::Relaxed)
    }

    /// The number of changes that were shown twice or out of order.
    pub(crate) fn anomalies(&self) -> usize {
        self.anomalies.load(Ordering::Relaxed)
    }

    /// The number of streams that the watcher has opened.
    pub(crate) fn streams(&self) -> u64 {
        self.watcher.stats().streams
    }
}

fn agrees(shown: &WatchedPresence, account: &Account) -> bool {
    let activity = shown
        .activity
        .as_ref()
        .map(|activity| serde_json::to_value(activity).expect("JSON"));
    shown.state == account.state() && activity == account.activity()
}
