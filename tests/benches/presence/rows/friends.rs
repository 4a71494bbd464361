//! Friends: 500 players per call.

use ::redis::Cmd;

use crate::{
    cpu, http, players, redis,
    report::{Bar, Report},
};

const PLAYERS: usize = 100_000;
const FRIENDS: usize = 500;
const CALLS: usize = 2_000;
const CONNECTIONS: usize = 4;
const ROUNDS: usize = 3;

/// The players of a call, which are far apart in Redis and differ from call to call.
pub(crate) fn friends(call: usize, count: usize, players: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |n| (call * 7_919 + n * 104_729) % players)
}

pub(crate) fn body(ids: impl Iterator<Item = usize>) -> String {
    let ids = ids.map(|n| format!("\"{}\"", players::player(n)));
    format!(
        r#"{{"player_ids":[{}]}}"#,
        ids.collect::<Vec<_>>().join(",")
    )
}

fn mget(ids: impl Iterator<Item = usize>) -> Cmd {
    let mut mget = ::redis::cmd("MGET");
    for n in ids {
        mget.arg(format!("presence:{}", players::player(n)));
    }
    mget
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (service, address) = super::server(&server, &[]).await;
    super::connect(&address, PLAYERS).await;
    let mut connection = server.connection().await;
    let pick_friends = |call| friends(call, FRIENDS, PLAYERS);
    let requests: Vec<_> = (0..CALLS)
        .map(|call| http::post("/presence/friends", &body(pick_friends(call))))
        .collect();
    let commands: Vec<_> = (0..CALLS).map(|call| mget(pick_friends(call))).collect();

    let [mut ours, mut raw, mut service_time, mut redis_time] = [0.0; 4];
    for _ in 0..ROUNDS {
        let before = (
            cpu::time_of(service.id()),
            redis::cpu_time(&mut connection).await,
        );
        ours += http::load(&address, CONNECTIONS, &requests)
            .await
            .as_secs_f64();
        service_time += (cpu::time_of(service.id()) - before.0).as_secs_f64();
        redis_time += (redis::cpu_time(&mut connection).await - before.1).as_secs_f64();
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            connections.push(server.connection().await);
        }
        raw += redis::one_by_one(connections, &commands)
            .await
            .as_secs_f64();
    }
    let calls = (ROUNDS * CALLS) as f64;
    let format_rate = |seconds: f64| format!("{:.0} per second", calls / seconds);
    let format_micros = |seconds: f64| format!("{:.0} µs", seconds * 1e6 / calls);
    report.add(
        &format!("friends, {FRIENDS} per call"),
        format_rate(ours),
        format!("{} raw `MGET`", format_rate(raw)),
        raw / ours,
        Bar::AtLeast(0.9),
    );
    let reference = format!("{} Redis", format_micros(redis_time));
    report.add(
        &format!("service CPU, friends, {FRIENDS} per call"),
        format_micros(service_time),
        reference,
        service_time / redis_time,
        Bar::AtMost(0.55),
    );
}
