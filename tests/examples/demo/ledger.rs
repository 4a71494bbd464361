//! The independent account: which sockets are open, and what ought to follow from it. It asks nobody.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What ought to be known of all players.
#[derive(Default)]
pub(crate) struct Ledger(BTreeMap<String, Account>);

/// What ought to be known of one player.
#[derive(Default)]
pub(crate) struct Account {
    /// The number of open sockets.
    pub(crate) sockets: u64,
    /// All changes of the state, from the first one on.
    pub(crate) transitions: Vec<Transition>,
    /// The size of the party that the player plays in, which is the player's activity.
    party_size: Option<u16>,
}

/// A change of a player's state or activity, with an event's words for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) state: &'static str,
    pub(crate) reason: &'static str,
}

impl Ledger {
    /// A socket of the player's is open.
    pub(crate) fn opened(&mut self, player: &str) {
        let account = self.0.entry(player.to_owned()).or_default();
        account.sockets += 1;
        if account.state() == "OFFLINE" {
            account.transitions.push(Transition { state: "ONLINE", reason: "connect" });
        }
    }

    /// A socket of the player's is closed. If it was the last one, the player is OFFLINE for `reason`.
    pub(crate) fn closed(&mut self, player: &str, reason: &'static str) {
        let Some(account) = self.0.get_mut(player) else { return };
        account.sockets -= 1;
        if account.sockets == 0 {
            account.transitions.push(Transition { state: "OFFLINE", reason });
            account.party_size = None;
        }
    }

    /// A socket of the player's is closed because its gateway restarts: the player comes back through another one, and
    /// nothing changes.
    pub(crate) fn moves(&mut self, player: &str) {
        if let Some(account) = self.0.get_mut(player) {
            account.sockets -= 1;
        }
    }

    /// The player, who is not OFFLINE, said this.
    pub(crate) fn said(&mut self, player: &str, state: &'static str) {
        let Some(account) = self.0.get_mut(player) else { return };
        if account.state() != state {
            account.transitions.push(Transition { state, reason: "set_state" });
        }
    }

    /// The player, who is not OFFLINE, plays in a party of this size now.
    pub(crate) fn plays(&mut self, player: &str, party_size: u16) {
        let Some(account) = self.0.get_mut(player) else { return };
        if account.party_size.replace(party_size) != Some(party_size) {
            account.transitions.push(Transition { state: account.state(), reason: "set_activity" });
        }
    }

    pub(crate) fn players(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }

    pub(crate) fn accounts(&self) -> impl Iterator<Item = (&String, &Account)> {
        self.0.iter()
    }

    pub(crate) fn account(&self, player: &str) -> Option<&Account> {
        self.0.get(player)
    }

    /// The number of changes, of all players.
    pub(crate) fn transitions(&self) -> usize {
        self.0.values().map(|account| account.transitions.len()).sum()
    }

    /// The number of changes that are so.
    pub(crate) fn count(&self, is_so: impl Fn(&Transition) -> bool) -> usize {
        self.0.values().flat_map(|account| &account.transitions).filter(|transition| is_so(transition)).count()
    }

    /// The number of sockets open now.
    pub(crate) fn sockets(&self) -> u64 {
        self.0.values().map(|account| account.sockets).sum()
    }
}

/// What a player is doing in a party of this size.
pub(crate) fn activity(party_size: u16) -> Value {
    json!({
        "details": "Ranked",
        "party": {"id": "party", "size": party_size, "max": 4},
        "joinable": party_size < 4,
    })
}

impl Account {
    pub(crate) fn activity(&self) -> Option<Value> {
        self.party_size.map(activity)
    }

    pub(crate) fn state(&self) -> &'static str {
        self.transitions.last().map_or("OFFLINE", |transition| transition.state)
    }
}
