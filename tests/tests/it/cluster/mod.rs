//! Redis Cluster, of real processes.

mod batches;
mod calls;
mod costs;
mod failover;
mod faults;
mod moves;
mod partitions;
mod secured;
mod turns;

use presence::{
    PresenceService,
    model::{Connection, PlayerId, State},
};
use presence_tests::{RedisCluster, player, record_key};

/// Enough for each node to have some.
const PLAYERS: usize = 300;

fn connections() -> Vec<Connection> {
    presence_tests::connections(PLAYERS)
}

fn players() -> Vec<PlayerId> {
    (0..PLAYERS).map(|n| player(&format!("p{n}"))).collect()
}

fn record(connection: &Connection) -> String {
    record_key(connection.player_id.as_str())
}

/// The connections of the players whose partitions a node holds.
fn held_by(cluster: &RedisCluster, number: usize) -> Vec<Connection> {
    connections()
        .into_iter()
        .filter(|connection| cluster.holds(number, &record(connection)))
        .collect()
}

async fn are_online(presence: &PresenceService, players: &[PlayerId]) -> bool {
    let snapshot = presence.presences(players, false).await.unwrap();
    snapshot
        .presences
        .iter()
        .all(|presence| presence.state == State::Online)
}
