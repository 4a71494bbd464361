//! The whole system on one machine, in about a minute: Redis, NATS, two presence servers behind a load balancer, two
//! gateways, and players on real WebSockets. Things are killed; a summary says whether anything went wrong, and so does
//! the exit status. `make demo` builds and runs it.
//!
//! - `story`: what happens, act by act.
//! - `stage`: the processes. `balancer`: what stands between the gateways and the servers.
//! - `ledger`: the independent account: what ought to be, known from the sockets and from what the players said.
//! - `friends`: what friends are shown.
//! - `feed`: the event stream, from its beginning.
//! - `audit`: whether the stream and the service's answers say what the ledger says.
//! - `screen`: the terminal. `status`: the figures on its last line.

mod audit;
mod balancer;
mod feed;
mod friends;
mod ledger;
mod screen;
mod stage;
mod status;
mod story;

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use crate::{screen::Screen, stage::Stage, story::Story};

#[tokio::main]
async fn main() -> ExitCode {
    let screen = Screen::new();
    // Whoever is told to stop drops the stage, which ends all processes.
    tokio::select! {
        is_well = demo(&screen) => if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE },
        () = stopped() => {
            screen.end_status();
            screen.note("stopped; all processes are ended");
            ExitCode::from(130)
        }
    }
}

async fn demo(screen: &Screen) -> bool {
    let stage = Stage::set(screen).await;
    let story = Story::new(stage, screen.clone());
    story.play().await
}

async fn stopped() {
    let [mut interrupt, mut terminate, mut hang_up] =
        [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(|kind| signal(kind).ok());
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
