//! The sweep of gateways, which ends the leases of connections whose gateway's lease has expired.

use std::{
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    task::JoinSet,
    time::{Instant, sleep_until},
};

use crate::{
    events::RelaySignal,
    redis::{StoreError, episodes},
    store::{Ending, LostGateways, Store},
    telemetry::{
        TraceContext,
        metrics::{GATEWAYS, GATEWAYS_HELD, GATEWAYS_LOST},
    },
};

/// Sweeps gateways. Any number of sweepers may run: each lease is ended once.
#[derive(Clone)]
pub struct GatewaySweeper {
    store: Store,
    signal: RelaySignal,
    ended: Arc<AtomicU64>,
}

impl GatewaySweeper {
    /// Creates a sweeper of the gateways in `store`. It notifies the relay of its process of new
    /// events.
    pub fn new(store: Store, signal: RelaySignal) -> Self {
        Self {
            store,
            signal,
            ended: Arc::default(),
        }
    }

    /// Looks for lost gateways, and ends the leases of their connections. Returns the number of
    /// leases ended.
    ///
    /// # Errors
    /// [`StoreError`] if a Redis node did not respond. What is left waits for the next pass of any
    /// sweeper.
    pub async fn pass(&self) -> Result<u64, StoreError> {
        let found = self.check().await?;
        self.end_all(&found.endings).await
    }

    /// The number of leases that this sweeper and its clones have ended.
    pub fn ended(&self) -> u64 {
        self.ended.load(Relaxed)
    }

    /// Sweeps at half of `interval`, indefinitely. It checks for lost gateways even while leases
    /// are being ended: a longer pause between two checks counts as an outage.
    pub async fn run(&self, interval: Duration) {
        // Leases are ended in a task of their own, so that checks for lost gateways do not wait for
        // it.
        let mut ending = JoinSet::new();
        loop {
            let next = Instant::now() + interval / 2;
            if let Some(Err(error)) = ending.try_join_next()
                && let Ok(panic) = error.try_into_panic()
            {
                resume_unwind(panic); // for the supervisor of the sweep
            }
            let found = self.look_or_log().await;
            if let Some(LostGateways { endings, .. }) = found
                && ending.is_empty()
            {
                let sweeper = self.clone();
                ending.spawn(async move { sweeper.end_all_or_log(&endings).await });
            }
            sleep_until(next).await;
        }
    }

    /// Looks for lost gateways, and sets the metrics.
    async fn check(&self) -> Result<LostGateways, StoreError> {
        let found = self.store.lost_gateways().await?;
        metrics::gauge!(GATEWAYS).set(found.known as f64);
        metrics::gauge!(GATEWAYS_HELD).set(if found.is_held { 1.0 } else { 0.0 });
        metrics::counter!(GATEWAYS_LOST).increment(found.lost);
        if found.lost > 0 {
            tracing::warn!(
                gateways = found.lost,
                "gateways lost; the leases of their connections are ended"
            );
        }
        Ok(found)
    }

    async fn look_or_log(&self) -> Option<LostGateways> {
        match self.check().await {
            Ok(found) => Some(found),
            Err(error) => {
                episodes::call_failed(&error);
                None
            }
        }
    }

    /// Ends the leases of the connections of gateways, one gateway after the other.
    async fn end_all(&self, endings: &[Ending]) -> Result<u64, StoreError> {
        let mut total = 0;
        let mut failure = None;
        for ending in endings {
            match self.end(ending).await {
                Ok(ended) => total += ended,
                Err(error) => failure = Some(error),
            }
        }
        failure.map_or(Ok(total), Err)
    }

    async fn end_all_or_log(&self, endings: &[Ending]) {
        if let Err(error) = self.end_all(endings).await {
            episodes::pass_failed(
                &error,
                "leases of a lost gateway not ended, retrying at the next interval",
            );
        }
    }

    async fn end(&self, ending: &Ending) -> Result<u64, StoreError> {
        let trace = TraceContext::new_root();
        let mut connections_ending = self.store.end_connections(ending, &trace).await?;
        let mut total = 0;
        while let Some(step) = connections_ending.next().await {
            self.signal.notify(&step.events);
            self.ended.fetch_add(step.ended, Relaxed);
            total += step.ended;
        }
        connections_ending.finish().await?;
        tracing::info!(
            gateway_id = ending.gateway.as_str(),
            connections = total,
            "leases of a gateway's connections ended"
        );
        Ok(total)
    }
}
