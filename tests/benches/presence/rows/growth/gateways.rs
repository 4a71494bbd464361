//! Renewals of gateways' leases, by the number of gateways.

use super::{Bench, costs, draw};
use crate::{
    http,
    players::{self, thousands},
    report::Report,
};

const GATEWAYS: [usize; 4] = [10, 100, 1_000, 10_000];

/// The number of renewals per measurement.
const RENEWALS: usize = 40_000;

const CONNECTIONS: usize = 64;

pub(super) async fn measure(report: &mut Report) {
    let bench = Bench::start().await;
    let mut service = Vec::new();
    let mut redis = Vec::new();
    for gateways in GATEWAYS {
        let renewals: Vec<_> = (0..RENEWALS)
            .map(|n| format!(r#"{{"gateway_id":"{}"}}"#, players::gateway(n % gateways)))
            .map(|body| http::post("/presence/gateway", &body))
            .collect();
        let [ours, theirs] = bench.spent(CONNECTIONS, &renewals, 1, RENEWALS).await;
        report.note(
            &format!("renewals of {} gateways", thousands(gateways)),
            &costs(ours, theirs),
        );
        service.push(ours);
        redis.push(theirs);
    }
    let title = "µs of CPU per renewal of a gateway's lease";
    draw("gateways", title, "gateways", &GATEWAYS, redis, service);
}
