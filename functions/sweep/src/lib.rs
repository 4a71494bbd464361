//! The scheduled sweep: makes the OFFLINE transition of players whose record expired, and publishes
//! the events that wait.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use presence::{
    GatewaySweeper, StoreError, Sweeper,
    events::{RelaySignal, Relayed},
    runtime::{App, Error, Event},
};
use serde_json::{Value, json};
use tokio::{
    join,
    time::{Instant, sleep_until, timeout_at},
};

/// The function responds this long before its deadline.
const RESPOND_BEFORE_DEADLINE: Duration = Duration::from_millis(1_500);

/// Work that is not done this long before the deadline is aborted: what is left waits for the next
/// sweep.
const ABORT_BEFORE_DEADLINE: Duration = Duration::from_millis(500);

/// How long work may take if the deadline has already passed, as under `cargo lambda watch`.
const WORK_AFTER_DEADLINE: Duration = Duration::from_secs(1);

/// Sweeps at every interval until the invocation's deadline is near, and relays events beside it.
///
/// # Errors
/// Redis did not respond to the first pass, or the last, or the relay after it.
pub async fn handle(app: Arc<App>, event: Event) -> Result<Value, Error> {
    let start = Instant::now();
    let left = event
        .context
        .deadline()
        .duration_since(SystemTime::now())
        .unwrap_or_default();
    let stop = start + left.saturating_sub(RESPOND_BEFORE_DEADLINE);
    let work = if left.is_zero() {
        WORK_AFTER_DEADLINE
    } else {
        left.saturating_sub(ABORT_BEFORE_DEADLINE).max(left * 3 / 4)
    };
    let interval = app.config.lifetimes.sweep_interval;
    let signal = RelaySignal::default();
    let gateways = app.gateway_sweeper(signal.clone());
    let mut sweeps = Sweeps {
        sweeper: app.sweeper(signal.clone()),
        gateways,
        passes: 0,
    };

    let Some(relay) = app.relay() else {
        sweeps.run(interval, stop, start + work).await?;
        return Ok(sweeps.report(Relayed::default()));
    };
    tokio::select! {
        result = sweeps.run(interval, stop, start + work) => result?,
        () = relay.run(&signal, interval) => {}
    }
    // The events of the last pass, and those that were under way.
    match timeout_at(start + work, relay.pass()).await {
        Ok(relayed) => _ = relayed?,
        Err(_) => tracing::warn!("relay aborted before the deadline; events wait for the next one"),
    }
    Ok(sweeps.report(relay.total()))
}

struct Sweeps {
    sweeper: Sweeper,
    gateways: GatewaySweeper,
    /// The number of passes that ended before the deadline.
    passes: u64,
}

impl Sweeps {
    async fn run(
        &mut self,
        interval: Duration,
        stop: Instant,
        abort_at: Instant,
    ) -> Result<(), Error> {
        loop {
            let next = Instant::now() + interval;
            let is_last = next >= stop;
            match timeout_at(abort_at, self.pass()).await {
                Ok(Ok(_)) => self.passes += 1,
                Ok(Err(error)) if is_last || self.passes == 0 => return Err(error.into()),
                Ok(Err(error)) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "sweep pass failed, retrying at the next interval"
                    );
                }
                Err(_) if self.passes == 0 => {
                    return Err("no pass of the sweep ended before the deadline".into());
                }
                Err(_) => {
                    tracing::warn!("sweep aborted before the deadline; the next one continues")
                }
            }
            sleep_until(next.min(stop)).await;
            if is_last {
                return Ok(());
            }
        }
    }

    /// Players and gateways at the same time: many expired players do not delay lost gateways.
    async fn pass(&self) -> Result<(), StoreError> {
        let (players, gateways) = join!(self.sweeper.pass(), self.gateways.pass());
        players?;
        gateways?;
        Ok(())
    }

    fn report(&self, relayed: Relayed) -> Value {
        let swept = self.sweeper.total();
        json!({
            "passes": self.passes,
            "expired": swept.expired,
            "rescheduled": swept.rescheduled,
            "leases_ended": self.gateways.ended(),
            "published": relayed.published,
            "dropped": relayed.dropped,
        })
    }
}
