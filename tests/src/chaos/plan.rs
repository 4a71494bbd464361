//! Plan of a run: the actions of players and the faults, drawn from a seed.

use std::{collections::HashMap, fmt, ops::Range};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::history::{FaultKind, Millis, Part, State};

/// How large a run is.
#[derive(Debug, Clone, Copy)]
pub struct Scale {
    /// The number of players; three of ten have a second device.
    pub players: u32,
    /// The number of storms, each with a calm after it.
    pub storms: usize,
    /// The duration of a storm.
    pub storm: Millis,
}

/// The kind of Redis that the service uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topology {
    /// One server.
    Standalone,
    /// A primary and a replica, behind an endpoint that leads to one of them.
    Endpoint,
    /// A primary and a replica; Sentinels name the primary.
    Sentinel,
    /// Three masters, each with a replica.
    Cluster,
}

/// The plan of a run.
#[derive(Debug)]
pub struct Plan {
    /// The seed that everything else was drawn from.
    pub seed: u64,
    /// The size of the run.
    pub scale: Scale,
    /// The kind of Redis.
    pub topology: Topology,
    /// The connects before the first storm.
    pub first: Vec<Action>,
    /// The steps of each storm, in order, with the time from its beginning.
    pub storms: Vec<Vec<(Millis, Step)>>,
    /// The trials after the last storm, one after the other; the faults of each begin together.
    pub trials: Vec<Vec<PlannedFault>>,
}

/// A step of a storm.
#[derive(Debug, Clone)]
pub enum Step {
    /// An action of a player.
    Action(Action),
    /// A fault of a process.
    Fault(PlannedFault),
    /// A change of the network between gateways and servers.
    Network(NetworkFaults),
}

/// An action of a player.
#[derive(Debug, Clone, Copy)]
pub enum Action {
    /// Opens a socket to a gateway.
    Open(u32, usize),
    /// Closes the oldest socket on purpose.
    Quit(u32),
    /// Loses the oldest socket.
    Break(u32),
    /// Sets a state over the oldest socket.
    SetState(u32, State),
}

/// A fault to inject.
#[derive(Debug, Clone, Copy)]
pub struct PlannedFault {
    /// The target.
    pub part: Part,
    /// Selects one of several targets or variants.
    pub which: usize,
    /// The kind.
    pub kind: FaultKind,
    /// The duration.
    pub lasts: Millis,
}

/// Faults of the network between a gateway and the servers: the share of calls affected, per 1,000.
#[derive(Debug, Default, Clone, Copy)]
pub struct NetworkFaults {
    /// Calls that are delayed by up to 1.5 s.
    pub delayed: u32,
    /// Calls that do not arrive.
    pub lost: u32,
    /// Calls whose response does not arrive.
    pub unanswered: u32,
    /// Calls that arrive twice, at both servers.
    pub doubled: u32,
    /// Calls of which a copy arrives up to 5 s later.
    pub held_back: u32,
}

/// The number of gateways.
pub(super) const GATEWAYS: usize = 3;
/// The number of presence servers.
pub(super) const SERVERS: usize = 2;
/// The number of callers that watch all players.
pub(super) const WATCHERS: usize = 4;

/// The number of targets of faults: Redis, NATS, servers and gateways.
const PARTS: usize = 2 + SERVERS + GATEWAYS;
/// The time from one fault to the next.
const FAULT_INTERVALS: Range<Millis> = 300..1_200;
/// From the end of a fault to the next one of the same target.
const RECOVERY: Millis = 500;
/// Like [`RECOVERY`], in half of the cases of a Redis whose endpoint moved: the service must have
/// found the new primary before.
const LONG_RECOVERY: Millis = 7_000;
/// From one fault of a watcher to its next one.
const WATCHER_PAUSES: Range<Millis> = 1_000..5_000;
/// From one change of the network to the next.
const NETWORK_INTERVALS: Range<Millis> = 2_000..4_000;
/// From one planned restart of a gateway to the next, in a storm.
const DRAIN_PAUSES: Range<Millis> = 2_000..7_000;
/// How long half of the gateways are frozen together. Their leases expire, and the service ends
/// nothing for another gateway TTL, in which the gateways are back.
const GATEWAYS_FREEZE: Range<Millis> = 3_000..3_300;
/// How long Redis is frozen for all gateways' leases to expire.
const REDIS_FREEZE: Range<Millis> = 2_700..2_900;

impl Scale {
    /// For `make test`.
    pub const SHORT: Self = Self {
        players: 250,
        storms: 1,
        storm: 6_000,
    };
    /// For `make chaos`.
    pub const FULL: Self = Self {
        players: 2_000,
        storms: 3,
        storm: 10_000,
    };
}

impl Plan {
    /// Draws the plan of a seed.
    pub fn new(seed: u64, scale: Scale, topology: Topology) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut first: Vec<_> = (0..scale.players)
            .map(|player| Action::Open(player, rng.random_range(0..GATEWAYS)))
            .collect();
        for player in 0..scale.players {
            if rng.random_ratio(3, 10) {
                first.push(Action::Open(player, rng.random_range(0..GATEWAYS)));
            }
        }
        let mut storms: Vec<_> = (0..scale.storms)
            .map(|_| storm(&mut rng, scale, topology))
            .collect();
        for storm in &mut storms {
            for watcher in 0..WATCHERS {
                storm.extend(watcher_faults(&mut rng, scale.storm, watcher));
            }
            storm.sort_by_key(|(at, _)| *at);
        }
        for storm in &mut storms {
            storm.extend(drains(&mut rng, scale.storm));
            storm.sort_by_key(|(at, _)| *at);
        }
        let trials = trials(&mut rng, topology);
        Self {
            seed,
            scale,
            topology,
            first,
            storms,
            trials,
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let redis = match self.topology {
            Topology::Standalone => "one Redis",
            Topology::Endpoint => "a primary and a replica behind an endpoint",
            Topology::Sentinel => "a primary and a replica known to Sentinels",
            Topology::Cluster => "a Redis Cluster",
        };
        let steps = self.storms.iter().flatten();
        let of_storms = steps.filter_map(|(_, step)| {
            if let Step::Fault(fault) = step {
                Some(fault)
            } else {
                None
            }
        });
        let faults: Vec<_> = of_storms.chain(self.trials.iter().flatten()).collect();
        write!(
            f,
            "{redis}, {} players, {} storms, {} faults:",
            self.scale.players,
            self.scale.storms,
            faults.len()
        )?;
        faults.iter().try_for_each(|fault| {
            write!(f, " {:?} {:?} {} ms;", fault.kind, fault.part, fault.lasts)
        })
    }
}

fn storm(rng: &mut StdRng, scale: Scale, topology: Topology) -> Vec<(Millis, Step)> {
    let mut steps = faults(rng, scale.storm, topology);
    let mut at = 0;
    while at < scale.storm {
        steps.push((at, Step::Network(network_faults(rng))));
        at += rng.random_range(NETWORK_INTERVALS);
    }
    for _ in 0..u64::from(scale.players) * scale.storm / 12_000 {
        steps.push((
            rng.random_range(0..scale.storm),
            Step::Action(act(rng, scale.players)),
        ));
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

/// Draws faults. Those of different targets overlap, those of the same target do not.
fn faults(rng: &mut StdRng, storm: Millis, topology: Topology) -> Vec<(Millis, Step)> {
    let mut busy_until = HashMap::<_, Millis>::new();
    let mut at = rng.random_range(0..500);
    let mut steps = Vec::new();
    while at < storm {
        let first_free = busy_until
            .values()
            .min()
            .filter(|_| busy_until.len() == PARTS);
        at = first_free.map_or(at, |until| at.max(until + 1));
        let fault = fault(rng, topology);
        let name = format!("{:?}", fault.part);
        if busy_until.get(&name).is_none_or(|until| *until < at) {
            busy_until.insert(name, at + fault.lasts + recovery(rng, fault.part, topology));
            steps.push((at, Step::Fault(fault)));
            at += rng.random_range(FAULT_INTERVALS);
        }
    }
    steps
}

fn watcher_faults(rng: &mut StdRng, storm: Millis, watcher: usize) -> Vec<(Millis, Step)> {
    let mut steps = Vec::new();
    let mut at = rng.random_range(WATCHER_PAUSES);
    while at < storm {
        let (kind, lasts) = if rng.random() {
            (FaultKind::Kill, 1..1_500)
        } else {
            (FaultKind::Freeze, 300..4_000)
        };
        let lasts = rng.random_range(lasts);
        let fault = PlannedFault {
            part: Part::Watcher(watcher),
            which: rng.random_range(0..6),
            kind,
            lasts,
        };
        steps.push((at, Step::Fault(fault)));
        at += lasts + rng.random_range(WATCHER_PAUSES);
    }
    steps
}

/// Planned restarts of gateways. One that has another fault restarts after it.
fn drains(rng: &mut StdRng, storm: Millis) -> Vec<(Millis, Step)> {
    let mut steps = Vec::new();
    let mut at = rng.random_range(0..DRAIN_PAUSES.start);
    while at < storm {
        let gateway = rng.random_range(0..GATEWAYS);
        steps.push((at, Step::Fault(drain(gateway, rng))));
        at += rng.random_range(DRAIN_PAUSES);
    }
    steps
}

fn drain(gateway: usize, rng: &mut StdRng) -> PlannedFault {
    PlannedFault {
        part: Part::Gateway(gateway),
        which: 0,
        kind: FaultKind::Terminate,
        lasts: rng.random_range(100..1_000),
    }
}

/// A planned restart and a crash of a gateway, and two faults that the service must not take for a
/// crash of gateways. In a cluster, a replica takes over from a master that is frozen for so long,
/// as in storms.
fn trials(rng: &mut StdRng, topology: Topology) -> Vec<Vec<PlannedFault>> {
    let spared = rng.random_range(0..GATEWAYS);
    let lasts = rng.random_range(GATEWAYS_FREEZE);
    let freeze = |part, lasts| PlannedFault {
        part,
        which: 0,
        kind: FaultKind::Freeze,
        lasts,
    };
    let others = (0..GATEWAYS).filter(|gateway| *gateway != spared);
    let mut trials = vec![
        others
            .map(|gateway| freeze(Part::Gateway(gateway), lasts))
            .collect(),
    ];
    let drained = rng.random_range(0..GATEWAYS);
    // The crash is that of another gateway: the one that restarted has no players.
    let crashed = (drained + 1) % GATEWAYS;
    trials.push(vec![drain(drained, rng)]);
    let lasts = rng.random_range(100..1_000);
    trials.push(vec![PlannedFault {
        part: Part::Gateway(crashed),
        which: 0,
        kind: FaultKind::Kill,
        lasts,
    }]);
    // A frozen Redis comes last: some of its calls may still take effect when the next trial would
    // begin.
    let redis_lasts = rng.random_range(REDIS_FREEZE);
    if topology != Topology::Cluster {
        trials.push(vec![freeze(Part::Redis, redis_lasts)]);
    }
    trials
}

fn recovery(rng: &mut StdRng, part: Part, topology: Topology) -> Millis {
    let has_pair = matches!(topology, Topology::Endpoint | Topology::Sentinel);
    let is_long = has_pair && part == Part::Redis && rng.random();
    if is_long { LONG_RECOVERY } else { RECOVERY }
}

fn fault(rng: &mut StdRng, topology: Topology) -> PlannedFault {
    let which = rng.random_range(0..6);
    let part = match rng.random_range(0..10) {
        0..3 => Part::Redis,
        3..6 => Part::Server(which % SERVERS),
        6..8 => Part::Nats,
        _ => Part::Gateway(which % GATEWAYS),
    };
    let kinds: &[(FaultKind, Range<Millis>)] = match (part, topology) {
        (Part::Redis, Topology::Standalone) => &[
            (FaultKind::Freeze, 200..1_500),
            (FaultKind::Freeze, 1_000..3_500),
            (FaultKind::Kill, 100..1_500),
            (FaultKind::Flush, 1..2),
        ],
        (Part::Redis, Topology::Endpoint) => &[
            (FaultKind::Demote, 300..4_000),
            (FaultKind::Demote, 300..4_000),
            (FaultKind::Hang, 300..6_000),
            (FaultKind::Kill, 100..3_000),
            (FaultKind::Isolate, 300..6_000),
            (FaultKind::Freeze, 200..1_500),
            (FaultKind::Flush, 1..2),
        ],
        (Part::Redis, Topology::Sentinel) => &[
            (FaultKind::Demote, 300..4_000),
            (FaultKind::Demote, 300..4_000),
            (FaultKind::Hang, 300..6_000),
            (FaultKind::Kill, 100..3_000),
            (FaultKind::Freeze, 200..1_500),
            (FaultKind::Flush, 1..2),
        ],
        // Below the nodes' time limit of a second, no replica takes over; above it, the freeze
        // lasts until one has.
        (Part::Redis, Topology::Cluster) => &[
            (FaultKind::Freeze, 100..500),
            (FaultKind::Freeze, 2_500..4_000),
            (FaultKind::Kill, 2_500..4_000),
            (FaultKind::Flush, 1..2),
        ],
        (Part::Server(_), _) => &[
            (FaultKind::Freeze, 300..4_000),
            (FaultKind::Kill, 100..1_500),
            (FaultKind::Terminate, 100..1_000),
        ],
        (Part::Nats, Topology::Endpoint) => &[
            (FaultKind::Freeze, 300..3_500),
            (FaultKind::Kill, 300..3_000),
            (FaultKind::Hang, 1_000..6_000),
        ],
        (Part::Nats, _) => &[
            (FaultKind::Freeze, 300..3_500),
            (FaultKind::Kill, 300..3_000),
        ],
        (Part::Gateway(_) | Part::Watcher(_) | Part::Machine, _) => &[
            (FaultKind::Freeze, 500..6_000),
            (FaultKind::Kill, 100..1_000),
        ],
    };
    let (kind, lasts) = kinds
        .choose(rng)
        .cloned()
        .unwrap_or((FaultKind::Freeze, 300..1_000));
    PlannedFault {
        part,
        which,
        kind,
        lasts: rng.random_range(lasts),
    }
}

fn network_faults(rng: &mut StdRng) -> NetworkFaults {
    let mut share = |max| {
        if rng.random_bool(0.5) {
            rng.random_range(0..max)
        } else {
            0
        }
    };
    NetworkFaults {
        delayed: share(200),
        lost: share(150),
        unanswered: share(150),
        doubled: share(300),
        held_back: share(300),
    }
}

fn act(rng: &mut StdRng, players: u32) -> Action {
    let player = rng.random_range(0..players);
    match rng.random_range(0..100) {
        0..40 => Action::Open(player, rng.random_range(0..GATEWAYS)),
        40..55 => Action::Quit(player),
        55..70 => Action::Break(player),
        70..97 => {
            let states = [State::Online, State::InQueue, State::InMatch, State::Away];
            Action::SetState(
                player,
                states.choose(rng).copied().unwrap_or(State::Offline),
            )
        }
        _ => Action::SetState(player, State::Offline),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_ends_even_if_everything_fails_at_once() {
        for seed in 0..3_000 {
            for topology in [Topology::Standalone, Topology::Endpoint, Topology::Sentinel] {
                let steps = faults(
                    &mut StdRng::seed_from_u64(seed),
                    Scale::FULL.storm,
                    topology,
                );
                assert!(
                    steps.iter().all(|(at, _)| *at < Scale::FULL.storm + 8_000),
                    "{seed}"
                );
            }
        }
    }
}
