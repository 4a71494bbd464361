//! Redis memory per player.

use crate::{
    redis,
    report::{Bar, Report},
};

const PLAYERS: usize = 200_000;

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (_service, address) = super::server(&server, &[]).await;
    let mut connection = server.connection().await;
    let before = redis::number(&mut connection, "memory", "used_memory").await;
    super::connect(&address, PLAYERS).await;
    let heartbeats: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
    crate::http::load(&address, 4, &heartbeats).await;
    let after = redis::number(&mut connection, "memory", "used_memory").await;
    let bytes = (after - before) / PLAYERS as f64;
    report.add(
        "Redis memory per player",
        format!("{bytes:.0} bytes"),
        "–".to_owned(),
        bytes,
        Bar::AtMost(500.0),
    );
}
