//! `presence load`: a load test of any installation, with simulated gateways and players.
//!
//! ```text
//! plan ──▶ run: ticks ──▶ gateways: notifier ──▶ the service
//!                │           └── view ◀── watcher ◀──┘
//!                └──▶ reads of friends      │
//!                           └─▶ recorder ◀──┘ ──▶ verdict ──▶ report
//! ```
//!
//! The clock alone decides when a call is due, and latencies are measured from then. So a slow
//! service cannot slow the load down and look fast. At the end, and after an interruption or a
//! failure, everything is removed.

mod ending;
mod figures;
mod findings;
mod gateway;
mod interrupt;
mod open_loop;
mod plan;
mod progress;
mod recorder;
mod removal;
mod report;
mod roster;
mod run;
mod verdict;
mod view;

use std::net::IpAddr;

use http::Uri;

use self::{interrupt::Interrupt, plan::Plan, report::Report, run::Load};
use crate::{
    args::LoadArgs,
    confirm::confirm,
    failure::{Failure, Status},
    output::Output,
    service::Service,
    table::grouped,
};

pub(super) async fn run(
    service: &Service,
    args: &LoadArgs,
    output: Output,
) -> Result<Status, Failure> {
    let plan = Plan::new(args);
    if !args.yes && !is_loopback(service.url()) {
        confirm_elsewhere(service.url(), &plan)?;
    }
    let mut interrupt = Interrupt::new()?;
    let mut load = Load::start(service, plan).await?;
    let found = tokio::select! {
        found = load.run() => Some(found),
        () = interrupt.next() => None,
    };
    let remaining = tokio::select! {
        remaining = removal::remove(&mut load) => Some(remaining),
        () = interrupt.next() => None,
    };
    load.progress.end();
    let Some(found) = found else {
        return Err(interrupted(remaining));
    };
    if found.is_err() && remaining != Some(0) {
        anstream::eprintln!("presence: {}", removal::note(remaining));
    }
    let report = Report::new(
        service.url(),
        load.roster.prefix(),
        &load.plan,
        &found?,
        remaining,
    );
    output.show(&report, || report.text())?;
    Ok(if report.is_met() {
        Status::Done
    } else {
        Status::Degraded
    })
}

fn interrupted(remaining: Option<u64>) -> Failure {
    let what = match remaining {
        Some(0) => "interrupted; all players of the load were removed",
        _ => "interrupted",
    };
    let failure = Failure::new(Status::Interrupted, what);
    if remaining == Some(0) {
        failure
    } else {
        failure.with_hint(removal::note(remaining))
    }
}

/// Asks for confirmation if the service is on another machine, since others may depend on it.
fn confirm_elsewhere(url: &str, plan: &Plan) -> Result<(), Failure> {
    let players = grouped(plan.players.into());
    let question = format!(
        "Put the load of {players} players on {url}? Consumers of its events will see them."
    );
    let refused = format!("no load was put on {url}");
    let what = format!("{url} is not on this machine: a load");
    confirm(&what, &question, refused)
}

/// Whether the service is on this machine.
fn is_loopback(url: &str) -> bool {
    let uri_host = url
        .parse::<Uri>()
        .ok()
        .and_then(|uri| uri.host().map(str::to_owned))
        .unwrap_or_default();
    let host = uri_host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_this_machine_are_loopback() {
        for url in [
            "http://127.0.0.1:8080",
            "http://localhost",
            "https://LocalHost:1/prod",
            "http://[::1]:8080",
        ] {
            assert!(is_loopback(url), "{url}");
        }
        for url in [
            "http://presence:8080",
            "http://10.0.0.1",
            "http://localhost.example.com",
            "http://[2001:db8::1]",
        ] {
            assert!(!is_loopback(url), "{url}");
        }
    }
}
