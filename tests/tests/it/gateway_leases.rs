//! Leases of gateways: a crash is one fact, a planned restart is invisible.

use std::time::Duration;

use presence::{
    events::RelaySignal,
    model::{
        Activity, Connection, DisconnectReason, GatewayId, GatewayStatus, OwnedConnection, OwnedConnections,
        PresenceState,
    },
    runtime::App,
    trace::TraceContext,
};
use presence_tests::{
    NatsServer, RedisCluster, RedisServer, Server, app, cluster_app, connection, connections, player,
};
use redis::AsyncTypedCommands as _;
use serde_json::{Value, json};

const GATEWAY_TTL: Duration = Duration::from_millis(7_500);

/// Past the expiry of a gateway's lease.
const EXPIRY: Duration = Duration::from_secs(8);

fn gateway(id: &str) -> GatewayId {
    GatewayId::parse(id).unwrap()
}

/// A service on a Redis whose clock tests move on.
struct Fixture {
    redis: RedisServer,
    app: App,
    trace: TraceContext,
}

impl Fixture {
    async fn new(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let app = app(&redis, variables);
        Self { redis, app, trace: TraceContext::new_root() }
    }

    async fn renew(&self, id: &str) -> GatewayStatus {
        self.app.presence().renew_gateway(&gateway(id)).await.unwrap()
    }

    async fn leave(&self, id: &str, reason: DisconnectReason) -> u64 {
        self.app.presence().leave_gateway(&gateway(id), reason, &self.trace).await.unwrap()
    }

    async fn connect(&self, connection: &Connection, id: &str) {
        let owned = OwnedConnection { connection, gateway: Some(&gateway(id)) };
        self.app.presence().connect(owned, &self.trace).await.unwrap();
    }

    async fn heartbeat(&self, connection: &Connection, id: Option<&str>) {
        let id = id.map(gateway);
        let owned = OwnedConnection { connection, gateway: id.as_ref() };
        self.app.presence().heartbeat(owned, &self.trace).await.unwrap();
    }

    /// Sweeps gateways; returns the number of leases ended.
    async fn sweep(&self) -> u64 {
        self.app.gateway_sweeper(RelaySignal::default()).pass().await.unwrap()
    }

    /// Lets a time go by in which sweeps do not pause.
    async fn pass(&self, elapsed: Duration) {
        for _ in 0..2 {
            self.redis.pass(elapsed / 2).await;
            if elapsed >= GATEWAY_TTL {
                self.redis
                    .connection()
                    .await
                    .hset("presence:{all}:gateways-seen", "seen", self.now().await)
                    .await
                    .unwrap();
            }
        }
    }

    async fn now(&self) -> u64 {
        let (seconds, micros): (u64, u64) =
            redis::cmd("TIME").query_async(&mut self.redis.connection().await).await.unwrap();
        seconds * 1_000 + micros / 1_000
    }

    async fn state(&self, id: &str) -> (PresenceState, u32) {
        let presence = self.app.presence().presences(&[player(id)], false).await.unwrap().presences.remove(0);
        (presence.state, presence.connection_count)
    }

    async fn activities<const N: usize>(&self, ids: [&str; N]) -> [Option<Activity>; N] {
        let read = self.app.presence().presences(&ids.map(player), false).await.unwrap();
        <[_; N]>::try_from(read.presences).unwrap().map(|presence| presence.activity)
    }

    async fn owners(&self) -> Vec<String> {
        self.redis.connection().await.zrange("presence:{all}:owners", 0, -1).await.unwrap()
    }
}

const ONLINE: (PresenceState, u32) = (PresenceState::Online, 1);
const OFFLINE: (PresenceState, u32) = (PresenceState::Offline, 0);

#[tokio::test]
async fn a_gateway_is_new_until_it_is_known_and_again_after_its_connections_were_ended() {
    let it = Fixture::new(&[]).await;
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
    assert_eq!(it.renew("g1").await, GatewayStatus::Alive);
    it.sweep().await;
    it.pass(EXPIRY).await;
    assert_eq!(it.renew("g1").await, GatewayStatus::Alive, "expired, and no sweep came");
    it.pass(EXPIRY).await;
    it.sweep().await;
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
    it.leave("g1", DisconnectReason::Quit).await;
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
}

#[tokio::test]
async fn a_lost_gateway_ends_the_leases_of_its_connections_and_of_no_others() {
    let it = Fixture::new(&[]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    it.connect(&connection("bob", "c2"), "g1").await;
    it.connect(&connection("bob", "c3"), "g2").await;
    it.connect(&connection("carol", "c4"), "g2").await;
    it.sweep().await;
    it.pass(EXPIRY).await;
    assert_eq!(it.sweep().await, 2);
    assert_eq!((it.state("alice").await, it.state("bob").await, it.state("carol").await), (OFFLINE, ONLINE, ONLINE));
    assert_eq!(it.owners().await, ["g2!bob c3", "g2!carol c4"]);
    it.pass(EXPIRY).await;
    assert_eq!(it.sweep().await, 0, "a gateway without a lease cannot expire");
    assert_eq!(it.state("carol").await, ONLINE);
}

#[tokio::test]
async fn ended_is_not_closed_and_belongs_to_no_gateway() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    assert_eq!(it.leave("g1", DisconnectReason::Lost).await, 1);
    it.heartbeat(&alice, None).await;
    assert_eq!(it.state("alice").await, ONLINE);
    it.renew("g1").await;
    assert_eq!(it.leave("g1", DisconnectReason::Lost).await, 0);
    it.heartbeat(&alice, Some("g1")).await;
    it.renew("g1").await;
    assert_eq!(it.leave("g1", DisconnectReason::Lost).await, 1);
}

#[tokio::test]
async fn a_sign_out_closes_connections_that_were_ended() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    it.leave("g1", DisconnectReason::Lost).await;
    it.app.presence().set_state(&alice.player_id, PresenceState::Offline, &it.trace).await.unwrap();
    assert!(it.app.presence().heartbeat(&alice, &it.trace).await.is_err());
}

#[tokio::test]
async fn a_sign_out_in_the_grace_closes_the_connections_of_a_gateway_that_has_ended() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    for (player_id, reason) in [("alice", DisconnectReason::Lost), ("bob", DisconnectReason::Moving)] {
        let devices = ["C1", "c2"].map(|id| connection(player_id, &format!("{id}-{player_id}")));
        it.renew("g1").await;
        for device in &devices {
            it.connect(device, "g1").await;
        }
        assert_eq!(it.leave("g1", reason).await, 2);
        assert_eq!(it.state(player_id).await, (PresenceState::Online, 0));
        // What is set meanwhile changes nothing about that.
        it.app.presence().set_state(&player(player_id), PresenceState::InMatch, &it.trace).await.unwrap();
        assert_eq!(it.state(player_id).await, (PresenceState::InMatch, 0));
        it.app.presence().set_state(&player(player_id), PresenceState::Offline, &it.trace).await.unwrap();
        for device in &devices {
            assert!(it.app.presence().heartbeat(device, &it.trace).await.is_err(), "{reason:?} {device:?}");
        }
        assert_eq!(it.state(player_id).await, OFFLINE);
    }
}

#[tokio::test]
async fn a_connection_that_returns_in_the_grace_is_restored_without_an_event() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    let devices = ["c1", "c2"].map(|id| connection("alice", id));
    it.renew("g1").await;
    for device in &devices {
        it.connect(device, "g1").await;
    }
    let set = it.app.presence().set_state(&player("alice"), PresenceState::Away, &it.trace).await.unwrap();
    it.leave("g1", DisconnectReason::Lost).await;
    let explained = it.app.insight().explain(&player("alice")).await.unwrap();
    assert!(explained.connections.is_empty(), "{explained:?}");
    assert_eq!(explained.next_transition.unwrap().reason.as_deref(), Some("lost"));
    for (device, count) in devices.iter().zip(1..) {
        let back = it.app.presence().heartbeat(device, &it.trace).await.unwrap();
        assert_eq!((back.state, back.connection_count, back.version), (PresenceState::Away, count, set.version));
    }
    it.redis.pass(Duration::from_secs(30)).await;
    assert_eq!(it.state("alice").await, (PresenceState::Away, 2));
}

#[tokio::test]
async fn after_the_grace_of_a_lost_gateway_a_sign_out_closes_its_connections_as_well() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    let alice = connection("alice", "c1");
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    it.leave("g1", DisconnectReason::Lost).await;
    it.redis.pass(Duration::from_secs(21)).await;
    it.app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert_eq!(it.state("alice").await, OFFLINE);
    it.app.presence().set_state(&alice.player_id, PresenceState::Offline, &it.trace).await.unwrap();
    assert!(it.app.presence().heartbeat(&alice, &it.trace).await.is_err());
}

#[tokio::test]
async fn a_call_that_names_no_gateway_leaves_the_ownership_and_one_that_does_moves_it() {
    let it = Fixture::new(&[]).await;
    let devices = [connection("alice", "c1"), connection("alice", "c2"), connection("bob", "c3")];
    it.renew("g1").await;
    for device in &devices {
        it.connect(device, "g1").await;
        it.heartbeat(device, None).await;
    }
    it.app.presence().set_state(&player("bob"), PresenceState::InMatch, &it.trace).await.unwrap();
    it.heartbeat(&devices[2], None).await;
    assert_eq!(it.owners().await, ["g1!alice c1", "g1!alice c2", "g1!bob c3"]);
    it.heartbeat(&devices[0], Some("g2")).await;
    assert_eq!(it.owners().await, ["g1!alice c2", "g1!bob c3", "g2!alice c1"]);
    assert_eq!(it.leave("g1", DisconnectReason::Quit).await, 2);
    assert_eq!((it.state("alice").await, it.state("bob").await), (ONLINE, OFFLINE));
}

#[tokio::test]
async fn the_owners_follow_every_end_of_a_lease() {
    let it = Fixture::new(&[("PRESENCE_MAX_CONNECTIONS", "2")]).await;
    for id in ["c1", "c2", "c3"] {
        it.connect(&connection("alice", id), "g1").await;
    }
    assert_eq!(it.owners().await, ["g1!alice c2", "g1!alice c3"], "evicted");
    it.app.presence().disconnect(&connection("alice", "c2"), DisconnectReason::Quit, &it.trace).await.unwrap();
    assert_eq!(it.owners().await, ["g1!alice c3"], "disconnected");
    it.app.presence().set_state(&player("alice"), PresenceState::Offline, &it.trace).await.unwrap();
    assert!(it.owners().await.is_empty(), "signed out");
    it.connect(&connection("bob", "c4"), "g1").await;
    it.redis.pass(Duration::from_secs(46)).await;
    it.app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert!(it.owners().await.is_empty(), "expired");
}

#[tokio::test]
async fn moving_keeps_state_and_version_for_the_grace_and_makes_no_event() {
    let nats = NatsServer::start().await;
    let it = Fixture::new(&[("PRESENCE_NATS_URL", &nats.url())]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    it.connect(&connection("bob", "c2"), "g1").await;
    let played =
        it.app.presence().set_state(&player("alice"), PresenceState::InMatch, &it.trace).await.unwrap().version;
    assert_eq!(it.leave("g1", DisconnectReason::Moving).await, 2);
    assert_eq!(it.leave("g1", DisconnectReason::Moving).await, 0, "a second call");
    assert_eq!(it.leave("unknown", DisconnectReason::Moving).await, 0);
    assert_eq!(it.state("alice").await, (PresenceState::InMatch, 0));
    it.redis.pass(Duration::from_secs(29)).await;
    let back = it.app.presence().connect(&connection("alice", "c3"), &it.trace).await.unwrap();
    assert_eq!((back.state, back.version, back.connection_count), (PresenceState::InMatch, played, 1));
    it.redis.pass(Duration::from_secs(2)).await;
    it.app.sweeper(RelaySignal::default()).pass().await.unwrap();
    assert_eq!(it.state("bob").await, OFFLINE);
    it.app.relay().unwrap().pass().await.unwrap();
    let messages = nats.messages("PRESENCE_EVENTS").await;
    let events: Vec<Value> = messages.iter().map(|message| serde_json::from_slice(&message.payload).unwrap()).collect();
    let reasons: Vec<_> = events.iter().map(|event| event["reason"].as_str().unwrap()).collect();
    assert_eq!(reasons, ["connect", "connect", "set_state", "lost"]);
}

/// The texts in it mean something in what Redis holds of leases and owners.
#[tokio::test]
async fn an_activity_ends_with_the_last_lease_of_a_gateway_and_stays_with_another_or_through_a_move() {
    let it = Fixture::new(&[]).await;
    let json = r#"{"details":";c1!g1 \"}\\ 😀\u2028","custom":{"!g1":[";c2!g2","g1!alice c1",{}]}}"#;
    let activity: Activity = serde_json::from_str(json).unwrap();
    let devices = [("alice", "c1", "g1"), ("bob", "c1", "g1"), ("bob", "c2", "g2"), ("carol", "c1", "g2")];
    let devices = devices.map(|(player, id, gateway)| (connection(player, id), gateway));
    it.renew("g1").await;
    for (device, gateway) in &devices {
        it.connect(device, gateway).await;
    }
    for id in ["alice", "bob", "carol"] {
        it.app.presence().set_state(&player(id), activity.clone(), &it.trace).await.unwrap();
    }
    for (device, gateway) in &devices {
        it.heartbeat(device, Some(gateway)).await;
    }
    it.sweep().await;
    it.pass(EXPIRY).await;
    assert_eq!(it.sweep().await, 2);
    assert_eq!((it.state("alice").await, it.state("bob").await), (OFFLINE, ONLINE));
    assert_eq!(it.activities(["alice", "bob", "carol"]).await, [None, Some(activity.clone()), Some(activity.clone())]);
    it.renew("g2").await;
    assert_eq!(it.leave("g2", DisconnectReason::Moving).await, 2);
    for (id, after) in [("bob", connection("bob", "c3")), ("carol", connection("carol", "c3"))] {
        assert_eq!(it.state(id).await, (PresenceState::Online, 0));
        it.connect(&after, "g3").await;
        it.heartbeat(&after, Some("g3")).await;
    }
    assert_eq!(it.activities(["bob", "carol"]).await, [Some(activity.clone()), Some(activity)]);
}

#[tokio::test]
async fn a_gateway_that_leaves_on_purpose_ends_at_once_and_a_lost_one_after_the_grace() {
    let it = Fixture::new(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    for (reason, after) in [(DisconnectReason::Quit, OFFLINE), (DisconnectReason::Lost, (PresenceState::Online, 0))] {
        it.renew("g1").await;
        it.connect(&connection("alice", &format!("{reason:?}")), "g1").await;
        assert_eq!(it.leave("g1", reason).await, 1);
        assert_eq!(it.state("alice").await, after, "{reason:?}");
    }
}

#[tokio::test]
async fn a_disconnect_that_moves_closes_its_connection() {
    let it = Fixture::new(&[]).await;
    let alice = connection("alice", "c1");
    it.connect(&alice, "g1").await;
    it.app.presence().disconnect(&alice, DisconnectReason::Moving, &it.trace).await.unwrap();
    assert_eq!(it.state("alice").await, (PresenceState::Online, 0));
    assert!(it.app.presence().heartbeat(&alice, &it.trace).await.is_err());
}

#[tokio::test]
async fn half_of_the_gateways_at_once_are_held_for_one_ttl_and_not_longer() {
    let it = Fixture::new(&[]).await;
    for id in ["g1", "g2", "g3", "g4"] {
        it.renew(id).await;
    }
    it.connect(&connection("alice", "c1"), "g1").await;
    it.connect(&connection("bob", "c2"), "g2").await;
    it.sweep().await;
    it.redis.pass(Duration::from_secs(6)).await;
    it.sweep().await;
    it.renew("g3").await;
    it.renew("g4").await;
    it.redis.pass(Duration::from_secs(2)).await;
    assert_eq!(it.sweep().await, 0, "held");
    assert_eq!(it.renew("g2").await, GatewayStatus::Alive);
    it.redis.pass(Duration::from_secs(5)).await;
    it.renew("g2").await;
    it.renew("g3").await;
    it.renew("g4").await;
    assert_eq!(it.sweep().await, 0, "still held");
    it.redis.pass(Duration::from_secs(3)).await;
    assert_eq!(it.sweep().await, 1, "no longer");
    assert_eq!((it.state("alice").await, it.state("bob").await), (OFFLINE, ONLINE));
}

#[tokio::test]
async fn after_a_pause_of_the_sweeps_nothing_ends_for_one_ttl() {
    let it = Fixture::new(&[]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    it.sweep().await;
    it.redis.pass(Duration::from_secs(20)).await;
    for _ in ["one sweeper", "another"] {
        assert_eq!(it.sweep().await, 0);
    }
    it.redis.pass(Duration::from_secs(4)).await;
    assert_eq!(it.sweep().await, 0);
    it.redis.pass(Duration::from_secs(4)).await;
    assert_eq!(it.sweep().await, 1);
    assert_eq!(it.state("alice").await, OFFLINE);
}

#[tokio::test]
async fn a_flush_is_not_an_outage() {
    let it = Fixture::new(&[]).await;
    it.sweep().await;
    redis::cmd("FLUSHALL").exec_async(&mut it.redis.connection().await).await.unwrap();
    assert_eq!(it.renew("g1").await, GatewayStatus::New);
    it.connect(&connection("alice", "c1"), "g1").await;
    it.redis.pass(EXPIRY).await;
    assert_eq!(it.sweep().await, 1);
}

#[tokio::test]
async fn connections_that_were_renewed_after_the_gateway_was_lost_stay() {
    let it = Fixture::new(&[]).await;
    let (alice, bob) = (connection("alice", "c1"), connection("bob", "c2"));
    it.renew("g1").await;
    it.connect(&alice, "g1").await;
    it.connect(&bob, "g1").await;
    it.sweep().await;
    // Lost a second ago; its connections have not been ended yet.
    let member = format!("g1!{}!lost!0", it.now().await);
    it.redis.connection().await.zadd("presence:{all}:gateways-ending", member, 0).await.unwrap();
    it.redis.pass(Duration::from_secs(1)).await;
    it.heartbeat(&alice, Some("g1")).await;
    assert_eq!(it.sweep().await, 1);
    assert_eq!((it.state("alice").await, it.state("bob").await), (ONLINE, OFFLINE));
}

#[tokio::test]
async fn strange_and_missing_entries_of_the_owners_cost_no_correctness() {
    let it = Fixture::new(&[]).await;
    it.renew("g1").await;
    it.connect(&connection("alice", "c1"), "g1").await;
    let mut raw = it.redis.connection().await;
    for member in ["g1!alice c9", "g1!nonsense", "g1!bob c2"] {
        raw.zadd("presence:{all}:owners", member, 0).await.unwrap();
    }
    assert_eq!(it.leave("g1", DisconnectReason::Lost).await, 1);
    assert!(it.owners().await.is_empty());
    raw.set("presence:{all}:owners", "text").await.unwrap();
    it.renew("g1").await;
    it.connect(&connection("alice", "c2"), "g1").await;
    assert_eq!(it.leave("g1", DisconnectReason::Lost).await, 0);
    assert_eq!(it.state("alice").await, ONLINE);
}

#[tokio::test]
async fn three_sweepers_end_each_of_3000_leases_once_in_a_cluster() {
    let cluster = RedisCluster::start().await;
    let apps =
        [(); 3].map(|()| cluster_app(&cluster, &[("PRESENCE_MAX_BATCH", "3000"), ("PRESENCE_GATEWAY_TTL", "100ms")]));
    let (presence, trace) = (apps[0].presence(), TraceContext::new_root());
    let owned = OwnedConnections { connections: connections(3_000), gateway: Some(gateway("g1")) };
    presence.connect_batch(owned, &trace).await.unwrap();
    let lone = OwnedConnections { connections: connections(10), gateway: None };
    presence.heartbeat_batch(lone, &trace).await.unwrap();
    presence.renew_gateway(&gateway("g1")).await.unwrap();
    assert_eq!(apps[0].insight().gateways().await.unwrap().gateways[0].connections, 3_000);
    while apps[0].insight().gateways().await.unwrap().gateways[0].expires_in_ms > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let sweepers = apps.each_ref().map(|app| app.gateway_sweeper(RelaySignal::default()));
    let ended = futures_util::future::try_join_all(sweepers.each_ref().map(|sweeper| sweeper.pass())).await.unwrap();
    assert_eq!(ended.iter().sum::<u64>(), 3_000);
    assert_eq!(presence.presences(&[player("p0")], false).await.unwrap().presences[0].state, PresenceState::Offline);
}

#[tokio::test]
async fn the_server_keeps_gateways_and_ends_what_a_lost_one_held() {
    let redis = RedisServer::start().await;
    let variables = [("PRESENCE_REDIS_URL", &*redis.url()), ("PRESENCE_GATEWAY_TTL", "1500ms")];
    let server = Server::start(&variables);
    let call = async |body| server.post("/presence/gateway", body).await;
    let answer = call(json!({"gateway_id": "g1"})).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, json!({"gateway_id": "g1", "status": "new", "ttl_ms": 1500, "heartbeat_interval_ms": 500}));
    let batch = json!({"gateway_id": "g1", "connections": [{"player_id": "alice", "connection_id": "c1"}]});
    assert_eq!(server.post("/presence/connect", batch).await.body["accepted"], 1);
    let list = server.get("/gateways").await.body;
    assert_eq!((&list["gateways"][0]["gateway_id"], &list["gateways"][0]["connections"]), (&json!("g1"), &json!(1)));
    assert!(list["gateways"][0]["expires_in_ms"].as_u64().unwrap() <= 1500 && list["as_of"].is_u64());
    while server.get("/presence/alice").await.body["state"] != "OFFLINE" {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = reqwest::get(server.url("/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains("presence_gateways_lost_total 1"), "{metrics}");
    assert!(metrics.contains("presence_gateways_held 0") && metrics.contains("presence_gateways 0"), "{metrics}");
    let left = call(json!({"gateway_id": "g1", "leaving": "moving"})).await.body;
    assert_eq!(left, json!({"gateway_id": "g1", "status": "left", "connections": 0}));
    for (body, field) in [
        (json!({"gateway_id": "a b"}), "gateway_id"),
        (json!({"gateway_id": "a".repeat(65)}), "gateway_id"),
        (json!({"gateway_id": "g", "leaving": "gone"}), "leaving"),
        (json!({"gateway_id": "g", "leaving": null}), "leaving"),
        (json!({"gateway_id": "g", "x": 1}), "x"),
        (json!({}), "gateway_id"),
    ] {
        let answer = call(body.clone()).await;
        assert_eq!((answer.status, &answer.body["field"]), (400, &json!(field)), "{body}");
    }
    let disconnect = json!({"gateway_id": "g", "player_id": "alice", "connection_id": "c1"});
    assert_eq!(server.post("/presence/disconnect", disconnect).await.body["field"], "gateway_id");
}
