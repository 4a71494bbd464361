//! Changes of states, by the number of streams that watch the players.

use std::time::Duration;

use futures_util::future::join_all;
use presence_tests::NatsServer;

use super::{costs, draw};
use crate::{
    cpu, redis as bench,
    report::Report,
    rows::{
        self,
        watch::{self, STATES, Watcher},
    },
};

const STREAMS: [usize; 5] = [0, 1, 4, 16, 64];

/// Changes per second.
const RATE: usize = 1_000;
const DURATION: Duration = Duration::from_secs(5);

/// Each of them is changed once per measurement, and watched on all streams.
const PLAYERS: usize = RATE * DURATION.as_secs() as usize;

pub(super) async fn measure(report: &mut Report) {
    let server = bench::start().await;
    let nats = NatsServer::start().await;
    cpu::pin(nats.id(), "0,1");
    let variables = [("PRESENCE_NATS_URL", &*nats.url()), ("PRESENCE_TTL", "10m")];
    let (server_process, address) = rows::server(&server, &variables).await;
    rows::connect(&address, PLAYERS).await;

    let mut watchers = Vec::new();
    let mut service = Vec::new();
    let mut redis = Vec::new();
    for (streams, state) in STREAMS.into_iter().zip(STATES.into_iter().cycle()) {
        let new = streams - watchers.len();
        let mut opened =
            join_all((0..new).map(|_| Watcher::open(&address, (0..PLAYERS).collect()))).await;
        watch::watch(&mut opened, false).await;
        watchers.append(&mut opened);

        let before = cpu::time_of_threads(server.id());
        let round = watch::set_states(&address, server_process.id(), RATE, DURATION, state).await;
        let theirs = cpu::time_of_threads(server.id()) - before;
        let [ours, theirs] =
            [round.spent, theirs].map(|time| time.as_secs_f64() * 1e6 / PLAYERS as f64);
        report.note(
            &format!("changes of states, {streams} streams"),
            &costs(ours, theirs),
        );
        service.push(ours);
        redis.push(theirs);
    }
    let title = "µs of CPU per change of a state, 1,000 per second";
    draw(
        "watchers",
        title,
        "streams that watch the player",
        &STREAMS,
        redis,
        service,
    );
}
