//! Number of players: `GET /presence`.

use std::collections::BTreeSet;

use presence::{model::State, telemetry::TraceContext};
use presence_tests::{
    RedisCluster, RedisServer, Server, app, cluster_app, connection, connections, player,
};
use serde_json::json;

#[tokio::test]
async fn operators_get_players_by_state_and_connections() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let build_entry = |player: &str, id: &str| json!({"player_id": player, "connection_id": id});
    let connections = [
        build_entry("alice", "phone"),
        build_entry("alice", "desktop"),
        build_entry("bob", "phone"),
    ];
    server
        .post("/presence/connect", json!({"connections": connections}))
        .await;
    server
        .post(
            "/presence/state",
            json!({"player_id": "bob", "state": "IN_QUEUE"}),
        )
        .await;
    let mut response = server.get("/presence").await;
    assert!(
        response.body["as_of"]
            .take()
            .as_u64()
            .is_some_and(|millis| millis > 1_700_000_000_000)
    );
    let states = json!({"ONLINE": 1, "IN_QUEUE": 1, "IN_MATCH": 0, "AWAY": 0});
    let expected = json!({
        "as_of": null, "players": 2, "states": states, "connections": 3, "sampled": 2, "is_exact": true,
    });
    assert_eq!((response.status, response.body), (200, expected));
}

#[tokio::test]
async fn without_redis_the_count_is_an_error_and_not_a_wrong_number() {
    let mut redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    redis.kill();
    let response = server.get("/presence").await;
    assert_eq!(
        (response.status, response.body["type"].as_str()),
        (503, Some("urn:presence:store-unavailable"))
    );
}

#[tokio::test]
async fn few_players_are_counted_and_many_are_reckoned() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let presence = app.presence();
    let operator_queries = app.operator_queries();
    for n in 0..10 {
        presence
            .connect(
                &connection(&format!("p{n}"), "c"),
                &TraceContext::new_root(),
            )
            .await
            .unwrap();
    }
    presence
        .connect(&connection("p0", "second"), &TraceContext::new_root())
        .await
        .unwrap();
    presence
        .set_state(&player("p1"), State::InMatch, &TraceContext::new_root())
        .await
        .unwrap();
    let few = operator_queries.statistics().await.unwrap();
    assert_eq!(
        (
            few.players,
            few.states.online,
            few.states.in_match,
            few.connections
        ),
        (10, 9, 1, 11)
    );
    assert_eq!((few.sampled, few.is_exact), (10, true));

    let more: Vec<_> = (0..2_000)
        .map(|n| connection(&format!("q{n}"), "c"))
        .collect();
    presence
        .connect_batch(more, &TraceContext::new_root())
        .await
        .unwrap();
    let many = operator_queries.statistics().await.unwrap();
    assert_eq!(
        (many.players, many.sampled, many.is_exact),
        (2_010, 1_000, false)
    );
    assert!(
        many.states.online >= 2_000 && many.states.in_match <= 10,
        "{many:?}"
    );
}

#[tokio::test]
async fn players_of_a_cluster_are_counted() {
    let cluster = RedisCluster::start().await;
    let app = cluster_app(&cluster, &[]);
    let connections = connections(100);
    app.presence()
        .connect_batch(connections, &TraceContext::new_root())
        .await
        .unwrap();
    let statistics = app.operator_queries().statistics().await.unwrap();
    assert_eq!(
        (
            statistics.players,
            statistics.states.online,
            statistics.is_exact
        ),
        (100, 100, true)
    );
}

#[tokio::test]
async fn counting_takes_four_bounded_reads_however_many_players_there_are() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    let players = connections(5_000);
    app.presence()
        .connect_batch(players, &TraceContext::new_root())
        .await
        .unwrap();
    let mut raw = redis.connection().await;
    redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .exec_async(&mut raw)
        .await
        .unwrap();
    let statistics = app.operator_queries().statistics().await.unwrap();
    assert_eq!((statistics.players, statistics.sampled), (5_000, 1_000));
    let stats: String = redis::cmd("INFO")
        .arg("commandstats")
        .query_async(&mut raw)
        .await
        .unwrap();
    let calls: BTreeSet<_> = stats
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(',').next())
        .collect();
    let reads = [
        "mget:calls=1",
        "time:calls=2",
        "zcard:calls=1",
        "zrandmember:calls=1",
    ];
    assert_eq!(
        calls,
        BTreeSet::from_iter(reads.into_iter().chain(["config|resetstat:calls=1"]))
    );
}

#[tokio::test]
async fn what_is_malformed_does_not_take_the_other_players_number_away() {
    let redis = RedisServer::start().await;
    let app = app(&redis, &[]);
    app.presence()
        .connect_batch(connections(10), &TraceContext::new_root())
        .await
        .unwrap();
    let mut raw = redis.connection().await;
    redis::cmd("SET")
        .arg("presence:p3")
        .arg("not a record")
        .exec_async(&mut raw)
        .await
        .unwrap();
    redis::cmd("ZADD")
        .arg("presence:{all}:expiry")
        .arg(1e15)
        .arg(b"\xff")
        .exec_async(&mut raw)
        .await
        .unwrap();
    let statistics = app.operator_queries().statistics().await.unwrap();
    assert_eq!(
        statistics.states.online, 10,
        "9 of 10, of 11 members: {statistics:?}"
    );
}
