//! The players of a load: ids, and expected states.

use std::fmt::Display;

use presence_client::{ConnectionId, GatewayId, InvalidId, PlayerId, State};

use super::plan::Plan;

/// All players, by number. The first ones are those that leave and come back.
#[derive(Debug)]
pub(super) struct Roster {
    /// The prefix of all ids of this load.
    prefix: String,
    churners: u32,
    players: Vec<Player>,
}

#[derive(Debug, Clone, Copy)]
struct Player {
    /// The state that was last reported to the player's gateway.
    state: State,
    /// The number of connections so far.
    connections: u32,
}

impl Roster {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            prefix: format!("load-{:016x}-", fastrand::u64(..)),
            churners: plan.churners,
            players: vec![
                Player {
                    state: State::Offline,
                    connections: 0
                };
                plan.players as usize
            ],
        }
    }

    /// The prefix of all ids of this load, which no other player has.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.players.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn id(&self, number: u32) -> PlayerId {
        parsed(PlayerId::parse, &self.prefix, number)
    }

    /// The id of the player's newest connection.
    pub(super) fn connection(&self, number: u32) -> ConnectionId {
        let connections = self.players[number as usize].connections;
        parsed(
            ConnectionId::parse,
            &self.prefix,
            format_args!("{number}.{connections}"),
        )
    }

    pub(super) fn gateway(&self, number: u32) -> GatewayId {
        parsed(
            GatewayId::parse,
            &self.prefix,
            format_args!("gateway-{number}"),
        )
    }

    /// The number of the player with this id.
    pub(super) fn number(prefix: &str, id: &PlayerId) -> Option<u32> {
        id.as_str().strip_prefix(prefix)?.parse().ok()
    }

    pub(super) fn state(&self, number: u32) -> State {
        self.players[number as usize].state
    }

    /// Opens a new connection of the player. Returns its id.
    pub(super) fn connect(&mut self, number: u32) -> ConnectionId {
        let player = &mut self.players[number as usize];
        player.state = State::Online;
        player.connections += 1;
        self.connection(number)
    }

    /// Closes the connection of the player. Returns its id.
    pub(super) fn disconnect(&mut self, number: u32) -> ConnectionId {
        self.players[number as usize].state = State::Offline;
        self.connection(number)
    }

    /// Sets the player's next state: ONLINE, IN_QUEUE, IN_MATCH, AWAY, and ONLINE again.
    pub(super) fn change(&mut self, number: u32) -> State {
        let state = &mut self.players[number as usize].state;
        *state = match *state {
            State::Online => State::InQueue,
            State::InQueue => State::InMatch,
            State::InMatch => State::Away,
            State::Away | State::Offline => State::Online,
        };
        *state
    }

    /// A random player who stays connected all the time.
    pub(super) fn any_stable(&self) -> u32 {
        fastrand::u32(self.churners..self.len())
    }

    /// Whether the player stays connected all the time.
    pub(super) fn is_stable(churners: u32, number: u32) -> bool {
        number >= churners
    }

    /// Random players, as a list of friends.
    pub(super) fn any(&self, count: u32) -> Vec<PlayerId> {
        (0..count)
            .map(|_| self.id(fastrand::u32(0..self.len())))
            .collect()
    }
}

/// An id with the prefix. All kinds of ids may have these characters.
fn parsed<T>(parse: impl Fn(&str) -> Result<T, InvalidId>, prefix: &str, rest: impl Display) -> T {
    parse(&format!("{prefix}{rest}"))
        .expect("the id is short and of letters, digits, dots and hyphens")
}

#[cfg(test)]
mod tests {
    use super::{super::plan::tests::args, *};

    #[test]
    fn two_loads_have_different_ids() {
        let plan = Plan::new(&args(10));
        let mut one = Roster::new(&plan);
        let other = Roster::new(&plan);
        let id = one.id(7);
        assert!(
            id.as_str().starts_with("load-") && id.as_str().ends_with("-7"),
            "{id}"
        );
        assert_eq!(Roster::number(one.prefix(), &id), Some(7));
        assert_eq!(Roster::number(other.prefix(), &id), None);
        assert!(one.gateway(999).as_str().len() <= 64);
        assert_ne!(
            one.connect(7),
            one.connect(7),
            "a connection id is never used again"
        );
    }

    #[test]
    fn each_change_is_to_another_state_except_offline() {
        let mut roster = Roster::new(&Plan::new(&args(1)));
        roster.connect(0);
        for _ in 0..9 {
            let before = roster.state(0);
            let after = roster.change(0);
            assert!(after != before && after != State::Offline);
        }
    }
}
