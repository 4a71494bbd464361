//! The independent ledger: the open sockets, and the states and transitions expected from them. It
//! never asks the service.

use std::collections::BTreeMap;

use presence_client::{State, operator::EventReason};
use serde_json::{Value, json};

/// The expected presences and transitions of all players.
#[derive(Default)]
pub(crate) struct Ledger(BTreeMap<String, Account>);

/// The expected presence and transitions of one player.
#[derive(Default)]
pub(crate) struct Account {
    /// The number of open sockets.
    pub(crate) sockets: u64,
    /// All transitions, oldest first.
    pub(crate) transitions: Vec<Transition>,
    /// The size of the party that the player plays in, which is the player's activity.
    party_size: Option<u16>,
}

/// A change of a player's state or activity, in the terms of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Transition {
    pub(crate) state: State,
    pub(crate) reason: EventReason,
}

impl Ledger {
    /// Records that a socket of the player was opened.
    pub(crate) fn opened(&mut self, player: &str) {
        let account = self.0.entry(player.to_owned()).or_default();
        account.sockets += 1;
        if account.state() == State::Offline {
            account.transitions.push(Transition {
                state: State::Online,
                reason: EventReason::Connect,
            });
        }
    }

    /// Records that a socket of the player was closed. If it was the last one, the player is
    /// OFFLINE for `reason`.
    pub(crate) fn closed(&mut self, player: &str, reason: EventReason) {
        let Some(account) = self.0.get_mut(player) else {
            return;
        };
        account.sockets -= 1;
        if account.sockets == 0 {
            account.transitions.push(Transition {
                state: State::Offline,
                reason,
            });
            account.party_size = None;
        }
    }

    /// Records that a socket was closed because its gateway restarts. The player reconnects through
    /// another gateway, and nothing changes.
    pub(crate) fn moved(&mut self, player: &str) {
        if let Some(account) = self.0.get_mut(player) {
            account.sockets -= 1;
        }
    }

    /// Records that the player, who is not OFFLINE, set a state.
    pub(crate) fn state_set(&mut self, player: &str, state: State) {
        let Some(account) = self.0.get_mut(player) else {
            return;
        };
        if account.state() != state {
            account.transitions.push(Transition {
                state,
                reason: EventReason::SetState,
            });
        }
    }

    /// Records that the player, who is not OFFLINE, set an activity with a party of this size.
    pub(crate) fn activity_set(&mut self, player: &str, party_size: u16) {
        let Some(account) = self.0.get_mut(player) else {
            return;
        };
        if account.party_size.replace(party_size) != Some(party_size) {
            account.transitions.push(Transition {
                state: account.state(),
                reason: EventReason::SetActivity,
            });
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

    /// The number of transitions of all players.
    pub(crate) fn transitions(&self) -> usize {
        self.0
            .values()
            .map(|account| account.transitions.len())
            .sum()
    }

    /// The number of transitions that match a predicate.
    pub(crate) fn count(&self, predicate: impl Fn(&Transition) -> bool) -> usize {
        self.0
            .values()
            .flat_map(|account| &account.transitions)
            .filter(|transition| predicate(transition))
            .count()
    }

    /// The number of sockets that are open.
    pub(crate) fn sockets(&self) -> u64 {
        self.0.values().map(|account| account.sockets).sum()
    }
}

/// The activity of a player in a party of this size.
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

    pub(crate) fn state(&self) -> State {
        self.transitions
            .last()
            .map_or(State::Offline, |transition| transition.state)
    }
}
