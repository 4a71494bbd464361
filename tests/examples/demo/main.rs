//! A demonstration of the whole system on one machine, in about a minute: Redis, NATS, two presence
//! servers behind a load balancer, two gateways, and players on real WebSockets. Components are
//! killed. The summary and the exit status report whether anything went wrong. `make demo` builds
//! and runs it.
//!
//! - `script`: the acts.
//! - `environment`: the processes. `balancer`: the load balancer between the gateways and the
//!   servers.
//! - `ledger`: the independent ledger of expected states, computed from the sockets and the
//!   players' actions.
//! - `friends`: what friends are shown.
//! - `feed`: the event stream.
//! - `audit`: the comparison of the stream and the service's responses with the ledger.
//! - `screen`: the terminal. `status`: the figures on its last line.

mod audit;
mod balancer;
mod environment;
mod feed;
mod friends;
mod ledger;
mod screen;
mod script;
mod status;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::{environment::Environment, screen::Screen, script::Script};

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::new();
    // A signal drops the environment, which ends all processes.
    tokio::select! {
        is_correct = demo(&screen) => if is_correct { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        () = stopped() => {
            screen.end_status();
            screen.note("stopped; all processes have ended");
            ExitCode::from(130)
        }
    }
}

async fn demo(screen: &Screen) -> bool {
    let environment = Environment::start(screen).await;
    let script = Script::new(environment, screen.clone());
    script.run().await
}

async fn stopped() {
    let [mut interrupt, mut terminate, mut hang_up] = [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ]
    .map(|kind| signal(kind).ok());
    let received = [&mut interrupt, &mut terminate, &mut hang_up].map(|signal| {
        Box::pin(async move {
            match signal {
                Some(signal) => _ = signal.recv().await,
                None => std::future::pending().await,
            }
        })
    });
    futures_util::future::select_all(received).await;
}
