//! Cost of the sweep in normal operation: players that are due in the expiry index but alive.

use ::redis::aio::ConnectionLike;
use presence::{Sweeper, events::RelaySignal};
use presence_tests::{RedisCluster, app, cluster_app, partition_key};

use crate::{
    cpu, http, redis,
    report::{Bar, Report},
};

const PLAYERS: usize = 200_000;

// With the default settings (a TTL of 45 s, a heartbeat every 15 s, a pass per second), the sweep
// checks a live player once per TTL.

/// Heartbeats of a player between two checks by the sweep.
const HEARTBEATS_PER_CHECK: f64 = 3.0;
/// Passes of the sweep between two checks of the same player.
const PASSES_PER_CHECK: usize = 45;

/// No player expires, and the server does not sweep.
const VARIABLES: [(&str, &str); 2] = [("PRESENCE_TTL", "1h"), ("PRESENCE_SWEEP_INTERVAL", "10m")];

/// Makes the next players of an index due: one of `ARGV[1]`.
const MAKE_DUE: &str = "
local count = math.ceil(redis.call('ZCARD', KEYS[1]) / ARGV[1])
for _, member in ipairs(redis.call('ZRANGE', KEYS[1], 0, count - 1)) do
    redis.call('ZADD', KEYS[1], 'XX', 1, member)
end";

/// The players and the sweeper that are measured.
struct Bench {
    address: String,
    sweeper: Sweeper,
    indexes: Vec<String>,
    nodes: Vec<u32>,
}

pub(crate) async fn measure(report: &mut Report) {
    let server = redis::start().await;
    let (_service, address) = super::server(&server, &VARIABLES).await;
    let sweeper = app(&server, &VARIABLES).sweeper(RelaySignal::default());
    let indexes = vec!["presence:{all}:expiry".to_owned()];
    let bench = Bench {
        address,
        sweeper,
        indexes,
        nodes: vec![server.id()],
    };
    bench
        .measure(report, "", &mut server.connection().await)
        .await;
}

/// Measures the sweep of a cluster.
pub(crate) async fn measure_cluster(report: &mut Report, cluster: &RedisCluster) {
    let (_service, address) = super::cluster_server(cluster, &VARIABLES).await;
    let sweeper = cluster_app(cluster, &VARIABLES).sweeper(RelaySignal::default());
    let indexes = (0..256)
        .map(|partition| partition_key(partition, "expiry"))
        .collect();
    let bench = Bench {
        address,
        sweeper,
        indexes,
        nodes: cluster.ids(),
    };
    bench
        .measure(report, "three masters: ", &mut cluster.connection().await)
        .await;
}

impl Bench {
    /// Adds the row. `prefix` comes before its label.
    async fn measure(&self, report: &mut Report, prefix: &str, raw: &mut impl ConnectionLike) {
        super::connect(&self.address, PLAYERS).await;
        let heartbeats: Vec<_> = super::batches("/presence/heartbeat", PLAYERS).collect();
        http::load(&self.address, 4, &heartbeats).await; // to warm up
        let before = self.redis_time();
        http::load(&self.address, 4, &heartbeats).await;
        let heartbeat = (self.redis_time() - before) / PLAYERS as f64;

        let mut checks = 0;
        let mut spent = 0.0;
        for _ in 0..PASSES_PER_CHECK {
            for index in &self.indexes {
                let mut make_due = ::redis::cmd("EVAL");
                make_due
                    .arg(MAKE_DUE)
                    .arg(1)
                    .arg(index)
                    .arg(PASSES_PER_CHECK);
                let () = make_due.query_async(raw).await.expect("an index");
            }
            let before = self.redis_time();
            let swept = self.sweeper.pass().await.expect("a pass");
            spent += self.redis_time() - before;
            assert_eq!(swept.expired, 0, "all players are alive");
            checks += swept.rescheduled;
        }
        assert!(
            checks >= PLAYERS as u64,
            "all players were checked: {checks}"
        );
        let per_check = spent / checks as f64;
        let format_micros = |seconds: f64| format!("{:.2} µs", seconds * 1e6);
        let what = format!(
            "{prefix}Redis CPU per player that the sweep finds alive, share of the heartbeats in between"
        );
        let reference = format!("{} per heartbeat, in batches", format_micros(heartbeat));
        report.add(
            &what,
            format_micros(per_check),
            reference,
            per_check / (HEARTBEATS_PER_CHECK * heartbeat),
            Bar::AtMost(0.5),
        );
    }

    fn redis_time(&self) -> f64 {
        self.nodes
            .iter()
            .map(|node| cpu::main_thread_time_of(*node).as_secs_f64())
            .sum()
    }
}
