//! A model of turns: servers that sweep one cluster together, each of which can stall or die at any
//! step.
//!
//! It is separate from the other model as it is about time. Times are ages in ticks, and an age
//! stops once a higher one would make no difference, so the model is finite although time is not. A
//! server that is not stalled acts within a tick.

use stateright::{Model, Property};

/// A number of ticks.
pub type Ticks = u8;

/// The sweep interval.
pub const INTERVAL: Ticks = 16;

/// The time from the beginning of one pass to that of the next.
const PASS_INTERVAL: Ticks = INTERVAL / 2;

/// The time after which a pass that has not ended is considered to have died with its server.
const PASS_TIMEOUT: Ticks = INTERVAL / 4;

/// Holds as long as one server is not stalled.
pub const SWEPT_IN_TIME: &str =
    "an expired player is swept within the interval, and a quarter of it for each further stall";
/// Holds as long as no server stalls and Redis keeps its data.
pub const ONE_PASS: &str =
    "one pass is made per half of the interval, however many servers there are";

/// The bounds of the model.
#[derive(Debug, Clone, Copy)]
pub struct TurnBounds {
    /// Servers that sweep.
    pub servers: usize,
    /// How often a server may stall: less than the number of servers, so that one of them always
    /// works.
    pub stalls: u8,
    /// How often Redis may lose its data.
    pub flushes: u8,
}

/// A rule of the turns that is left out, to check that a property fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnMutation {
    /// A pass that has not ended keeps the turn for as long as one that has.
    DeadPassesKeepTheirTurn,
    /// A server records the end of its pass before it has checked the players.
    EndIsRecordedFirst,
    /// A server ignores the reply that says how long to wait, and waits for half of the interval.
    ReplyIsIgnored,
    /// A server does not record the end of its pass.
    EndIsNotRecorded,
}

/// The turns within bounds, with at most one rule left out.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// The bounds of the model.
    pub bounds: TurnBounds,
    /// The rule that is left out, if any.
    pub mutation: Option<TurnMutation>,
}

/// One state of the servers and Redis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sweeping {
    /// The time since a pass last began, as Redis holds it; [`PASS_INTERVAL`] if it is longer or
    /// unknown.
    began: Ticks,
    /// The time since a pass last ended, as Redis holds it; [`PASS_INTERVAL`] if it is longer or
    /// unknown.
    ended: Ticks,
    servers: Vec<Server>,
    /// The time since the expiry of a player that has not been swept yet.
    expired: Option<Ticks>,
    stalls: u8,
    flushes: u8,
    /// Whether a turn was given though a pass had begun less than [`PASS_INTERVAL`] ago.
    was_early: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Server {
    step: Step,
    /// The time until it requests a turn.
    requests_in: Ticks,
    /// Whether it has been due for a tick.
    is_late: bool,
    is_stalled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// To wait and then request the turn.
    Request,
    /// To check the players of all partitions. Only the partition of the one player matters.
    Check,
    /// To record that the pass has ended.
    RecordEnd,
}

/// An action in the model. The number is a server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnAction {
    /// A server requests the turn.
    Request(usize),
    /// A server checks the partition of the player.
    Check(usize),
    /// A server records the end of its pass.
    RecordEnd(usize),
    /// A server stalls. One that never resumes is dead.
    Stall(usize),
    /// A stalled server resumes.
    Resume(usize),
    /// A stalled server is replaced by a new one, which begins with a pass without requesting a
    /// turn.
    Restart(usize),
    /// A player expires.
    Expire,
    /// Redis loses its data, including the player.
    Flush,
    /// Time passes.
    Tick,
}

impl Model for Turns {
    type State = Sweeping;
    type Action = TurnAction;

    fn init_states(&self) -> Vec<Sweeping> {
        let server = Server {
            step: Step::Check,
            requests_in: PASS_INTERVAL,
            is_late: false,
            is_stalled: false,
        };
        let servers = vec![server; self.bounds.servers];
        let began = PASS_INTERVAL;
        let ended = PASS_INTERVAL;
        vec![Sweeping {
            began,
            ended,
            servers,
            expired: None,
            stalls: 0,
            flushes: 0,
            was_early: false,
        }]
    }

    fn actions(&self, state: &Sweeping, actions: &mut Vec<TurnAction>) {
        for (number, server) in state.servers.iter().enumerate() {
            if server.is_stalled {
                actions.extend([TurnAction::Resume(number), TurnAction::Restart(number)]);
                continue;
            }
            if state.stalls < self.bounds.stalls {
                actions.push(TurnAction::Stall(number));
            }
            match server.step {
                Step::Request if server.requests_in > 0 => {}
                Step::Request => actions.push(TurnAction::Request(number)),
                Step::Check => actions.push(TurnAction::Check(number)),
                Step::RecordEnd => actions.push(TurnAction::RecordEnd(number)),
            }
        }
        if state.expired.is_none() {
            actions.push(TurnAction::Expire);
        }
        if state.flushes < self.bounds.flushes {
            actions.push(TurnAction::Flush);
        }
        if !state
            .servers
            .iter()
            .any(|server| server.is_due() && server.is_late)
        {
            actions.push(TurnAction::Tick);
        }
    }

    fn next_state(&self, state: &Sweeping, action: TurnAction) -> Option<Sweeping> {
        let mut next = state.clone();
        next.apply(action, self.mutation);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(SWEPT_IN_TIME, |turns, state| {
                let limit = INTERVAL + PASS_TIMEOUT * turns.bounds.stalls.saturating_sub(1);
                state.expired.is_none_or(|age| age <= limit)
            }),
            Property::<Self>::always(ONE_PASS, |turns, state| {
                turns.bounds.stalls > 0 || turns.bounds.flushes > 0 || !state.was_early
            }),
            Property::<Self>::sometimes(
                "a turn is taken from a server that stalled with it",
                |turns, state| {
                    let is_passing =
                        |server: &Server| server.step == Step::Check && server.requests_in > 0;
                    let stalled = state
                        .servers
                        .iter()
                        .any(|server| server.is_stalled && server.step == Step::Check);
                    let other = state
                        .servers
                        .iter()
                        .any(|server| !server.is_stalled && is_passing(server));
                    turns.bounds.stalls == 0 || (state.was_early && stalled && other)
                },
            ),
        ]
    }
}

impl Server {
    fn is_due(&self) -> bool {
        !self.is_stalled && (self.step != Step::Request || self.requests_in == 0)
    }

    fn go_to(&mut self, step: Step) {
        self.step = step;
        self.is_late = false;
    }
}

impl Sweeping {
    fn apply(&mut self, action: TurnAction, mutation: Option<TurnMutation>) {
        match action {
            TurnAction::Request(number) => self.request_turn(number, mutation),
            TurnAction::Check(number) => {
                self.expired = None;
                let is_recorded = mutation == Some(TurnMutation::EndIsRecordedFirst);
                self.servers[number].go_to(if is_recorded {
                    Step::Request
                } else {
                    Step::RecordEnd
                });
            }
            TurnAction::RecordEnd(number) => {
                if mutation != Some(TurnMutation::EndIsNotRecorded) {
                    self.ended = 0;
                }
                let is_recorded_first = mutation == Some(TurnMutation::EndIsRecordedFirst);
                self.servers[number].go_to(if is_recorded_first {
                    Step::Check
                } else {
                    Step::Request
                });
            }
            TurnAction::Stall(number) => {
                self.servers[number].is_stalled = true;
                self.stalls += 1;
            }
            TurnAction::Resume(number) => {
                self.servers[number].is_stalled = false;
                self.servers[number].is_late = false;
            }
            TurnAction::Restart(number) => {
                self.servers[number] = Server {
                    step: Step::Check,
                    requests_in: PASS_INTERVAL,
                    is_late: false,
                    is_stalled: false,
                };
            }
            TurnAction::Expire => self.expired = Some(0),
            TurnAction::Flush => {
                self.began = PASS_INTERVAL;
                self.ended = PASS_INTERVAL;
                self.expired = None;
                self.flushes += 1;
            }
            TurnAction::Tick => self.tick(),
        }
    }

    /// `turn.lua`, and how a server handles its reply.
    fn request_turn(&mut self, number: usize, mutation: Option<TurnMutation>) {
        let has_ended =
            self.ended <= self.began || mutation == Some(TurnMutation::DeadPassesKeepTheirTurn);
        let wait = if has_ended {
            PASS_INTERVAL
        } else {
            PASS_TIMEOUT
        }
        .saturating_sub(self.began);
        let server = &mut self.servers[number];
        if wait > 0 {
            server.requests_in = if mutation == Some(TurnMutation::ReplyIsIgnored) {
                PASS_INTERVAL
            } else {
                wait
            };
            return server.go_to(Step::Request);
        }
        server.requests_in = PASS_INTERVAL;
        server.go_to(if mutation == Some(TurnMutation::EndIsRecordedFirst) {
            Step::RecordEnd
        } else {
            Step::Check
        });
        self.was_early = self.began < PASS_INTERVAL;
        self.began = 0;
    }

    fn tick(&mut self) {
        self.began = PASS_INTERVAL.min(self.began + 1);
        self.ended = PASS_INTERVAL.min(self.ended + 1);
        self.expired = self.expired.map(|age| (2 * INTERVAL).min(age + 1));
        for server in &mut self.servers {
            server.is_late = server.is_due();
            server.requests_in = server.requests_in.saturating_sub(1);
        }
    }
}
