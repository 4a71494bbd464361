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

/// The last pass starts no later than this before the deadline.
const STOP: Duration = Duration::from_millis(1_500);

/// A pass that is not done by then is broken off: what it has not done waits for the next sweep.
const BREAK_OFF: Duration = Duration::from_millis(500);

/// Sweeps at every interval until the invocation's deadline is near.
///
/// # Errors
/// Where Redis did not answer the first pass, or the last.
pub async fn handle(app: Arc<App>, event: Event) -> Result<Value, Error> {
    let deadline = instant(event.context.deadline());
    let (stop, break_off) = (deadline - STOP, deadline - BREAK_OFF);
    let mut work = Work {
        sweeper: app.sweeper(),
        relay: app.relay(),
        passes: 0,
        swept: Swept::default(),
        relayed: Relayed::default(),
    };
    loop {
        let next = Instant::now() + app.config.lifetimes.sweep_interval;
        let result = timeout_at(break_off, work.pass()).await.unwrap_or(Ok(()));
        let is_over = next >= stop;
        match result {
            Err(error) if is_over || work.passes == 0 => return Err(error.into()),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "sweep failed; the next one may not")
            }
            Ok(()) => work.passes += 1,
        }
        sleep_until(next.min(stop)).await;
        if is_over {
            return Ok(work.report());
        }
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

fn instant(deadline: SystemTime) -> Instant {
    Instant::now() + deadline.duration_since(SystemTime::now()).unwrap_or_default()
}
