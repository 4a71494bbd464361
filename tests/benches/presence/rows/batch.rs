//! Batch heartbeats, end to end.

use crate::{
    cpu, http, players,
    redis::{self, LEAST},
    report::{Bar, Report},
};

const PLAYERS: usize = 200_000;

/// Rounds of all players for each way; they take turns.
const ROUNDS: usize = 3;

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (service, address) = super::server(&server, &[]).await;
    super::connect(&address, PLAYERS).await;
    let connection = server.connection().await;
    let own = redis::load(&mut connection.clone(), &redis::batch_script()).await;
    let least = redis::load(&mut connection.clone(), LEAST).await;
    let requests: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    http::load(&address, 4, &requests).await;

    let [mut ours, mut script, mut bare] = [0.0; 3];
    let mut service_time = 0.0;
    for _ in 0..ROUNDS {
        let before = cpu::time_of(service.id());
        ours += http::load(&address, 4, &requests).await.as_secs_f64();
        service_time += (cpu::time_of(service.id()) - before).as_secs_f64();
        let calls = (0..PLAYERS)
            .step_by(50)
            .map(|n| redis::heartbeat_batch(&own, n..n + 50));
        script += redis::pipelined(&connection, calls, 20).await.as_secs_f64();
        bare += redis::pipelined(
            &connection,
            (0..PLAYERS).map(|n| redis::least(&least, n)),
            1_000,
        )
        .await
        .as_secs_f64();
    }
    let heartbeats = (ROUNDS * PLAYERS) as f64;
    let format_rate = |seconds: f64| format!("{:.0} per second", heartbeats / seconds);
    let what = "batch heartbeats of 1,000";
    report.add(
        what,
        format_rate(ours),
        format!("{} least script", format_rate(bare)),
        bare / ours,
        Bar::AtLeast(0.9),
    );
    report.add(
        what,
        format_rate(ours),
        format!("{} own script", format_rate(script)),
        script / ours,
        Bar::AtLeast(0.95),
    );
    let micros = service_time * 1e6 / heartbeats;
    report.add(
        "service CPU per heartbeat, in batches",
        format!("{micros:.2} µs"),
        "–".to_owned(),
        micros,
        Bar::AtMost(0.5),
    );
    let memory = cpu::peak_memory_of(service.id());
    report.add(
        &format!("service peak RSS, {} players", players::thousands(PLAYERS)),
        format!("{memory:.0} MiB"),
        "–".to_owned(),
        memory,
        Bar::AtMost(64.0),
    );
}
