//! Script calls for players with the maximum number of connections.

use presence::{
    model::{Connection, Reason},
    telemetry::TraceContext,
};
use presence_tests::{connection, service};

use crate::{redis, report::Report};

/// Players per script call.
const PLAYERS: usize = 50;

/// The largest value that `PRESENCE_MAX_CONNECTIONS` accepts.
const MAX_CONNECTIONS: usize = 256;

/// The connection with this number of each player.
fn connection_of_each(number: usize) -> Vec<Connection> {
    (0..PLAYERS)
        .map(|player| connection(&format!("p{player}"), &format!("connection-{number:04}")))
        .collect()
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let limit = MAX_CONNECTIONS.to_string();
    let presence = service(&server, &[("PRESENCE_MAX_CONNECTIONS", &limit)]);
    let trace = TraceContext::new_root();
    for number in 0..MAX_CONNECTIONS {
        presence
            .connect_batch(connection_of_each(number), &trace)
            .await
            .expect("a result");
    }
    presence
        .heartbeat_batch(connection_of_each(0), &trace)
        .await
        .expect("a result"); // Redis caches the script

    let mut raw = server.connection().await;
    redis::reset(&mut raw).await;
    let mut note = async |what: &str| {
        // The only disconnect is the first one, which sends the script's source (EVAL).
        let spent = redis::spent(&mut raw, "evalsha").await + redis::spent(&mut raw, "eval").await;
        redis::reset(&mut raw).await;
        report.note(
            &format!("one call, {PLAYERS} players with {MAX_CONNECTIONS} connections each: {what}"),
            &format!("{:.1} ms", spent.as_secs_f64() * 1e3),
        );
    };
    presence
        .heartbeat_batch(connection_of_each(0), &trace)
        .await
        .expect("a result");
    note("heartbeat").await;
    presence
        .connect_batch(connection_of_each(MAX_CONNECTIONS), &trace)
        .await
        .expect("a result");
    note("connect of one more").await;
    presence
        .disconnect_batch(connection_of_each(5), Reason::Quit, &trace)
        .await
        .expect("a result");
    note("disconnect").await;
}
