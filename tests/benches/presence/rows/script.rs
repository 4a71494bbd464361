//! The heartbeat script against the least script that could do, and against another presence
//! service's.

use ::redis::aio::MultiplexedConnection;

use crate::{
    redis::{self, CENTRIFUGO, LEAST, UNCHECKED},
    report::{Bar, Report},
};

const PLAYERS: usize = 50_000;

/// Rounds of all players; the best of them counts, for both alike.
const ROUNDS: usize = 5;

/// All players, in no order: sorted ones are easy to find again in a sorted set.
fn scattered() -> impl Iterator<Item = usize> {
    (0..PLAYERS).map(|n| n * 7_919 % PLAYERS)
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (_service, address) = super::server(&server, &[]).await;
    super::connect(&address, PLAYERS).await;
    let mut connection = server.connection().await;
    let own = redis::load(&mut connection, &redis::heartbeat_script()).await;
    let own_batch = redis::load(&mut connection, &redis::batch_script()).await;
    let least = redis::load(&mut connection, LEAST).await;
    let unchecked = redis::load(&mut connection, UNCHECKED).await;
    let centrifugo = redis::load(&mut connection, CENTRIFUGO).await;

    let [mut ours, mut bulk, mut theirs, mut bare, mut other] = [f64::MAX; 5];
    redis::reset(&mut connection).await;
    for round in 0..ROUNDS {
        redis::pipelined(
            &connection,
            scattered().map(|n| redis::heartbeat(&own, n)),
            500,
        )
        .await;
        ours = ours.min(spent(&mut connection).await);
        redis::pipelined(
            &connection,
            (0..PLAYERS)
                .step_by(50)
                .map(|n| redis::heartbeat_batch(&own_batch, n..n + 50)),
            10,
        )
        .await;
        bulk = bulk.min(spent(&mut connection).await);
        redis::pipelined(
            &connection,
            scattered().map(|n| redis::least(&least, n)),
            500,
        )
        .await;
        theirs = theirs.min(spent(&mut connection).await);
        redis::pipelined(
            &connection,
            scattered().map(|n| redis::heartbeat(&unchecked, n)),
            500,
        )
        .await;
        bare = bare.min(spent(&mut connection).await);
        redis::pipelined(
            &connection,
            scattered().map(|n| redis::centrifugo(&centrifugo, n, 15 * round)),
            500,
        )
        .await;
        other = other.min(spent(&mut connection).await);
    }
    let format_micros = |seconds: f64| format!("{:.2} µs", seconds * 1e6 / PLAYERS as f64);
    let reference = format!("{} least script", format_micros(theirs));
    report.add(
        "heartbeat script, one player per call",
        format_micros(ours),
        reference.clone(),
        ours / theirs,
        Bar::AtMost(1.75),
    );
    let share = format!(
        "{}, {:.2} of the least script",
        format_micros(bare),
        bare / theirs
    );
    report.note("the same commands, unchecked", &share);
    report.add(
        "heartbeat script, 50 players per call",
        format_micros(bulk),
        reference,
        bulk / theirs,
        Bar::AtMost(1.15),
    );
    report.add(
        "heartbeat script, one player per call",
        format_micros(ours),
        format!("{} Centrifugo's script", format_micros(other)),
        ours / other,
        Bar::AtMost(0.65),
    );
}

/// The time that the scripts took since the last call, in seconds.
async fn spent(connection: &mut MultiplexedConnection) -> f64 {
    let spent = redis::spent(connection, "evalsha").await;
    redis::reset(connection).await;
    spent.as_secs_f64()
}
