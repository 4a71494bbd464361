//! Short storms over the whole system; `make chaos` has longer ones.

use presence_tests::chaos::{Plan, Scale, Topology, check, play};

async fn run_storm(seed: u64, topology: Topology) {
    let history = play(&Plan::new(seed, Scale::SHORT, topology)).await;
    let report = check(&history);
    assert!(
        report.violations.is_empty(),
        "seed {seed}:\n{}",
        report.explain(&history)
    );
    // A check that is not applied finds nothing.
    for what in [
        "responses about a player with a certain lease",
        "OFFLINE events",
        "versions in responses",
    ] {
        assert!(report.counted(what) > 20, "{:?}", report.counts);
    }
    // With a long TTL, the leases of a gateway's connections end with the gateway's own before they
    // expire.
    let by_gateways = "OFFLINE events that a lost gateway may have caused";
    let unannounced = report.counted("expiries") + report.counted(by_gateways);
    assert!(unannounced > 20, "{:?}", report.counts);
    for what in [
        by_gateways,
        "renewals of gateway leases",
        "responses about a player whose leases ended with a gateway's",
        "players whose gateway left",
        "players who moved within the grace",
    ] {
        assert!(report.counted(what) > 20, "{:?}", report.counts);
    }
    for what in [
        "snapshots of a player",
        "presences sent to watchers",
        "comparisons of a watcher with Redis",
    ] {
        assert!(report.counted(what) > 20, "{:?}", report.counts);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_one_redis_leaves_no_invariant_violated() {
    run_storm(8, Topology::Standalone).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_a_cluster_leaves_no_invariant_violated() {
    run_storm(1, Topology::Cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_over_a_primary_known_to_sentinels_leaves_no_invariant_violated() {
    run_storm(5, Topology::Sentinel).await;
}
