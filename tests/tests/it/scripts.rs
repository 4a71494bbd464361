//! The scripts on a real Redis: raw keys, replies, lifetimes.

use std::time::Duration;

use presence::{
    PresenceError, PresenceService,
    model::{DisconnectReason, PresenceState},
    trace::TraceContext,
};
use presence_tests::{RedisServer, connection, leases, player, service};
use redis::AsyncTypedCommands as _;
use serde_json::Value;

const TTL: u64 = 45_000;

/// A Redis and a service on it, with the calls that tests make most.
struct Fixture {
    redis: RedisServer,
    presence: PresenceService,
    trace: TraceContext,
}

impl Fixture {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(variables: &[(&str, &str)]) -> Self {
        let redis = RedisServer::start().await;
        let presence = service(&redis, variables);
        Self { redis, presence, trace: TraceContext::new_root() }
    }

    async fn connect(&self, id: &str) -> u32 {
        self.presence.connect(&connection("alice", id), &self.trace).await.unwrap().connection_count
    }

    async fn heartbeat(&self, id: &str) -> Result<u32, PresenceError> {
        Ok(self.presence.heartbeat(&connection("alice", id), &self.trace).await?.connection_count)
    }

    async fn disconnect(&self, id: &str, reason: DisconnectReason) -> PresenceState {
        self.presence.disconnect(&connection("alice", id), reason, &self.trace).await.unwrap().state
    }

    async fn set_state(&self, state: PresenceState) -> Result<PresenceState, PresenceError> {
        Ok(self.presence.set_state(&player("alice"), state, &self.trace).await?.state)
    }

    async fn state(&self) -> PresenceState {
        self.presence.presences(&[player("alice")], false).await.unwrap().presences[0].state
    }

    async fn record(&self) -> Option<Value> {
        let record = self.redis.connection().await.get("presence:alice").await.unwrap();
        record.map(|json| serde_json::from_str(&json).unwrap())
    }

    async fn past(&self) -> String {
        self.redis.connection().await.get("{presence:alice}:past").await.unwrap().unwrap()
    }

    async fn pttl(&self, key: &str) -> i64 {
        redis::cmd("PTTL").arg(key).query_async(&mut self.redis.connection().await).await.unwrap()
    }

    async fn pass(&self, seconds: u64) {
        self.redis.pass(Duration::from_secs(seconds)).await;
    }
}

#[tokio::test]
async fn the_first_connect_makes_a_record_that_lives_for_the_ttl() {
    let test = Fixture::new().await;
    assert_eq!(test.connect("c1").await, 1);

    let record = test.record().await.unwrap();
    assert_eq!(record["state"], "ONLINE");
    assert_eq!(record["connection_count"], 1);
    assert_eq!(test.past().await, format!("{} {};c1", record["last_seen"], record["version"]));
    let pttl = test.pttl("presence:alice").await;
    assert!((TTL as i64 - 1_000..=TTL as i64).contains(&pttl), "{pttl}");
    let keys = ["presence:alice", "presence:{all}:expiry", "{presence:alice}:past"];
    assert_eq!(test.redis.keys().await, keys);
}

#[tokio::test]
async fn the_same_connect_counts_once_and_the_same_disconnect_removes_once() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    assert_eq!(test.connect("c1").await, 1);
    assert_eq!(test.connect("c2").await, 2);
    test.disconnect("c1", DisconnectReason::Quit).await;
    test.disconnect("c1", DisconnectReason::Quit).await;
    assert_eq!(test.record().await.unwrap()["connection_count"], 1);
}

#[tokio::test]
async fn the_last_disconnect_removes_the_record() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.connect("c2").await;
    assert_eq!(test.disconnect("c1", DisconnectReason::Quit).await, PresenceState::Online);
    assert_eq!(test.disconnect("c2", DisconnectReason::Quit).await, PresenceState::Offline);
    assert_eq!(test.redis.keys().await, ["{presence:alice}:closed", "{presence:alice}:past"]);
}

#[tokio::test]
async fn every_heartbeat_sets_the_lifetime_anew_and_nothing_else() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.set_state(PresenceState::InMatch).await.unwrap();
    let before = test.record().await.unwrap();
    test.pass(30).await;
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);

    let after = test.record().await.unwrap();
    assert!(test.pttl("presence:alice").await > TTL as i64 - 1_000);
    assert_eq!(after["version"], before["version"]);
    assert_eq!(after["state"], "IN_MATCH");
    assert!(after["last_seen"].as_u64() >= before["last_seen"].as_u64());
}

#[tokio::test]
async fn a_dead_devices_lease_runs_out_while_the_other_beats() {
    let test = Fixture::new().await;
    test.connect("phone").await;
    test.connect("laptop").await;
    for expected in [2, 2, 1] {
        test.pass(15).await;
        assert_eq!(test.heartbeat("laptop").await.unwrap(), expected);
    }
    assert_eq!(leases(&test.past().await, TTL), [("laptop".to_owned(), TTL)]);
}

#[tokio::test]
async fn a_read_does_not_count_a_lease_that_ran_out() {
    let test = Fixture::new().await;
    test.connect("phone").await;
    test.pass(30).await;
    test.connect("laptop").await;
    test.pass(20).await;
    let snapshot = test.presence.presences(&[player("alice")], false).await.unwrap();
    assert_eq!(snapshot.presences[0].connection_count, 1);
}

#[tokio::test]
async fn a_lease_that_is_over_this_very_millisecond_is_over() {
    let test = Fixture::new().await;
    test.connect("phone").await;
    test.connect("laptop").await;
    test.redis.pass(Duration::from_millis(TTL - 1)).await;
    // At the latest a millisecond later both leases have run out; the record may still stand at that moment.
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(test.heartbeat("laptop").await.unwrap(), 1);
}

#[tokio::test]
async fn a_closed_connection_stays_closed_for_twice_the_ttl() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.connect("c2").await;
    test.disconnect("c1", DisconnectReason::Quit).await;
    for _ in 0..6 {
        test.pass(14).await;
        assert!(matches!(test.heartbeat("c1").await, Err(PresenceError::ConnectionClosed)));
        let connect = test.presence.connect(&connection("alice", "c1"), &test.trace).await;
        assert!(matches!(connect, Err(PresenceError::ConnectionClosed)));
        assert_eq!(test.heartbeat("c2").await.unwrap(), 1);
    }
    test.pass(7).await;
    assert_eq!(test.redis.keys().await.iter().filter(|key| key.contains("closed")).count(), 0);
}

#[tokio::test]
async fn a_disconnect_that_comes_first_wins() {
    let test = Fixture::new().await;
    assert_eq!(test.disconnect("c1", DisconnectReason::Quit).await, PresenceState::Offline);
    assert!(matches!(test.heartbeat("c1").await, Err(PresenceError::ConnectionClosed)));
    assert!(test.record().await.is_none());
}

#[tokio::test]
async fn a_heartbeat_restores_what_redis_forgot() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    redis::cmd("FLUSHALL").query_async::<()>(&mut test.redis.connection().await).await.unwrap();
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);
    assert_eq!(test.state().await, PresenceState::Online);
}

#[tokio::test]
async fn scripts_reload_by_themselves() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut test.redis.connection().await).await.unwrap();
    test.heartbeat("c1").await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").query_async::<()>(&mut test.redis.connection().await).await.unwrap();
    let connections = (0..500).map(|n| connection(&format!("p{n}"), "c")).collect();
    let outcome = test.presence.heartbeat_batch(connections, &test.trace).await.unwrap();
    assert_eq!((outcome.accepted, outcome.restored.len(), outcome.failed.len()), (500, 500, 0));
}

#[tokio::test]
async fn a_restarted_redis_is_found_again() {
    let mut test = Fixture::new().await;
    test.connect("c1").await;
    test.redis.restart().await;
    assert_eq!(test.heartbeat("c1").await.unwrap(), 1);
}

#[tokio::test]
async fn an_offline_player_can_neither_queue_nor_play() {
    let test = Fixture::new().await;
    for state in [PresenceState::InQueue, PresenceState::InMatch] {
        assert!(matches!(test.set_state(state).await, Err(PresenceError::TransitionRejected(_))));
    }
    assert_eq!(test.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn every_other_transition_is_allowed() {
    use PresenceState::{Away, InMatch, InQueue, Offline, Online};
    let test = Fixture::new().await;
    for from in [Online, InQueue, InMatch, Away] {
        for to in PresenceState::ALL {
            test.set_state(Online).await.unwrap();
            test.set_state(from).await.unwrap();
            assert_eq!(test.set_state(to).await.unwrap(), to, "{from} → {to}");
        }
    }
    assert_eq!(test.set_state(Offline).await.unwrap(), Offline);
    assert_eq!(test.set_state(Away).await.unwrap(), Away);
}

#[tokio::test]
async fn a_state_set_on_an_offline_player_lives_for_one_ttl_without_connections() {
    let test = Fixture::new().await;
    test.set_state(PresenceState::Away).await.unwrap();
    assert_eq!(test.record().await.unwrap()["connection_count"], 0);
    test.pass(30).await;
    test.set_state(PresenceState::Online).await.unwrap();
    assert!(test.pttl("presence:alice").await <= 15_000, "setting a state renews nothing");
    test.pass(16).await;
    assert_eq!(test.state().await, PresenceState::Offline);
}

#[tokio::test]
async fn signing_out_closes_all_connections() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.connect("c2").await;
    test.set_state(PresenceState::Offline).await.unwrap();
    for id in ["c1", "c2"] {
        assert!(matches!(test.heartbeat(id).await, Err(PresenceError::ConnectionClosed)));
    }
    assert_eq!(test.state().await, PresenceState::Offline);
}

#[tokio::test]
async fn after_a_disconnect_the_record_lives_no_longer_than_its_longest_lease() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    test.pass(20).await;
    test.connect("c2").await;
    test.disconnect("c2", DisconnectReason::Quit).await;
    assert!(test.pttl("presence:alice").await <= 25_000);
}

#[tokio::test]
async fn one_connection_too_many_evicts_the_lease_that_runs_out_first() {
    let test = Fixture::with(&[("PRESENCE_MAX_CONNECTIONS", "2")]).await;
    test.connect("c1").await;
    test.pass(1).await;
    test.connect("c2").await;
    test.pass(1).await;
    assert_eq!(test.heartbeat("c1").await.unwrap(), 2);
    assert_eq!(test.connect("c3").await, 2);
    assert!(matches!(test.heartbeat("c2").await, Err(PresenceError::ConnectionClosed)));
    assert_eq!(test.heartbeat("c1").await.unwrap(), 2);
}

#[tokio::test]
async fn a_lost_player_has_the_grace_to_come_back() {
    let test = Fixture::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    test.connect("c1").await;
    test.set_state(PresenceState::InMatch).await.unwrap();
    let version = test.record().await.unwrap()["version"].clone();
    assert_eq!(test.disconnect("c1", DisconnectReason::Lost).await, PresenceState::InMatch);
    assert_eq!(test.record().await.unwrap()["connection_count"], 0);
    assert!(test.pttl("presence:alice").await <= 20_000);
    test.pass(19).await;
    test.connect("c2").await;
    let record = test.record().await.unwrap();
    assert_eq!((&record["state"], &record["version"]), (&"IN_MATCH".into(), &version));

    test.disconnect("c2", DisconnectReason::Lost).await;
    test.pass(21).await;
    assert_eq!(test.state().await, PresenceState::Offline);
}

#[tokio::test]
async fn a_player_who_quits_has_no_grace() {
    let test = Fixture::with(&[("PRESENCE_OFFLINE_GRACE", "20s")]).await;
    test.connect("c1").await;
    assert_eq!(test.disconnect("c1", DisconnectReason::Quit).await, PresenceState::Offline);
}

#[tokio::test]
async fn versions_rise_across_offline_and_a_flush() {
    let test = Fixture::new().await;
    let alice = connection("alice", "c1");
    let mut versions = vec![test.presence.connect(&alice, &test.trace).await.unwrap().version];
    for state in [PresenceState::InQueue, PresenceState::Offline, PresenceState::Online] {
        versions.push(test.presence.set_state(&player("alice"), state, &test.trace).await.unwrap().version);
    }
    redis::cmd("FLUSHALL").query_async::<()>(&mut test.redis.connection().await).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await; // at most one transition a millisecond, on average
    versions.push(test.presence.heartbeat(&connection("alice", "c2"), &test.trace).await.unwrap().version);
    let versions: Vec<_> = versions.into_iter().flatten().collect();
    assert_eq!(versions.len(), 4, "an OFFLINE answer has no version");
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
}

#[tokio::test]
async fn the_past_is_known_for_the_retention_and_no_longer() {
    let test = Fixture::with(&[("PRESENCE_LAST_SEEN_RETENTION", "1h")]).await;
    let seen = test.presence.connect(&connection("alice", "c1"), &test.trace).await.unwrap();
    let history = async || test.presence.presences(&[player("alice")], true).await.unwrap().presences.remove(0);
    test.pass(60).await; // the record ran out, and nobody has noticed yet
    let past = history().await;
    assert_eq!(past.last_seen, Some(seen.last_seen.unwrap() - 60_000));
    assert_eq!(past.version, seen.version);
    assert_eq!(test.presence.presences(&[player("alice")], false).await.unwrap().presences[0].last_seen, None);
    test.pass(3_600).await;
    assert_eq!(history().await.last_seen, None);

    test.connect("c2").await;
    test.disconnect("c2", DisconnectReason::Quit).await;
    test.pass(3_599).await;
    assert!(history().await.last_seen.is_some());
    test.pass(2).await;
    assert_eq!(history().await.last_seen, None);
    assert_eq!(test.redis.keys().await, [""; 0]);
}

#[tokio::test]
async fn a_connection_may_have_the_name_of_a_member_of_the_record() {
    let test = Fixture::new().await;
    let names = ["state", "leases", "version", "last_seen", "connection_count", "connections"];
    for (count, name) in names.iter().enumerate() {
        assert_eq!(test.heartbeat(name).await.unwrap(), count as u32 + 1);
        assert_eq!(test.heartbeat(name).await.unwrap(), count as u32 + 1);
    }
    let record = test.record().await.unwrap();
    assert_eq!(record["state"], "ONLINE");
    assert_eq!(record["leases"].as_array().unwrap().len(), names.len());
    assert_eq!(leases(&test.past().await, TTL).len(), names.len());
}

#[tokio::test]
async fn a_record_that_somebody_broke_is_healed_by_the_next_heartbeat() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let mut raw = test.redis.connection().await;
    let by_hand =
        format!(r#"{{"state":"ONLINE","connection_count":1,"last_seen":1795492717576,"leases":{{"c1":{TTL}}}}}"#);
    for broken in ["", "{}", "null", r#"{"c1":1234567890123}"#, &by_hand] {
        raw.set("presence:alice", broken).await.unwrap();
        assert_eq!(test.heartbeat("c1").await.unwrap(), 1, "{broken}");
        assert_eq!(test.record().await.unwrap()["state"], "ONLINE");
    }
    for broken in [None, Some(""), Some("0"), Some("1795492717576 1;c1"), Some(";c1")] {
        match broken {
            Some(past) => raw.set("{presence:alice}:past", past).await.unwrap(),
            None => drop(raw.del("{presence:alice}:past").await.unwrap()),
        }
        assert_eq!(test.heartbeat("c1").await.unwrap(), 1, "{broken:?}");
        let record = test.record().await.unwrap();
        assert_eq!(test.past().await, format!("{} {};c1", record["last_seen"], record["version"]));
    }
}

#[tokio::test]
async fn reads_change_nothing() {
    let test = Fixture::new().await;
    test.connect("c1").await;
    let mut raw = test.redis.connection().await;
    let commands = async |raw: &mut redis::aio::MultiplexedConnection| {
        let stats: String = redis::cmd("INFO").arg("commandstats").query_async(raw).await.unwrap();
        let names =
            stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next().map(str::to_owned));
        names
            .filter(|name| !["info", "config|resetstat", "client|setinfo", "hello"].contains(&&**name))
            .collect::<Vec<_>>()
    };
    redis::cmd("CONFIG").arg("RESETSTAT").query_async::<()>(&mut raw).await.unwrap();
    test.presence.presences(&[player("alice"), player("bob")], true).await.unwrap();
    let mut names = commands(&mut raw).await;
    names.sort();
    assert_eq!(names, ["mget", "time"]);
}

#[tokio::test]
async fn what_is_no_record_is_not_offline() {
    let test = Fixture::new().await;
    let mut raw = test.redis.connection().await;
    raw.set("presence:alice", "by hand").await.unwrap();
    raw.rpush("presence:bob", "by hand").await.unwrap();
    for id in ["alice", "bob"] {
        assert!(test.presence.presences(&[player(id)], false).await.is_err(), "{id}");
    }
    assert!(test.presence.presences(&[player("alice"), player("carol")], false).await.is_err());

    // Nor does it keep others from beating, and the next heartbeat puts it right.
    let beats = ["alice", "bob", "carol"].map(|id| connection(id, "c1")).to_vec();
    let batch = test.presence.heartbeat_batch(beats, &TraceContext::new_root()).await.unwrap();
    assert_eq!((batch.accepted, batch.restored.len()), (3, 3));
    let presences = test.presence.presences(&["alice", "bob", "carol"].map(player), false).await.unwrap().presences;
    assert!(presences.iter().all(|presence| presence.state == PresenceState::Online));
}
