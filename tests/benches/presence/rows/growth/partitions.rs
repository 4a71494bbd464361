//! Heartbeats in a cluster of three masters, by the number of partitions.

use super::{costs, draw};
use crate::{
    cpu, http,
    players::thousands,
    report::Report,
    rows::{self, cluster},
};

const PARTITIONS: [usize; 5] = [4, 16, 64, 256, 1_024];
const PLAYERS: usize = 50_000;
const ROUNDS: usize = 4;

pub(super) async fn measure(report: &mut Report) {
    let mut service = Vec::new();
    let mut redis = Vec::new();
    for partitions in PARTITIONS {
        let [ours, theirs] = measure_partitions(partitions).await;
        report.note(
            &format!("heartbeats in {} partitions", thousands(partitions)),
            &costs(ours, theirs),
        );
        service.push(ours);
        redis.push(theirs);
    }
    let title = "µs of CPU per heartbeat, in batches of 1,000, three masters";
    draw(
        "partitions",
        title,
        "partitions",
        &PARTITIONS,
        redis,
        service,
    );
}

/// The CPU time of the service and of all masters in µs per heartbeat.
async fn measure_partitions(partitions: usize) -> [f64; 2] {
    let masters = cluster::start_cluster().await;
    let count = partitions.to_string();
    let variables = [("PRESENCE_CLUSTER_PARTITIONS", &*count)];
    let (server, address) = rows::cluster_server(&masters, &variables).await;
    rows::connect(&address, PLAYERS).await;
    let heartbeats: Vec<_> = rows::batches("/presence/heartbeat", PLAYERS).collect();
    http::load(&address, 4, &heartbeats).await; // to warm up
    let read_spent = || {
        let redis = masters.ids().into_iter().map(cpu::time_of_threads).sum();
        [cpu::time_of_threads(server.id()), redis]
    };
    let before = read_spent();
    for _ in 0..ROUNDS {
        http::load(&address, 4, &heartbeats).await;
    }
    let after = read_spent();
    [0, 1].map(|process| {
        (after[process] - before[process]).as_secs_f64() * 1e6 / (ROUNDS * PLAYERS) as f64
    })
}
