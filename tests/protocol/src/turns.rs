//! Turns: servers that sweep one cluster together, each of which can stall or die at any step.
//!
//! A model of its own, as it is about time. Times are ages in ticks, and an age stops where it makes no difference any more:
//! the model is finite although time goes on. A server that is not stalled acts within a tick.

use stateright::{Model, Property};

/// A number of ticks.
pub type Ticks = u8;

/// The sweep interval.
pub const INTERVAL: Ticks = 16;

/// The time from the beginning of one pass to that of the next.
const PACE: Ticks = INTERVAL / 2;

/// The time after which a pass that has not ended is taken to have died with its server.
const PATIENCE: Ticks = INTERVAL / 4;

/// However servers die, while one is not stalled.
pub const SWEPT_IN_TIME: &str =
    "an expired player is swept within the interval, and a quarter of it for each further stall";
/// While no server stalls, and Redis keeps its data.
pub const ONE_PASS: &str = "one pass is made per half of the interval, however many servers there are";

/// How large the world is.
#[derive(Debug, Clone, Copy)]
pub struct TurnBounds {
    /// Servers that sweep.
    pub servers: usize,
    /// How often a server may stall. Fewer than servers: one of them always works.
    pub stalls: u8,
    /// How often Redis may lose its data.
    pub flushes: u8,
}

/// A rule of the turns that is left out, to see that a property notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnFlaw {
    /// A pass that has not ended keeps the turn for as long as one that has.
    DeadPassesKeepTheirTurn,
    /// A server notes the end of its pass before it has looked at the players.
    EndIsNotedFirst,
    /// A server that is answered how long to wait waits for half of the interval instead.
    AnswerIsIgnored,
    /// A server does not note the end of its pass.
    EndIsNotNoted,
}

/// The turns within bounds, with a rule left out or none.
#[derive(Debug, Clone, Copy)]
pub struct Turns {
    /// How large the world is.
    pub bounds: TurnBounds,
    /// The rule that is left out.
    pub flaw: Option<TurnFlaw>,
}

/// One state of everything.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Sweeping {
    /// The time since a pass last began, as Redis holds it; [`PACE`] if that is over, or nothing is known.
    began: Ticks,
    /// The time since a pass last ended, as Redis holds it; [`PACE`] if that is over, or nothing is known.
    ended: Ticks,
    servers: Vec<Server>,
    /// The time since the expiry of a player that has not been swept yet.
    expired: Option<Ticks>,
    stalls: u8,
    flushes: u8,
    /// Whether a turn was given though a pass had begun less than [`PACE`] ago.
    was_early: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Server {
    step: Step,
    /// The time until it asks for a turn.
    asks_in: Ticks,
    /// Whether it has had something to do for a tick.
    is_late: bool,
    is_stalled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// To wait, and to ask for the turn then.
    Ask,
    /// To look at the players of all partitions. The player is in one of them: the look at that one is what counts.
    Look,
    /// To note that the pass has ended.
    Note,
}

/// Something that happens. The number is a server's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TurnAction {
    /// A server asks for the turn.
    Ask(usize),
    /// A server looks at the partition of the player.
    Look(usize),
    /// A server notes the end of its pass.
    Note(usize),
    /// A server stalls. One that never goes on is dead.
    Stall(usize),
    /// A server that stalled goes on.
    GoOn(usize),
    /// A server that stalled is replaced by a new one, which begins with a pass and does not ask for it.
    Restart(usize),
    /// A player expires.
    Expire,
    /// Redis loses its data, the player among them.
    Flush,
    /// Time passes.
    Tick,
}

impl Model for Turns {
    type State = Sweeping;
    type Action = TurnAction;

    fn init_states(&self) -> Vec<Sweeping> {
        let server = Server { step: Step::Look, asks_in: PACE, is_late: false, is_stalled: false };
        let servers = vec![server; self.bounds.servers];
        let (began, ended) = (PACE, PACE);
        vec![Sweeping { began, ended, servers, expired: None, stalls: 0, flushes: 0, was_early: false }]
    }

    fn actions(&self, state: &Sweeping, actions: &mut Vec<TurnAction>) {
        for (number, server) in state.servers.iter().enumerate() {
            if server.is_stalled {
                actions.extend([TurnAction::GoOn(number), TurnAction::Restart(number)]);
                continue;
            }
            if state.stalls < self.bounds.stalls {
                actions.push(TurnAction::Stall(number));
            }
            match server.step {
                Step::Ask if server.asks_in > 0 => {}
                Step::Ask => actions.push(TurnAction::Ask(number)),
                Step::Look => actions.push(TurnAction::Look(number)),
                Step::Note => actions.push(TurnAction::Note(number)),
            }
        }
        if state.expired.is_none() {
            actions.push(TurnAction::Expire);
        }
        if state.flushes < self.bounds.flushes {
            actions.push(TurnAction::Flush);
        }
        if !state.servers.iter().any(|server| server.is_due() && server.is_late) {
            actions.push(TurnAction::Tick);
        }
    }

    fn next_state(&self, state: &Sweeping, action: TurnAction) -> Option<Sweeping> {
        let mut next = state.clone();
        next.happen(action, self.flaw);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::<Self>::always(SWEPT_IN_TIME, |turns, state| {
                let limit = INTERVAL + PATIENCE * turns.bounds.stalls.saturating_sub(1);
                state.expired.is_none_or(|age| age <= limit)
            }),
            Property::<Self>::always(ONE_PASS, |turns, state| {
                turns.bounds.stalls > 0 || turns.bounds.flushes > 0 || !state.was_early
            }),
            Property::<Self>::sometimes("a turn is taken from a server that stalled with it", |turns, state| {
                let is_passing = |server: &Server| server.step == Step::Look && server.asks_in > 0;
                let stalled = state.servers.iter().any(|server| server.is_stalled && server.step == Step::Look);
                let other = state.servers.iter().any(|server| !server.is_stalled && is_passing(server));
                turns.bounds.stalls == 0 || (state.was_early && stalled && other)
            }),
        ]
    }
}

impl Server {
    fn is_due(&self) -> bool {
        !self.is_stalled && (self.step != Step::Ask || self.asks_in == 0)
    }

    fn go_to(&mut self, step: Step) {
        self.step = step;
        self.is_late = false;
    }
}

impl Sweeping {
    fn happen(&mut self, action: TurnAction, flaw: Option<TurnFlaw>) {
        match action {
            TurnAction::Ask(number) => self.ask(number, flaw),
            TurnAction::Look(number) => {
                self.expired = None;
                let is_noted = flaw == Some(TurnFlaw::EndIsNotedFirst);
                self.servers[number].go_to(if is_noted { Step::Ask } else { Step::Note });
            }
            TurnAction::Note(number) => {
                if flaw != Some(TurnFlaw::EndIsNotNoted) {
                    self.ended = 0;
                }
                let is_noted_first = flaw == Some(TurnFlaw::EndIsNotedFirst);
                self.servers[number].go_to(if is_noted_first { Step::Look } else { Step::Ask });
            }
            TurnAction::Stall(number) => {
                self.servers[number].is_stalled = true;
                self.stalls += 1;
            }
            TurnAction::GoOn(number) => {
                self.servers[number].is_stalled = false;
                self.servers[number].is_late = false;
            }
            TurnAction::Restart(number) => {
                self.servers[number] = Server { step: Step::Look, asks_in: PACE, is_late: false, is_stalled: false };
            }
            TurnAction::Expire => self.expired = Some(0),
            TurnAction::Flush => {
                (self.began, self.ended, self.expired) = (PACE, PACE, None);
                self.flushes += 1;
            }
            TurnAction::Tick => self.tick(),
        }
    }

    /// `turn.lua`, and what a server makes of its answer.
    fn ask(&mut self, number: usize, flaw: Option<TurnFlaw>) {
        let has_ended = self.ended <= self.began || flaw == Some(TurnFlaw::DeadPassesKeepTheirTurn);
        let wait = if has_ended { PACE } else { PATIENCE }.saturating_sub(self.began);
        let server = &mut self.servers[number];
        if wait > 0 {
            server.asks_in = if flaw == Some(TurnFlaw::AnswerIsIgnored) { PACE } else { wait };
            return server.go_to(Step::Ask);
        }
        server.asks_in = PACE;
        server.go_to(if flaw == Some(TurnFlaw::EndIsNotedFirst) { Step::Note } else { Step::Look });
        self.was_early = self.began < PACE;
        self.began = 0;
    }

    fn tick(&mut self) {
        self.began = PACE.min(self.began + 1);
        self.ended = PACE.min(self.ended + 1);
        self.expired = self.expired.map(|age| (2 * INTERVAL).min(age + 1));
        for server in &mut self.servers {
            server.is_late = server.is_due();
            server.asks_in = server.asks_in.saturating_sub(1);
        }
    }
}
