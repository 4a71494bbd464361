//! The scheduled sweep: notices players whose record ran out, and publishes the events that still wait.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use presence::{
    StoreError, Sweeper, Swept,
    events::{Relay, Relayed},
    runtime::{App, Error, Event},
};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The function answers this long before its deadline.
const STOP: Duration = Duration::from_millis(1_500);

/// A pass that is not done this long before the deadline is broken off: what it has not done waits for the next sweep.
const BREAK_OFF: Duration = Duration::from_millis(500);

/// How long the first pass may take, however near the deadline is.
const FIRST_PASS: Duration = Duration::from_secs(1);

/// Sweeps at every interval until the invocation's deadline is near.
///
/// # Errors
/// Where Redis did not answer the first pass, or the last.
pub async fn handle(app: Arc<App>, event: Event) -> Result<Value, Error> {
    let start = Instant::now();
    let left = event.context.deadline().duration_since(SystemTime::now()).unwrap_or_default();
    let stop = start + left.saturating_sub(STOP);
    let mut break_off = start + left.saturating_sub(BREAK_OFF).max(FIRST_PASS);
    let mut work = Work::new(&app);
    loop {
        let next = Instant::now() + app.config.lifetimes.sweep_interval;
        let is_last = next >= stop;
        match timeout_at(break_off, work.pass()).await {
            Ok(Err(error)) if is_last || work.passes == 0 => return Err(error.into()),
            Ok(Err(error)) => {
                tracing::error!(error = &error as &dyn std::error::Error, "sweep failed; the next one may not");
            }
            Ok(Ok(())) => work.passes += 1,
            Err(_) => tracing::warn!("sweep broken off before the deadline; the next one goes on"),
        }
        sleep_until(next.min(stop)).await;
        if is_last {
            return Ok(work.report());
        }
        break_off = start + left.saturating_sub(BREAK_OFF);
    }
}

struct Work {
    sweeper: Sweeper,
    relay: Option<Relay>,
    passes: u64,
    swept: Swept,
    relayed: Relayed,
}

impl Work {
    fn new(app: &App) -> Self {
        Self {
            sweeper: app.sweeper(),
            relay: app.relay(),
            passes: 0,
            swept: Swept::default(),
            relayed: Relayed::default(),
        }
    }

    async fn pass(&mut self) -> Result<(), StoreError> {
        self.swept = self.swept + self.sweeper.pass().await?;
        if let Some(relay) = &self.relay {
            self.relayed = self.relayed + relay.pass().await?;
        }
        Ok(())
    }

    fn report(&self) -> Value {
        json!({
            "passes": self.passes,
            "expired": self.swept.expired,
            "refiled": self.swept.refiled,
            "published": self.relayed.published,
            "dropped": self.relayed.dropped,
        })
    }
}
