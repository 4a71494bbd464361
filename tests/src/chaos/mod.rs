//! The whole system under faults, and an independent checker of what it said and did.
//!
//! Two presence servers, three gateways with real sockets, Redis and NATS. Redis is
//! one server, a primary and a replica behind an endpoint that moves or known to Sentinels, or a cluster with replicas. A seed makes
//! a [`Plan`]: who connects when, which process is frozen, killed or emptied when, how bad the network is. What is seen
//! from outside becomes a [`History`], and [`check`] looks for what must not be in there.
//!
//! - `plan`: what a seed stands for.
//! - `stage`: the processes; `store`: Redis among them.
//! - `proxy`: the network between a gateway and the servers, which also notes what passes.
//! - `crowd`: players with their devices, which know which sockets are open. `observer`: asks for all of them all the time.
//! - `watchers`: callers that watch all of them over streams.
//! - `history`: all that these saw. `checker`: whether it may be so.
//!
//! `docs/testing.md` has the invariants, the anomalies that a fault allows, and how each invariant was seen to fail.

mod checker;
mod crowd;
mod history;
mod observer;
mod plan;
mod proxy;
mod stage;
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

use crowd::Crowd;
use history::{Kind, Millis, Notes, Pace, Part, State, Trouble, now};
use observer::Observer;
use plan::{Act, GATEWAYS, Step, Weather};
use stage::Stage;
use watchers::Watchers;

/// How long it may take, on top of a TTL, until all is as it should be once nothing goes wrong any more: a gateway that
/// met only failures tries again after 6 s, and the last of its heartbeats follows within an interval.
const HEALING: Duration = Duration::from_secs(9);

/// How long it may take until Redis holds no event: a server has 30 s to notice that NATS is silent.
const EMPTYING: Duration = Duration::from_secs(35);

/// How long nothing is done after a storm, in milliseconds: the checker compares what watchers hold only if there was no
/// fault and no event for some seconds.
const REST: Millis = 5_000;

/// The longest rest, if the machine stalls again and again.
const MAX_REST: Millis = 30_000;

/// How often the process looks at its clock.
const TICK: Duration = Duration::from_millis(50);

/// A tick that takes longer is a stall of the machine, in milliseconds.
const STALL: Millis = 400;

/// So many sockets are opened at a time.
const OPENING: usize = 50;

/// So many players speak in a twentieth of a second. A gateway tells of each by a call of its own, and gives up after two
/// leases' time what it could not tell.
const SAYING: usize = 10;

/// Plays a plan on real processes. Takes the storms' time, and some seconds for each calm.
pub async fn play(plan: &Plan) -> History {
    let notes = Notes::new(pace(plan.topology));
    let stage = Arc::new(Stage::set(plan, &notes).await);
    let crowd = Crowd::new(Arc::clone(&stage), notes.clone());
    let observer = Observer::new(Arc::clone(&stage), notes.clone(), plan.scale.players);
    let watchers = Arc::new(Watchers::start(&stage, &notes, plan.scale.players));
    for acts in plan.first.chunks(OPENING) {
        join_all(acts.iter().map(|act| crowd.act(*act))).await;
    }
    let _stalls = Task(tokio::spawn(note_stalls(notes.clone())).abort_handle());
    let _watch = Task(tokio::spawn(observer.clone().watch()).abort_handle());
    let (watched, noted) = (Arc::clone(&stage), notes.clone());
    let _epochs = (plan.topology == Topology::Cluster)
        .then(|| Task(tokio::spawn(async move { watched.store.watch_epochs(noted).await }).abort_handle()));
    let healing = HEALING + Duration::from_millis(notes.lock().pace.ttl);
    let mut is_well = observer.until_agreed(healing).await && is_published(&stage, crowd.present().len(), &notes).await;
    for storm in &plan.storms {
        if is_well {
            play_storm(storm, &stage, &crowd, &watchers).await;
            is_well = observer.until_agreed(healing).await && watchers.until_agreed(&observer, healing).await;
            rest(&notes).await;
        }
    }
    if is_well {
        bring_back(&crowd, plan.scale.players).await;
        is_well = observer.until_agreed(healing).await;
    }
    for faults in &plan.trials {
        if is_well && until_renewed(&notes, healing).await {
            join_all(faults.iter().map(|fault| stage.suffer(*fault))).await;
            is_well = observer.until_agreed(healing).await;
        }
    }
    if is_well {
        rest(&notes).await;
        end(&stage, &crowd, &observer, healing).await;
        watchers.until_agreed(&observer, healing).await;
        until_empty(&stage, &notes).await;
    }
    notes.lock().events = stage.events().await;
    notes.copy()
}

/// Waits until the stream holds an event of each player. The first ones wait for the stream to be made, which takes longer
/// than what is published later: a fault in that time would lose what no fault of its kind excuses.
async fn is_published(stage: &Stage, players: usize, notes: &Notes) -> bool {
    let begin = Instant::now();
    while stage.events().await.len() < players {
        if begin.elapsed() > HEALING {
            notes.mishap("the players' first events were not published".to_owned());
            return false;
        }
        sleep(Duration::from_millis(200)).await;
    }
    true
}

/// A sweep of a cluster asks 16,384 slots, and is dear in a build without optimisation. A lease outlives the time in
/// which the service has to find the new primary of a pair, as it does with the default TTL of 45 s.
fn pace(topology: Topology) -> Pace {
    let (ttl, sweep) = match topology {
        Topology::Standalone => (3_000, 300),
        Topology::Endpoint | Topology::Sentinel => (9_000, 300),
        Topology::Cluster => (3_000, 1_000),
    };
    Pace { ttl, heartbeat: 1_000, sweep, gateway_ttl: 2_000, move_grace: ttl }
}

/// Notes when the machine is so busy that this process stands still, and with it all that passes through its proxies.
async fn note_stalls(notes: Notes) {
    loop {
        let begin = now();
        sleep(TICK).await;
        if now() - begin > STALL {
            notes.lock().troubles.push(Trouble::over(Part::Machine, Kind::Freeze, begin));
        }
    }
}

/// Ends with the last fault, and fair weather.
async fn play_storm(storm: &[(u64, Step)], stage: &Arc<Stage>, crowd: &Crowd, watchers: &Arc<Watchers>) {
    let (begin, mut tasks) = (Instant::now(), JoinSet::new());
    for (at, step) in storm {
        sleep_until(begin + Duration::from_millis(*at)).await;
        match step.clone() {
            Step::Weather(weather) => stage.set_weather(weather),
            Step::Fault(fault) if matches!(fault.part, Part::Watcher(_)) => {
                let watchers = Arc::clone(watchers);
                tasks.spawn(async move { watchers.suffer(fault).await });
            }
            Step::Fault(fault) => {
                let stage = Arc::clone(stage);
                tasks.spawn(async move { stage.suffer(fault).await });
            }
            Step::Act(act) => {
                let crowd = crowd.clone();
                tasks.spawn(async move { crowd.act(act).await });
            }
        }
    }
    tasks.join_all().await;
    stage.set_weather(Weather::default());
}

/// Connects all players who have no device: a trial of a gateway is about those that it has.
async fn bring_back(crowd: &Crowd, players: u32) {
    let present: HashSet<_> = crowd.present().into_iter().collect();
    let absent: Vec<_> = (0..players).filter(|player| !present.contains(player)).collect();
    for some in absent.chunks(OPENING) {
        let open = |player: &u32| crowd.act(Act::Open(*player, *player as usize % GATEWAYS));
        join_all(some.iter().map(open)).await;
    }
}

/// Waits until each gateway has renewed its lease from now on. Responses may agree with the sockets earlier: as soon as a
/// frozen Redis resumes, if the leases of connections are longer than the freeze. Until then, the lease of a gateway may
/// have expired, and nothing can be said about what follows.
async fn until_renewed(notes: &Notes, limit: Duration) -> bool {
    let (begin, since) = (Instant::now(), now());
    loop {
        let renewed: HashSet<_> = {
            let history = notes.lock();
            let renewals = history.lease_calls.iter().filter(|call| !call.is_leaving && call.status.is_some());
            renewals.filter(|call| call.sent >= since).map(|call| call.gateway).collect()
        };
        if renewed.len() == GATEWAYS {
            return true;
        }
        if begin.elapsed() > limit {
            notes.mishap(format!("only the gateways {renewed:?} renewed their leases within {limit:?}"));
            return false;
        }
        sleep(TICK).await;
    }
}

/// Waits until there has been a rest since this was called, and since all servers must have noticed the last fault's end.
async fn rest(notes: &Notes) {
    let begin = now();
    loop {
        let calm_since = notes.lock().troubles.iter().map(|trouble| trouble.outage().1).fold(begin, Millis::max);
        if now() > calm_since + REST || now() > begin + MAX_REST {
            return;
        }
        sleep(TICK).await;
    }
}

/// Everybody says something once more, and everybody leaves.
async fn end(stage: &Stage, crowd: &Crowd, observer: &Observer, healing: Duration) {
    let order = [State::InQueue, State::Away, State::InMatch, State::Online];
    let mut said: BTreeMap<_, _> = crowd.present().into_iter().zip(order.into_iter().cycle()).collect();
    let since = now();
    let words: Vec<_> = said.iter().map(|(player, state)| Act::Say(*player, *state)).collect();
    for some in words.chunks(SAYING) {
        join_all(some.iter().map(|act| crowd.act(*act))).await;
        sleep(Duration::from_millis(50)).await;
    }
    if observer.agree(&said, healing).await.is_err() {
        // A machine that is busy for a lease's time lets players run out. Their states are forgotten, as promised.
        let ends = stage.events().await.into_iter().filter(|event| event.occurred_at >= since);
        ends.filter(|event| event.state == State::Offline).for_each(|event| _ = said.remove(&event.player));
        if !observer.until_said(&said, healing).await {
            return;
        }
    }
    for turn in 0.. {
        let present = crowd.present();
        if present.is_empty() {
            break;
        }
        let leave = |player: &u32| if turn % 2 == 0 { Act::Quit(*player) } else { Act::Break(*player) };
        join_all(present.iter().map(|player| crowd.act(leave(player)))).await;
        sleep(Duration::from_millis(10)).await; // until each socket's end is noted
    }
    observer.until_agreed(healing).await;
}

/// Waits until Redis holds nothing but the past.
async fn until_empty(stage: &Stage, notes: &Notes) {
    let begin = Instant::now();
    loop {
        let left = stage.store.leftovers().await;
        if left.is_empty() {
            return;
        }
        if begin.elapsed() > EMPTYING {
            return notes.mishap(format!("Redis still holds {left:?}"));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// A task that ends with its owner.
struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
