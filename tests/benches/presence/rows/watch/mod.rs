//! Watching players: the delay and cost of changes, and the memory per watched player.

mod watcher;

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use presence_tests::NatsServer;
use rand::{SeedableRng as _, rngs::StdRng};
use tokio::time::{sleep, sleep_until};

use crate::{
    cpu, http, players, redis,
    report::{Bar, Report},
};

pub(crate) use watcher::Watcher;

const PLAYERS: usize = 200_000;
const STREAMS: usize = 20;
/// Players watched per stream.
const WATCHED: usize = 10_000;

/// Transitions per second.
const RATES: [usize; 3] = [1_000, 2_000, 5_000];
/// The duration of the transitions at one rate.
const DURATION: Duration = Duration::from_secs(20);

/// Connections that set states.
const CALLERS: usize = 16;

/// Each round sets a state that differs from the one before, so that every call is a transition.
pub(crate) const STATES: [&str; 4] = ["IN_QUEUE", "IN_MATCH", "AWAY", "ONLINE"];

/// The default of `PRESENCE_WATCH_INTERVAL`.
const INTERVAL: Duration = Duration::from_millis(100);

/// Changes made one by one, without other load.
const SINGLE_CHANGES: usize = 100;

/// The time to wait for missing changes.
const MAX_SILENCE: Duration = Duration::from_secs(5);

/// One round of transitions.
pub(crate) struct Round {
    /// The time at which the response to each player's call arrived.
    responded_at: Vec<Instant>,
    /// CPU time of the service.
    pub(crate) spent: Duration,
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let variables = [("PRESENCE_NATS_URL", &*nats.url()), ("PRESENCE_TTL", "10m")];
    let (service, address) = super::server(&server, &variables).await;
    eprintln!("{} players connect …", players::thousands(PLAYERS));
    super::connect(&address, PLAYERS).await;
    let mut states = STATES.into_iter().cycle();
    let mut run_round = async |rate, text: &str| {
        eprintln!("{} transitions/s, {text} …", players::thousands(rate));
        set_states(
            &address,
            service.id(),
            rate,
            DURATION,
            states.next().unwrap_or_default(),
        )
        .await
    };

    let mut unwatched = Vec::new();
    for rate in RATES {
        unwatched.push(run_round(rate, "no streams").await.spent);
    }

    let memory = Memory::of(service.id());
    let mut watchers =
        join_all((0..STREAMS).map(|number| Watcher::open(&address, sample(number)))).await;
    watch(&mut watchers, false).await;
    memory.add_row(report, "watch: memory per watched player and stream");
    for (rate, unwatched) in RATES.into_iter().zip(unwatched.clone()) {
        watchers
            .iter()
            .for_each(|watcher| watcher.seen().arrivals.clear());
        let round = run_round(rate, "20 streams").await;
        add_rows(
            report,
            rate,
            &round,
            unwatched,
            &arrivals(&watchers, round.responded_at.len()).await,
        );
    }
    memory.add_row(report, "watch: memory after all transitions");
    change_one_by_one(report, &address, &watchers[0]).await;

    let memory = Memory::of(service.id());
    let mut stalled =
        join_all((0..STREAMS).map(|number| Watcher::with_small_buffer(&address, sample(number))))
            .await;
    watch(&mut stalled, false).await;
    stalled.iter().for_each(|watcher| watcher.reader.abort());
    run_round(RATES[2], "20 more streams that read nothing").await;
    memory.add_row(
        report,
        "watch: memory per player of a stream that reads nothing",
    );
    drop(stalled);

    reconnect(report, &address, watchers).await;
    sleep(Duration::from_secs(1)).await; // until the streams have ended
    let after = run_round(RATES[1], "no streams left").await;
    let to_micros_per_call =
        |spent: Duration| spent.as_secs_f64() * 1e6 / after.responded_at.len() as f64;
    let figure = format!(
        "{:.1} µs, before the first one {:.1} µs",
        to_micros_per_call(after.spent),
        to_micros_per_call(unwatched[1])
    );
    report.note(
        "watch: service CPU per transition after the last stream has ended",
        &figure,
    );
}

/// The memory of a process at the beginning of a measurement.
struct Memory {
    process: u32,
    before: f64,
}

impl Memory {
    fn of(process: u32) -> Self {
        Self {
            process,
            before: cpu::memory_of(process),
        }
    }

    /// Adds a row: the growth since the beginning, per watched player and stream.
    fn add_row(&self, report: &mut Report, what: &str) {
        let bytes = (cpu::memory_of(self.process) - self.before) * 1024.0 * 1024.0
            / (STREAMS * WATCHED) as f64;
        report.add(
            what,
            format!("{bytes:.0} bytes"),
            "–".to_owned(),
            bytes,
            Bar::AtMost(200.0),
        );
    }
}

/// Changes one player after the other, without other load.
async fn change_one_by_one(report: &mut Report, address: &str, watcher: &Watcher) {
    eprintln!("single changes …");
    let mut connection = http::Connection::open(address).await;
    let mut delays = Vec::new();
    for player in &watcher.players[..SINGLE_CHANGES] {
        sleep(3 * INTERVAL).await;
        watcher.seen().arrivals.clear();
        let body = format!(
            r#"{{"player_id":"{}","state":"AWAY"}}"#,
            players::player(*player)
        );
        connection.call(&http::post("/presence/state", &body)).await;
        let responded_at = Instant::now();
        while watcher.seen().arrivals.is_empty() {
            assert!(
                responded_at.elapsed() < MAX_SILENCE,
                "a change does not arrive"
            );
            sleep(Duration::from_millis(1)).await;
        }
        delays.push(
            watcher.seen().arrivals[0]
                .1
                .saturating_duration_since(responded_at),
        );
    }
    delays.sort_unstable();
    let [p50, p95] = [50, 95].map(|percent| delays[delays.len() * percent / 100]);
    let figure = format!("{p50:.0?}, {p95:.0?}");
    let bar = Bar::AtMost(INTERVAL.as_secs_f64() * 1e3 / 2.0);
    report.add(
        "watch: response to frame after a pause, p50 and p95",
        figure,
        "–".to_owned(),
        p95.as_secs_f64() * 1e3,
        bar,
    );
}

/// Ends all streams, and opens them again with the versions that the callers know.
async fn reconnect(report: &mut Report, address: &str, watchers: Vec<Watcher>) {
    eprintln!("reconnect …");
    let begin = Instant::now();
    let mut reconnected = join_all(watchers.iter().map(async |watcher| {
        let reconnected = Watcher::open(address, watcher.players.clone()).await;
        reconnected.seen().versions = watcher.seen().versions.clone();
        reconnected
    }))
    .await;
    drop(watchers);
    let end = watch(&mut reconnected, true).await;
    let took = format!("{:.0?}", end - begin);
    report.note("watch: reconnect of all streams with `known`", &took);
    let sent: usize = reconnected
        .iter()
        .map(|watcher| watcher.seen().arrivals.len())
        .sum();
    report.note(
        "watch: players sent again after it",
        &format!("{sent} of {}", players::thousands(STREAMS * WATCHED)),
    );
}

fn sample(number: usize) -> Vec<usize> {
    let mut rng = StdRng::seed_from_u64(number as u64);
    rand::seq::index::sample(&mut rng, PLAYERS, WATCHED).into_vec()
}

/// Watches all players on all streams. Returns when the last reply arrived.
pub(crate) async fn watch(watchers: &mut [Watcher], with_known: bool) -> Instant {
    join_all(watchers.iter_mut().map(|watcher| watcher.watch(with_known))).await;
    watchers
        .iter()
        .filter_map(|watcher| watcher.seen().last_reply)
        .max()
        .unwrap_or_else(Instant::now)
}

/// Sets the state of one player after the other at a rate.
pub(crate) async fn set_states(
    address: &str,
    service: u32,
    rate: usize,
    duration: Duration,
    state: &str,
) -> Round {
    let count = rate * duration.as_secs() as usize;
    let before = cpu::time_of(service);
    let start = Instant::now() + Duration::from_millis(50);
    let callers = (0..CALLERS).map(async |caller| {
        let mut connection = http::Connection::open(address).await;
        let mut responses = Vec::with_capacity(count / CALLERS + 1);
        for player in (caller..count).step_by(CALLERS) {
            let body = format!(
                r#"{{"player_id":"{}","state":"{state}"}}"#,
                players::player(player)
            );
            let request = http::post("/presence/state", &body);
            sleep_until((start + Duration::from_secs_f64(player as f64 / rate as f64)).into())
                .await;
            connection.call(&request).await;
            responses.push((player, Instant::now()));
        }
        responses
    });
    let mut responses: Vec<_> = join_all(callers).await.into_iter().flatten().collect();
    responses.sort_unstable();
    // The relay and the streams still process the last transitions.
    sleep(Duration::from_secs(1)).await;
    let spent = cpu::time_of(service) - before;
    Round {
        responded_at: responses.into_iter().map(|(_, at)| at).collect(),
        spent,
    }
}

/// Waits for the changes of the first `changed` players. Returns the arrivals and their expected
/// number.
async fn arrivals(watchers: &[Watcher], changed: usize) -> (Vec<(usize, Instant)>, usize) {
    let watched = watchers.iter().flat_map(|watcher| &watcher.players);
    let expected = watched.filter(|player| **player < changed).count();
    let mut last = 0;
    let mut last_change = Instant::now();
    loop {
        let arrived: usize = watchers
            .iter()
            .map(|watcher| watcher.seen().arrivals.len())
            .sum();
        if arrived > last {
            last = arrived;
            last_change = Instant::now();
        }
        if arrived >= expected || last_change.elapsed() > MAX_SILENCE {
            let all = watchers
                .iter()
                .flat_map(|watcher| std::mem::take(&mut watcher.seen().arrivals));
            return (all.collect(), expected);
        }
        sleep(Duration::from_millis(20)).await;
    }
}

fn add_rows(
    report: &mut Report,
    rate: usize,
    round: &Round,
    unwatched: Duration,
    (arrivals, expected): &(Vec<(usize, Instant)>, usize),
) {
    let label = format!("watch, {} transitions/s", players::thousands(rate));
    let measure_delay = |(player, at): &(usize, Instant)| {
        Some(at.saturating_duration_since(*round.responded_at.get(*player)?))
    };
    let mut delays: Vec<_> = arrivals.iter().filter_map(measure_delay).collect();
    delays.sort_unstable();
    let pick_percentile = |percent: usize| {
        delays
            .get(delays.len() * percent / 100)
            .copied()
            .unwrap_or_default()
    };
    let p50 = pick_percentile(50);
    let p99 = pick_percentile(99);
    report.add(
        &format!("{label}: response to frame, p50 and p99"),
        format!("{p50:.0?}, {p99:.0?}"),
        "–".to_owned(),
        p99.as_secs_f64() * 1e3,
        Bar::AtMost(300.0),
    );
    let missing = expected.abs_diff(delays.len()) as f64;
    report.add(
        &format!("{label}: missing or sent twice"),
        format!("{} entries", players::thousands(delays.len())),
        "–".to_owned(),
        missing,
        Bar::AtMost(0.0),
    );
    let transitions = round.responded_at.len() as f64;
    let [with, without] =
        [round.spent, unwatched].map(|spent| spent.as_secs_f64() * 1e6 / transitions);
    report.note(
        &format!("{label}: service CPU per transition"),
        &format!("{with:.0} µs with streams, {without:.0} µs without"),
    );
}
