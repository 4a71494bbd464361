//! The scheduled sweep: notices players whose record ran out, and publishes the events that still wait.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use presence::{
    StoreError, Sweeper, Swept,
    events::{RelaySignal, Relayed},
    runtime::{App, Error, Event},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The function answers this long before its deadline.
const STOP: Duration = Duration::from_millis(1_500);

/// Work that is not done this long before the deadline is broken off: what is left waits for the next sweep.
const BREAK_OFF: Duration = Duration::from_millis(500);

/// How long work may take where the deadline is over already, as `cargo lambda watch` has it.
const OVERDUE: Duration = Duration::from_secs(1);

/// Sweeps at every interval until the invocation's deadline is near, and relays events beside it.
///
/// # Errors
/// Where Redis did not answer the first pass, or the last.
pub async fn handle(app: Arc<App>, event: Event) -> Result<Value, Error> {
    let start = Instant::now();
    let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    let stop = start + left.saturating_sub(STOP);
    let work = if left.is_zero() { OVERDUE } else { left.saturating_sub(BREAK_OFF).max(left * 3 / 4) };
    let (interval, signal) = (app.config.lifetimes.sweep_interval, RelaySignal::default());
    let mut sweeps = Sweeps { sweeper: app.sweeper(signal.clone()), passes: 0, swept: Swept::default() };

    let Some(relay) = app.relay() else {
        sweeps.run(interval, stop, start + work).await?;
        return Ok(sweeps.report(Relayed::default()));
    };
    tokio::select! {
        result = sweeps.run(interval, stop, start + work) => result?,
        () = relay.run(&signal, interval) => {}
    }
    // What the last sweep made, and what was under way.
    if let Ok(Err(error)) = timeout_at(start + work, relay.pass()).await {
        tracing::error!(error = &error as &dyn std::error::Error, "relay failed; events wait");
    }
    Ok(sweeps.report(relay.total()))
}

struct Sweeps {
    sweeper: Sweeper,
    passes: u64,
    swept: Swept,
}

impl Sweeps {
    async fn run(&mut self, interval: Duration, stop: Instant, break_off: Instant) -> Result<(), StoreError> {
        loop {
            let next = Instant::now() + interval;
            let is_last = next >= stop;
            match timeout_at(break_off, self.sweeper.pass()).await {
                Ok(Ok(swept)) => {
                    self.swept = self.swept + swept;
                    self.passes += 1;
                }
                Ok(Err(error)) if is_last || self.passes == 0 => return Err(error),
                Ok(Err(error)) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "sweep failed; the next one may not");
                }
                Err(_) => tracing::warn!("sweep broken off before the deadline; the next one goes on"),
            }
            sleep_until(next.min(stop)).await;
            if is_last {
                return Ok(());
            }
        }
    }

    fn report(&self, relayed: Relayed) -> Value {
        json!({
            "passes": self.passes,
            "expired": self.swept.expired,
            "refiled": self.swept.refiled,
            "published": relayed.published,
            "dropped": relayed.dropped,
        })
    }
}
