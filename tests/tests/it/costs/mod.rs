//! Cost of calls in Redis: the commands, and their number. One more command per heartbeat matters
//! with a million players, and no test that measures time would notice it.

mod gateways;

use std::collections::BTreeMap;

use futures_util::future::join_all;
use presence::{
    PresenceService,
    events::RelaySignal,
    model::{Activity, GatewayId, OwnedConnection, State},
    telemetry::TraceContext,
};
use presence_tests::{RedisServer, app, connection, connections, player, service};
use redis::aio::MultiplexedConnection;

/// Commands of the harness and of the client itself, which checks its connection once per second.
const OTHERS: [&str; 7] = [
    "client|setinfo",
    "config|resetstat",
    "hello",
    "info",
    "evalsha",
    "ping",
    "role",
];

struct Costs {
    raw: MultiplexedConnection,
    presence: PresenceService,
    trace: TraceContext,
    redis: RedisServer,
}

impl Costs {
    /// Players `p0`, `p1`, … with one connection each, on a Redis that has loaded the scripts.
    async fn of(players: usize) -> Self {
        let redis = RedisServer::start().await;
        let presence = service(&redis, &[]);
        let trace = TraceContext::new_root();
        let connections = connections(players);
        presence
            .connect_batch(connections.clone(), &trace)
            .await
            .unwrap();
        presence.heartbeat(&connections[0], &trace).await.unwrap();
        presence.heartbeat_batch(connections, &trace).await.unwrap();
        let mut costs = Self {
            raw: redis.connection().await,
            presence,
            trace,
            redis,
        };
        costs.forget().await;
        costs
    }

    async fn forget(&mut self) {
        redis::cmd("CONFIG")
            .arg("RESETSTAT")
            .exec_async(&mut self.raw)
            .await
            .unwrap();
    }

    /// The calls of scripts so far, and the commands in them and beside them.
    async fn spent(&mut self) -> (u64, BTreeMap<String, u64>) {
        let stats: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut self.raw)
            .await
            .unwrap();
        let parse_count = |line: &str| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_owned(), rest.split(',').next()?.parse().ok()?))
        };
        let mut counts: BTreeMap<_, _> = stats.lines().filter_map(parse_count).collect();
        let scripts = counts.get("evalsha").copied().unwrap_or_default();
        counts.retain(|name, _| !OTHERS.contains(&name.as_str()));
        (scripts, counts)
    }
}

fn counts<const N: usize>(commands: [(&str, u64); N]) -> BTreeMap<String, u64> {
    commands
        .into_iter()
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

/// The commands of some script calls that together renew the only leases of this many players.
fn renewals(calls: u64, players: u64) -> BTreeMap<String, u64> {
    counts([
        ("time", calls),
        ("get", players),
        ("set", players),
        ("setrange", players),
    ])
}

#[tokio::test]
async fn a_heartbeat_reads_one_key_and_writes_two() {
    let mut costs = Costs::of(1).await;
    for state in [State::Online, State::InMatch] {
        costs
            .presence
            .set_state(&player("p0"), state, &costs.trace)
            .await
            .unwrap();
        costs.forget().await;
        costs
            .presence
            .heartbeat(&connection("p0", "c"), &costs.trace)
            .await
            .unwrap();
        let (scripts, commands) = costs.spent().await;
        assert_eq!(
            (scripts, commands["get"]),
            (1, 1),
            "after the state was set: {commands:?}"
        );
        costs.forget().await;
        costs
            .presence
            .heartbeat(&connection("p0", "c"), &costs.trace)
            .await
            .unwrap();
        assert_eq!(costs.spent().await, (1, renewals(1, 1)));
    }
}

#[tokio::test]
async fn a_heartbeat_costs_the_same_with_and_without_a_gateway() {
    let mut costs = Costs::of(1).await;
    let device = connection("p0", "c");
    let gateway = GatewayId::parse("g1").unwrap();
    let named = OwnedConnection {
        connection: &device,
        gateway: Some(&gateway),
    };
    costs.presence.heartbeat(named, &costs.trace).await.unwrap();
    for heartbeat in [named, OwnedConnection::from(&device)] {
        costs.forget().await;
        costs
            .presence
            .heartbeat(heartbeat, &costs.trace)
            .await
            .unwrap();
        assert_eq!(costs.spent().await, (1, renewals(1, 1)));
    }
}

#[tokio::test]
async fn a_batch_of_heartbeats_is_a_script_call_for_fifty_and_a_look_at_the_clock_for_each_call() {
    let mut costs = Costs::of(1_000).await;
    let connections = connections(1_000);
    costs
        .presence
        .heartbeat_batch(connections, &costs.trace)
        .await
        .unwrap();
    let expected = renewals(20, 1_000);
    assert_eq!(costs.spent().await, (20, expected));
}

#[tokio::test]
async fn heartbeats_at_the_same_time_are_a_script_call_for_fifty() {
    let mut costs = Costs::of(100).await;
    let connections = connections(100);
    for _ in ["when Redis learns the script", "now"] {
        costs.forget().await;
        let heartbeats = connections
            .iter()
            .map(|connection| costs.presence.heartbeat(connection, &costs.trace));
        for result in join_all(heartbeats).await {
            result.unwrap();
        }
    }
    let expected = renewals(2, 100);
    assert_eq!(costs.spent().await, (2, expected));
}

/// Connects a second device of the first player, and returns what a heartbeat of each of the two
/// costs.
async fn spent_by_two_devices(costs: &mut Costs) -> (u64, BTreeMap<String, u64>) {
    costs
        .presence
        .connect(&connection("p0", "phone"), &costs.trace)
        .await
        .unwrap();
    costs.forget().await;
    for device in ["c", "phone"] {
        costs
            .presence
            .heartbeat(&connection("p0", device), &costs.trace)
            .await
            .unwrap();
    }
    costs.spent().await
}

#[tokio::test]
async fn a_heartbeat_of_one_of_several_devices_reads_one_key_and_writes_two() {
    let mut costs = Costs::of(1).await;
    let spent = spent_by_two_devices(&mut costs).await;
    assert_eq!(spent, (2, counts([("time", 2), ("get", 2), ("set", 4)])));
}

#[tokio::test]
async fn a_call_reads_the_clock_once_whatever_it_finds() {
    let mut costs = Costs::of(2).await;
    let entries = ["p0", "p1", "p1"].into_iter().zip(["c", "new", "c"]);
    let heartbeats: Vec<_> = entries.map(|(player, id)| connection(player, id)).collect();
    costs
        .presence
        .heartbeat_batch(heartbeats, &costs.trace)
        .await
        .unwrap();
    let (scripts, commands) = costs.spent().await;
    assert_eq!((scripts, commands["time"]), (1, 1), "{commands:?}");
}

#[tokio::test]
async fn friends_are_one_mget_however_many() {
    let mut costs = Costs::of(500).await;
    let friends: Vec<_> = (0..500).map(|n| player(&format!("p{n}"))).collect();
    costs.presence.presences(&friends, false).await.unwrap();
    assert_eq!(costs.spent().await, (0, counts([("time", 1), ("mget", 1)])));
}

/// An activity of some 256 bytes.
fn activity() -> Activity {
    let json = serde_json::json!({"details": "Ranked; 2/4", "joinable": true, "custom": {"map": "x".repeat(200)}});
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn a_heartbeat_of_a_player_with_an_activity_takes_no_other_commands() {
    let mut costs = Costs::of(1).await;
    costs
        .presence
        .set_state(&player("p0"), activity(), &costs.trace)
        .await
        .unwrap();
    costs
        .presence
        .heartbeat(&connection("p0", "c"), &costs.trace)
        .await
        .unwrap();
    costs.forget().await;
    let heartbeat = costs
        .presence
        .heartbeat(&connection("p0", "c"), &costs.trace)
        .await
        .unwrap();
    assert_eq!(heartbeat.activity, Some(activity()));
    assert_eq!(costs.spent().await, (1, renewals(1, 1)));

    // Two short writes may take the place of a long one, so that the activity is not written.
    let (scripts, commands) = spent_by_two_devices(&mut costs).await;
    assert_eq!((scripts, commands["time"], commands["get"]), (2, 2, 2));
    let writes = commands["set"] + commands.get("setrange").copied().unwrap_or_default();
    assert!((4..=6).contains(&writes), "{commands:?}");
}

#[tokio::test]
async fn heartbeats_of_players_with_activities_share_calls_as_others_do() {
    let mut costs = Costs::of(100).await;
    for number in 0..100 {
        costs
            .presence
            .set_state(&player(&format!("p{number}")), activity(), &costs.trace)
            .await
            .unwrap();
    }
    let connections = connections(100);
    for _ in ["after the activity was set", "now"] {
        costs
            .presence
            .heartbeat_batch(connections.clone(), &costs.trace)
            .await
            .unwrap();
    }
    costs.forget().await;
    costs
        .presence
        .heartbeat_batch(connections.clone(), &costs.trace)
        .await
        .unwrap();
    let expected = renewals(2, 100);
    assert_eq!(costs.spent().await, (2, expected.clone()));
    for _ in ["when Redis learns the script", "now"] {
        costs.forget().await;
        let heartbeats = connections
            .iter()
            .map(|connection| costs.presence.heartbeat(connection, &costs.trace));
        for result in join_all(heartbeats).await {
            assert_eq!(result.unwrap().activity, Some(activity()));
        }
    }
    assert_eq!(costs.spent().await, (2, expected));
}

#[tokio::test]
async fn friends_with_activities_are_one_more_mget_however_many() {
    let mut costs = Costs::of(500).await;
    let friends: Vec<_> = (0..500).map(|n| player(&format!("p{n}"))).collect();
    costs
        .presence
        .set_state(&friends[7], activity(), &costs.trace)
        .await
        .unwrap();
    for playing in [1, 500] {
        for friend in &friends[..playing] {
            costs
                .presence
                .set_state(friend, activity(), &costs.trace)
                .await
                .unwrap();
        }
        costs.forget().await;
        costs.presence.presences(&friends, false).await.unwrap();
        assert_eq!(
            costs.spent().await,
            (0, counts([("time", 2), ("mget", 2)])),
            "{playing}"
        );
        costs.forget().await;
        costs.presence.presences(&friends, true).await.unwrap();
        assert_eq!(
            costs.spent().await,
            (0, counts([("time", 1), ("mget", 1)])),
            "the history has it already"
        );
    }
}

/// Nearly all players that are due in the expiry index have sent heartbeats since.
#[tokio::test]
async fn a_player_that_is_alive_costs_the_sweep_one_read_and_a_share_of_one_write() {
    let mut costs = Costs::of(100).await;
    make_due(&costs, 100).await;
    costs.forget().await;
    let swept = app(&costs.redis, &[])
        .sweeper(RelaySignal::default())
        .pass()
        .await
        .unwrap();
    assert_eq!((swept.rescheduled, swept.expired), (100, 0));
    let (_, commands) = costs.spent().await;
    let count = |name| commands.get(name).copied().unwrap_or_default();
    assert_eq!(
        (count("pexpiretime"), count("zadd"), count("zrange")),
        (100, 2, 2),
        "{commands:?}"
    );
    assert_eq!(count("get") + count("mget"), 0, "{commands:?}");
}

#[tokio::test]
async fn a_pass_of_the_sweep_reads_only_the_players_that_are_due() {
    let costs = Costs::of(1_000).await;
    make_due(&costs, 1).await;
    let before = sent_by(&costs.redis).await;
    let swept = app(&costs.redis, &[])
        .sweeper(RelaySignal::default())
        .pass()
        .await
        .unwrap();
    assert_eq!(swept.rescheduled, 1);
    let sent = sent_by(&costs.redis).await - before;
    assert!(
        sent < 10_000,
        "{sent} bytes; all players and their times are 30,000"
    );
}

/// Makes some players in the expiry index due.
async fn make_due(costs: &Costs, players: usize) {
    let mut zadd = redis::cmd("ZADD");
    zadd.arg("presence:{all}:expiry").arg("XX");
    for number in 0..players {
        zadd.arg(1).arg(format!("p{number}"));
    }
    zadd.exec_async(&mut costs.raw.clone()).await.unwrap();
}

/// The bytes that Redis has sent so far.
async fn sent_by(redis: &RedisServer) -> u64 {
    let stats: String = redis.ask(&["INFO", "stats"]).await;
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix("total_net_output_bytes:"));
    line.unwrap().parse().unwrap()
}
