//! Chaos test: the whole system under faults, and an independent checker of its behavior.
//!
//! Two presence servers, three gateways with real sockets, Redis and NATS. Redis is one server, a
//! primary and a replica behind an endpoint that moves or known to Sentinels, or a cluster with
//! replicas. A seed determines a [`Plan`]: which player connects when, which process is frozen,
//! killed or emptied when, how unreliable the network is. What is seen from outside is recorded as
//! a [`History`], in which [`check`] looks for violations of invariants.
//!
//! - `plan`: the actions and faults of a seed.
//! - `environment`: the processes; `store`: Redis among them.
//! - `proxy`: the network between a gateway and the servers, which also records the calls.
//! - `players`: players with their devices, which know which sockets are open. `observer`: reads
//!   all of them all the time.
//! - `watchers`: callers that watch all of them over streams.
//! - `history`: everything that was seen. `checker`: the judgment.
//!
//! `docs/testing.md` has the invariants, the anomalies that a fault allows, and the mutation that
//! each invariant found.

mod checker;
mod environment;
mod history;
mod observer;
mod plan;
mod players;
mod proxy;
mod store;
mod watchers;

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    task::{AbortHandle, JoinSet},
    time::{Instant, sleep, sleep_until},
};

pub use checker::{Report, Violation, check};
pub use history::History;
pub use plan::{Plan, Scale, Topology};

use environment::Environment;
use history::{Fault, FaultKind, Millis, Part, Recorder, State, Timing, now};
use observer::Observer;
use plan::{Action, GATEWAYS, NetworkFaults, Step};
use players::Players;
use watchers::Watchers;

/// Time limit, on top of a TTL, for the responses to agree with the sockets after the last fault:
/// a gateway whose calls all failed tries again after 6 s, and the last of its heartbeats follows
/// within an interval.
const HEALING_TIMEOUT: Duration = Duration::from_secs(9);

/// Time limit for the outbox to become empty: a server has 30 s to notice that NATS is silent.
const EMPTY_TIMEOUT: Duration = Duration::from_secs(35);

/// The rest after a storm, in milliseconds: the checker compares what watchers hold only if there
/// was no fault and no event for some seconds.
const REST: Millis = 5_000;

/// The longest rest, if the machine stalls again and again.
const MAX_REST: Millis = 30_000;

/// The interval at which the process looks at its clock.
const TICK: Duration = Duration::from_millis(50);

/// A tick that takes longer is a stall of the machine, in milliseconds.
const MIN_STALL: Millis = 400;

/// The most sockets that are opened at a time.
const MAX_OPENING: usize = 50;

/// The number of players who set a state per 50 ms. A gateway reports each state in a call of its
/// own, and drops it after two TTLs.
const STATES_PER_TICK: usize = 10;

/// Runs a plan on real processes, and returns what was seen.
pub async fn play(plan: &Plan) -> History {
    let recorder = Recorder::new(timing(plan.topology));
    let environment = Arc::new(Environment::start(plan, &recorder).await);
    let players = Players::new(Arc::clone(&environment), recorder.clone());
    let observer = Observer::new(
        Arc::clone(&environment),
        recorder.clone(),
        plan.scale.players,
    );
    let watchers = Arc::new(Watchers::start(&environment, &recorder, plan.scale.players));
    for actions in plan.first.chunks(MAX_OPENING) {
        join_all(actions.iter().map(|action| players.act(*action))).await;
    }
    let _stalls = Task(tokio::spawn(record_stalls(recorder.clone())).abort_handle());
    let _watch = Task(tokio::spawn(observer.clone().watch()).abort_handle());
    let cluster = Arc::clone(&environment);
    let failovers = recorder.clone();
    let _epochs = (plan.topology == Topology::Cluster).then(|| {
        Task(
            tokio::spawn(async move { cluster.store.watch_epochs(failovers).await }).abort_handle(),
        )
    });
    let timeout = HEALING_TIMEOUT + Duration::from_millis(recorder.lock().timing.ttl);
    let mut is_well = observer.until_agreed(timeout).await
        && is_published(&environment, players.present().len(), &recorder).await;
    for storm in &plan.storms {
        if is_well {
            play_storm(storm, &environment, &players, &watchers).await;
            is_well = observer.until_agreed(timeout).await
                && watchers.until_agreed(&observer, timeout).await;
            rest(&recorder).await;
        }
    }
    if is_well {
        bring_back(&players, plan.scale.players).await;
        is_well = observer.until_agreed(timeout).await;
    }
    for faults in &plan.trials {
        if is_well && until_renewed(&recorder, timeout).await {
            join_all(faults.iter().map(|fault| environment.inject(*fault))).await;
            is_well = observer.until_agreed(timeout).await;
        }
    }
    if is_well {
        rest(&recorder).await;
        end(&environment, &players, &observer, timeout).await;
        watchers.until_agreed(&observer, timeout).await;
        until_empty(&environment, &recorder).await;
    }
    recorder.lock().events = environment.events().await;
    recorder.copy()
}

/// Waits until the stream holds an event of each player. The first ones wait for the stream to be
/// created, which takes longer than later publishing: a fault in that time would lose events that
/// no fault of its kind may lose.
async fn is_published(environment: &Environment, players: usize, recorder: &Recorder) -> bool {
    let begin = Instant::now();
    while environment.events().await.len() < players {
        if begin.elapsed() > HEALING_TIMEOUT {
            recorder.record_anomaly("the players' first events were not published".to_owned());
            return false;
        }
        sleep(Duration::from_millis(200)).await;
    }
    true
}

/// The service's times. A sweep of a cluster is expensive in a build without optimization. With a
/// pair, a lease outlives the time in which the service has to find the new primary, as it does
/// with the default TTL of 45 s.
fn timing(topology: Topology) -> Timing {
    let (ttl, sweep) = match topology {
        Topology::Standalone => (3_000, 300),
        Topology::Endpoint | Topology::Sentinel => (9_000, 300),
        Topology::Cluster => (3_000, 1_000),
    };
    Timing {
        ttl,
        heartbeat: 1_000,
        sweep,
        gateway_ttl: 2_000,
        move_grace: ttl,
    }
}

/// Records when the machine is so busy that this process stalls, and with it the proxies.
async fn record_stalls(recorder: Recorder) {
    loop {
        let begin = now();
        sleep(TICK).await;
        if now() - begin > MIN_STALL {
            recorder
                .lock()
                .faults
                .push(Fault::over(Part::Machine, FaultKind::Freeze, begin));
        }
    }
}

/// Plays a storm, until its last fault is over and the network is reliable again.
async fn play_storm(
    storm: &[(u64, Step)],
    environment: &Arc<Environment>,
    players: &Players,
    watchers: &Arc<Watchers>,
) {
    let begin = Instant::now();
    let mut tasks = JoinSet::new();
    for (at, step) in storm {
        sleep_until(begin + Duration::from_millis(*at)).await;
        match step.clone() {
            Step::Network(network) => environment.set_network_faults(network),
            Step::Fault(fault) if matches!(fault.part, Part::Watcher(_)) => {
                let watchers = Arc::clone(watchers);
                tasks.spawn(async move { watchers.inject(fault).await });
            }
            Step::Fault(fault) => {
                let environment = Arc::clone(environment);
                tasks.spawn(async move { environment.inject(fault).await });
            }
            Step::Action(action) => {
                let players = players.clone();
                tasks.spawn(async move { players.act(action).await });
            }
        }
    }
    tasks.join_all().await;
    environment.set_network_faults(NetworkFaults::default());
}

/// Connects all players who have no device: a trial of a gateway is about those that it has.
async fn bring_back(players: &Players, count: u32) {
    let present: HashSet<_> = players.present().into_iter().collect();
    let absent: Vec<_> = (0..count)
        .filter(|player| !present.contains(player))
        .collect();
    for some in absent.chunks(MAX_OPENING) {
        let open = |player: &u32| players.act(Action::Open(*player, *player as usize % GATEWAYS));
        join_all(some.iter().map(open)).await;
    }
}

/// Waits until each gateway has renewed its lease from now on, and the leases of its connections.
/// Responses may agree with the sockets earlier: as soon as a frozen Redis resumes, it executes
/// calls that the gateways gave up. Until the next renewal no lease is certain, so nothing could be
/// said about what follows.
async fn until_renewed(recorder: &Recorder, timeout: Duration) -> bool {
    let begin = Instant::now();
    let since = now();
    loop {
        let missing = recorder.lock().not_renewed_since(since);
        if missing == 0 {
            return true;
        }
        if begin.elapsed() > timeout {
            recorder.record_anomaly(format!(
                "{missing} leases were not renewed within {timeout:?}"
            ));
            return false;
        }
        sleep(TICK).await;
    }
}

/// Waits until there has been a rest since this call, and since the time by which all servers must
/// have noticed the end of the last fault.
async fn rest(recorder: &Recorder) {
    let begin = now();
    loop {
        let calm_since = recorder
            .lock()
            .faults
            .iter()
            .map(|fault| fault.outage().1)
            .fold(begin, Millis::max);
        if now() > calm_since + REST || now() > begin + MAX_REST {
            return;
        }
        sleep(TICK).await;
    }
}

/// Has every player set a state, and then quit.
async fn end(environment: &Environment, players: &Players, observer: &Observer, timeout: Duration) {
    let order = [State::InQueue, State::Away, State::InMatch, State::Online];
    let mut states: BTreeMap<_, _> = players
        .present()
        .into_iter()
        .zip(order.into_iter().cycle())
        .collect();
    let since = now();
    let actions: Vec<_> = states
        .iter()
        .map(|(player, state)| Action::SetState(*player, *state))
        .collect();
    for some in actions.chunks(STATES_PER_TICK) {
        join_all(some.iter().map(|action| players.act(*action))).await;
        sleep(Duration::from_millis(50)).await;
    }
    if observer.agree(&states, timeout).await.is_err() {
        // If the machine is busy for a TTL, leases expire, and with them the states.
        let ends = environment
            .events()
            .await
            .into_iter()
            .filter(|event| event.occurred_at >= since);
        ends.filter(|event| event.state == State::Offline)
            .for_each(|event| _ = states.remove(&event.player));
        if !observer.until_states_agree(&states, timeout).await {
            return;
        }
    }
    for turn in 0.. {
        let present = players.present();
        if present.is_empty() {
            break;
        }
        let leave = |player: &u32| {
            if turn % 2 == 0 {
                Action::Quit(*player)
            } else {
                Action::Break(*player)
            }
        };
        join_all(present.iter().map(|player| players.act(leave(player)))).await;
        sleep(Duration::from_millis(10)).await; // until each socket's end is recorded
    }
    observer.until_agreed(timeout).await;
}

/// Waits until Redis holds only keys that outlive the players.
async fn until_empty(environment: &Environment, recorder: &Recorder) {
    let begin = Instant::now();
    loop {
        let left = environment.store.leftovers().await;
        if left.is_empty() {
            return;
        }
        if begin.elapsed() > EMPTY_TIMEOUT {
            return recorder.record_anomaly(format!("Redis still holds {left:?}"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A task that is aborted when this is dropped.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
