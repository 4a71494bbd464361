//! `make bench`: the cost of the service compared with the minimum that Redis, HTTP and Lambda
//! allow.
//!
//! Each row measures a figure and its reference in the same run, on real servers and through the
//! public interface, and compares their ratio to a bar. Absolute times depend on the machine; the
//! ratios hardly do.
//!
//! - `redis`: Redis, its CPU time, and scripts sent to it directly.
//! - `http`: a load generator with little overhead, and an echo server.
//! - `cpu`: CPU time and memory of a process.
//! - `players`: the ids of players and connections.
//! - `plot`: plots.
//! - `report`: the tables of results.
//! - `rows`: the measurements, one per file.

mod cpu;
mod http;
mod players;
mod plot;
mod redis;
mod report;
mod rows;

use report::Report;

fn main() {
    let arguments: Vec<_> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with("--"))
        .collect();
    if arguments == ["echo"] {
        return http::echo();
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime.block_on(measure(&arguments));
}

/// The measurements that run if none is named.
const STANDARD: [&str; 10] = [
    "script",
    "memory",
    "batch",
    "single",
    "friends",
    "activity",
    "expiry",
    "sweep",
    "cold_start",
    "size",
];

async fn measure(names: &[String]) {
    let standard = STANDARD.map(str::to_owned);
    for name in if names.is_empty() { &standard } else { names } {
        let mut report = Report::default();
        match &**name {
            "script" => rows::script::measure(&mut report).await,
            "memory" => rows::memory::measure(&mut report).await,
            "batch" => rows::batch::measure(&mut report).await,
            "single" => rows::single::measure(&mut report).await,
            "friends" => rows::friends::measure(&mut report).await,
            "activity" => rows::activity::measure(&mut report).await,
            "expiry" => rows::expiry::measure(&mut report).await,
            "sweep" => rows::sweep::measure(&mut report).await,
            "cold_start" => rows::cold_start::measure(&mut report),
            "size" => rows::size::measure(&mut report),
            "connections" => rows::connections::measure(&mut report).await,
            "cluster" => rows::cluster::measure(&mut report).await,
            "growth" => rows::growth::measure(&mut report).await,
            "million" => rows::million::measure(&mut report).await,
            "gateways" => rows::gateways::measure(&mut report).await,
            "ten_million" => rows::ten_million::measure(&mut report).await,
            "storm" => rows::storm::measure(&mut report).await,
            "watch" => rows::watch::measure(&mut report).await,
            "pauses" => rows::pauses::measure(&mut report),
            "peers" => rows::peers::measure(&mut report).await,
            "compare" => rows::compare::measure(&mut report).await,
            unknown => panic!("there is no measurement {unknown}"),
        }
        report.print(name);
    }
}
