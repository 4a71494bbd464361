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
//! - `report`: the table of results.
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
    runtime.block_on(measure(&arguments)).print();
}

async fn measure(names: &[String]) -> Report {
    let is_asked_for = |name: &str| names.iter().any(|wanted| wanted == name);
    let is_wanted = |name: &str| names.is_empty() || is_asked_for(name);
    let mut report = Report::default();
    if is_wanted("script") {
        rows::script::measure(&mut report).await;
    }
    if is_wanted("memory") {
        rows::memory::measure(&mut report).await;
    }
    if is_wanted("batch") {
        rows::batch::measure(&mut report).await;
    }
    if is_wanted("single") {
        rows::single::measure(&mut report).await;
    }
    if is_wanted("friends") {
        rows::friends::measure(&mut report).await;
    }
    if is_wanted("activity") {
        rows::activity::measure(&mut report).await;
    }
    if is_wanted("expiry") {
        rows::expiry::measure(&mut report).await;
    }
    if is_wanted("sweep") {
        rows::sweep::measure(&mut report).await;
    }
    if is_wanted("cold_start") {
        rows::cold_start::measure(&mut report);
    }
    if is_wanted("size") {
        rows::size::measure(&mut report);
    }
    if is_asked_for("connections") {
        rows::connections::measure(&mut report).await;
    }
    if is_asked_for("cluster") {
        rows::cluster::measure(&mut report).await;
    }
    if is_asked_for("growth") {
        rows::growth::measure(&mut report).await;
    }
    if is_asked_for("million") {
        rows::million::measure(&mut report).await;
    }
    if is_asked_for("gateways") {
        rows::gateways::measure(&mut report).await;
    }
    if is_asked_for("ten_million") {
        rows::ten_million::measure(&mut report).await;
    }
    if is_asked_for("storm") {
        rows::storm::measure(&mut report).await;
    }
    if is_asked_for("watch") {
        rows::watch::measure(&mut report).await;
    }
    report
}
