//! The hub under random interleavings of transitions, events, reads, requests and data losses.

#[cfg(target_os = "linux")]
mod memory;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::model::State::{self, InMatch, Offline, Online};

const PLAYERS: usize = 4;
const STREAMS: usize = 3;

fn player(number: usize) -> PlayerId {
    PlayerId::parse(&format!("p{number}")).unwrap()
}

/// A player in Redis. A record that has expired still has its version.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Stored {
    version: u64,
    state: Option<State>,
    has_expired: bool,
}

impl Stored {
    fn fact(self) -> Fact {
        let state = self.state.filter(|_| !self.has_expired).unwrap_or(Offline);
        let version = (self.version != 0).then_some(self.version);
        Fact {
            state,
            last_seen: version,
            version,
            activity: None,
        }
    }
}

/// A read on its way: when it was sent, and what it found once Redis has executed it.
#[derive(Debug)]
struct Read {
    players: Vec<usize>,
    sent: Tick,
    found: Option<(Vec<Fact>, u64)>,
    /// The stream that waits for the snapshot, and the versions that it already holds.
    watch: Option<(usize, BTreeMap<usize, u64>)>,
}

/// What a caller has received on a stream.
#[derive(Debug, Default)]
struct Caller {
    stream: Option<StreamIndex>,
    held: BTreeMap<usize, Fact>,
    /// The highest version that the stream has shown of each player.
    highest: BTreeMap<usize, u64>,
    watched: Vec<usize>,
    is_waiting: bool,
}

#[derive(Debug, Clone)]
enum Step {
    Transition {
        player: usize,
        state: State,
    },
    Expire {
        player: usize,
    },
    Sweep {
        player: usize,
    },
    Flush,
    RollBack {
        player: usize,
    },
    Event,
    LoseEvents,
    Poll,
    Doubts,
    Execute {
        read: usize,
    },
    Reply {
        read: usize,
    },
    Watch {
        stream: usize,
        players: Vec<usize>,
        with_known: bool,
    },
    Unwatch {
        stream: usize,
        players: Vec<usize>,
    },
    Send {
        stream: usize,
    },
    Close {
        stream: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let player = 0..PLAYERS;
    let any_players = || proptest::collection::vec(0..PLAYERS, 1..4);
    let any_stream = || 0..STREAMS;
    let state = prop_oneof![Just(Online), Just(InMatch), Just(Offline)];
    prop_oneof![
        6 => (player.clone(), state).prop_map(|(player, state)| Step::Transition { player, state }),
        1 => player.clone().prop_map(|player| Step::Expire { player }),
        1 => player.clone().prop_map(|player| Step::Sweep { player }),
        1 => Just(Step::Flush),
        1 => player.prop_map(|player| Step::RollBack { player }),
        6 => Just(Step::Event),
        1 => Just(Step::LoseEvents),
        1 => Just(Step::Poll),
        2 => Just(Step::Doubts),
        5 => (0..8_usize).prop_map(|read| Step::Execute { read }),
        5 => (0..8_usize).prop_map(|read| Step::Reply { read }),
        5 => (any_stream(), any_players(), any::<bool>())
            .prop_map(|(stream, players, with_known)| Step::Watch { stream, players, with_known }),
        2 => (any_stream(), any_players()).prop_map(|(stream, players)| Step::Unwatch { stream, players }),
        4 => any_stream().prop_map(|stream| Step::Send { stream }),
        1 => any_stream().prop_map(|stream| Step::Close { stream }),
    ]
}

#[derive(Default)]
struct Fixture {
    hub: Hub<usize>,
    clock: u64,
    stored: [Stored; PLAYERS],
    before: [Stored; PLAYERS],
    events: VecDeque<(usize, Fact, u64)>,
    reads: Vec<Read>,
    callers: [Caller; STREAMS],
    /// The highest version that any stream has shown of each player.
    shown: [u64; PLAYERS],
    /// The streams that have been woken and have not sent since.
    woken: BTreeSet<usize>,
    /// Whether all players are to be read, as the upkeep does once it has noticed a loss.
    must_refresh: bool,
}

impl Fixture {
    fn take(&mut self, step: Step) {
        match step {
            Step::Transition { player, state } => self.transition(player, state),
            Step::Expire { player } => {
                self.stored[player].has_expired = self.stored[player].state.is_some()
            }
            Step::Sweep { player } => self.sweep(player),
            Step::Flush => {
                self.stored = Default::default();
                self.must_refresh = true;
            }
            Step::RollBack { player } => {
                self.stored[player] = self.before[player];
                self.must_refresh = true;
            }
            Step::Event => self.hear(),
            Step::LoseEvents => {
                self.events.clear();
                self.must_refresh = true;
            }
            Step::Poll => self.poll(),
            Step::Doubts => self.read_doubts(),
            Step::Execute { read } => self.execute(read),
            Step::Reply { read } => self.reply(read),
            Step::Watch {
                stream,
                players,
                with_known,
            } => self.watch(stream, players, with_known),
            Step::Unwatch { stream, players } => self.unwatch(stream, &players),
            Step::Send { stream } => self.send_if_woken(stream),
            Step::Close { stream } => self.close(stream),
        }
    }

    fn transition(&mut self, player: usize, state: State) {
        self.sweep(player);
        self.clock += 1;
        self.before[player] = self.stored[player];
        let version = self.clock.max(self.stored[player].version + 1);
        self.stored[player] = Stored {
            version,
            state: Some(state).filter(|state| *state != Offline),
            has_expired: false,
        };
        self.events.push_back((
            player,
            Fact {
                state,
                ..self.stored[player].fact()
            },
            self.clock,
        ));
    }

    fn sweep(&mut self, player: usize) {
        if self.stored[player].has_expired {
            self.stored[player].has_expired = false;
            self.transition(player, Offline);
        }
    }

    fn hear(&mut self) {
        if let Some((player, fact, occurred_at)) = self.events.pop_front() {
            self.hub
                .apply_event(&format!("p{player}"), fact, occurred_at);
        }
    }

    fn poll(&mut self) {
        let (players, _) = self.hub.page(0, 1_000);
        self.begin_read(&players);
    }

    fn read_doubts(&mut self) {
        let players = self.hub.take_doubts(1_000);
        self.begin_read(&players);
    }

    fn begin_read(&mut self, players: &[PlayerId]) {
        let players = players
            .iter()
            .map(|player| player.as_str()[1..].parse().unwrap())
            .collect();
        self.reads.push(Read {
            players,
            sent: self.hub.now(),
            found: None,
            watch: None,
        });
    }

    fn execute(&mut self, read: usize) {
        self.clock += 1;
        let stored = self.stored;
        let clock = self.clock;
        if let Some(read) = self.reads.get_mut(read)
            && read.found.is_none()
        {
            read.found = Some((
                read.players
                    .iter()
                    .map(|player| stored[*player].fact())
                    .collect(),
                clock,
            ));
        }
    }

    fn reply(&mut self, read: usize) {
        if self.reads.get(read).is_none_or(|read| read.found.is_none()) {
            return;
        }
        let Read {
            players,
            sent,
            found,
            watch,
        } = self.reads.swap_remove(read);
        let (facts, as_of) = found.unwrap();
        for (player, fact) in players.iter().zip(facts) {
            self.hub.read(&format!("p{player}"), fact, as_of, sent);
        }
        if let Some((stream, known)) = watch {
            self.snapshot(stream, &players, &known);
        }
    }

    fn snapshot(&mut self, number: usize, players: &[usize], known: &BTreeMap<usize, u64>) {
        let caller = &mut self.callers[number];
        let Some(stream) = caller.stream else { return };
        let ids: Vec<_> = players.iter().map(|number| player(*number)).collect();
        let mut received = Vec::new();
        self.hub.deliver_snapshot(stream, ids.iter(), |delivery| {
            let player = delivery.player.as_str()[1..].parse().unwrap();
            let version = delivery.fact.version.unwrap_or_default();
            if delivery.is_change || known.get(&player) != Some(&version) {
                received.push((player, delivery.fact));
            }
        });
        caller.is_waiting = false;
        for (player, fact) in received {
            self.shown[player] = self.shown[player].max(caller.receive(player, fact));
        }
        for player in players {
            assert!(
                caller.held.contains_key(player),
                "p{player} is missing in a snapshot"
            );
        }
    }

    fn watch(&mut self, number: usize, mut players: Vec<usize>, with_known: bool) {
        let caller = &mut self.callers[number];
        if caller.is_waiting {
            return;
        }
        players.sort_unstable();
        players.dedup();
        let stream = *caller.stream.get_or_insert_with(|| self.hub.open(number));
        let ids: Vec<_> = players.iter().map(|number| player(*number)).collect();
        self.hub.watch(stream, &ids, PLAYERS).unwrap();
        let get_known = |player: &usize| {
            Some((
                *player,
                caller.held.get(player)?.version.unwrap_or_default(),
            ))
        };
        let known = players
            .iter()
            .filter(|_| with_known)
            .filter_map(get_known)
            .collect();
        caller.watched.extend(&players);
        caller.is_waiting = true;
        self.reads.push(Read {
            players,
            sent: self.hub.now(),
            found: None,
            watch: Some((number, known)),
        });
    }

    fn unwatch(&mut self, number: usize, players: &[usize]) {
        let caller = &mut self.callers[number];
        if let (Some(stream), false) = (caller.stream, caller.is_waiting) {
            let ids: Vec<_> = players.iter().map(|number| player(*number)).collect();
            self.hub.unwatch(stream, &ids);
            caller.watched.retain(|player| !players.contains(player));
        }
    }

    fn send(&mut self, number: usize) {
        let caller = &mut self.callers[number];
        let Some(stream) = caller.stream else { return };
        let mut received: Vec<(usize, Fact)> = Vec::new();
        let has_more = self.hub.deliver_changes(stream, |delivery| {
            received.push((
                delivery.player.as_str()[1..].parse().unwrap(),
                delivery.fact,
            ));
            received.len() < 2
        });
        for (player, fact) in received {
            self.shown[player] = self.shown[player].max(caller.receive(player, fact));
        }
        if has_more {
            self.send(number);
        }
    }

    fn close(&mut self, number: usize) {
        if let Some(stream) = self.callers[number].stream.take() {
            while !self.hub.close(stream, 1) {}
            // When the caller watches again on another stream, it names the versions that it holds.
            let held = mem::take(&mut self.callers[number].held);
            self.callers[number] = Caller {
                held,
                ..Caller::default()
            };
            self.reads.retain(|read| {
                read.watch
                    .as_ref()
                    .is_none_or(|(stream, _)| *stream != number)
            });
        }
    }

    /// All that is under way arrives, and what the upkeep has to do is done.
    fn calm_down(&mut self) {
        (0..PLAYERS).for_each(|player| self.sweep(player));
        while !self.events.is_empty() {
            self.hear();
        }
        self.finish_reads();
        if mem::take(&mut self.must_refresh) {
            self.poll();
            self.finish_reads();
        }
        for round in 0.. {
            assert!(round < 10, "doubts without an end");
            self.read_doubts();
            if self
                .reads
                .last()
                .is_some_and(|read| read.players.is_empty())
            {
                break;
            }
            self.finish_reads();
        }
        // No stream is left asleep with something to send.
        (0..STREAMS).for_each(|number| self.send_if_woken(number));
    }

    fn send_if_woken(&mut self, number: usize) {
        self.woken.extend(self.hub.take_wakers());
        if self.woken.remove(&number) {
            self.send(number);
        }
    }

    fn finish_reads(&mut self) {
        while !self.reads.is_empty() {
            self.execute(0);
            self.reply(0);
        }
    }

    fn check(&self) {
        for caller in self.callers.iter().filter(|caller| caller.stream.is_some()) {
            for player in &caller.watched {
                let held = caller.held[player].clone();
                let stored = self.stored[*player].fact();
                assert_eq!(held.state, stored.state, "p{player}");
                let is_lower = stored.version.unwrap_or_default() < self.shown[*player];
                assert!(
                    held.version == stored.version || (held.version.is_none() && is_lower),
                    "p{player}"
                );
            }
        }
        let interests: usize = self
            .callers
            .iter()
            .map(|caller| distinct(&caller.watched))
            .sum();
        assert_eq!(self.hub.counts().interests, interests);
    }
}

impl Caller {
    /// Takes an entry of a message; returns the highest version of the player so far.
    fn receive(&mut self, player: usize, fact: Fact) -> u64 {
        let highest = self.highest.entry(player).or_default();
        if let Some(version) = fact.version {
            assert!(
                version >= *highest,
                "p{player} went from {highest} back to {version}"
            );
            *highest = version;
        }
        self.held.insert(player, fact);
        *highest
    }
}

fn distinct(players: &[usize]) -> usize {
    players
        .iter()
        .collect::<std::collections::BTreeSet<_>>()
        .len()
}

#[test]
fn players_that_could_not_be_read_wait_until_all_others_in_doubt_have_been_read() {
    let mut hub = Hub::default();
    let stream = hub.open(());
    let players = [0, 1, 2].map(player);
    hub.watch(stream, &players, players.len()).unwrap();
    hub.put_back_doubts(&players);

    let unread = hub.take_doubts(1);
    hub.put_back_doubts(&unread);
    let others = hub.take_doubts(2);
    assert_eq!(others.len(), 2);
    assert!(!others.contains(&unread[0]));
    assert_eq!(hub.take_doubts(1), unread);
    assert!(!hub.has_doubts());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn once_all_is_quiet_every_stream_equals_the_store(steps in proptest::collection::vec(step(), 1..120)) {
        let mut fixture = Fixture::default();
        for step in steps {
            fixture.take(step);
        }
        fixture.calm_down();
        fixture.check();
    }
}
