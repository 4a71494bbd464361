//! Health checks of Redis, NATS, the sweep and the outbox.

use std::{sync::Arc, time::Duration};

pub use presence_types::{Check, Checks, Health, HealthStatus};

use crate::{
    Cached,
    events::{Backlog, NatsHealth, Oldest, Publisher},
    operator::OperatorQueries,
    store::Store,
    telemetry::metrics::{NATS_UP, OUTBOX_AGE, REDIS_UP, SWEEP_LAG},
};

/// The longest time since the last sweep. Beyond it, the sweep is late.
const MAX_SWEEP_LAG: Duration = Duration::from_mins(2);

/// The longest time that an event may wait in the outbox. A relay, also that of the function
/// `sweep`, publishes at least once per minute.
const MAX_OUTBOX_AGE: Duration = Duration::from_mins(2);

/// Time limit of a request to JetStream.
const NATS_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the result of a check is shared.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Checks Redis, JetStream, the sweep and the outbox.
#[derive(Clone)]
pub struct HealthProbe {
    store: Store,
    publisher: Option<Publisher>,
    backlog: Backlog,
}

/// The health of the service, for any number of callers: one check at a time, shared for a second.
#[derive(Clone)]
pub struct HealthMonitor {
    probe: HealthProbe,
    latest: Arc<Cached<Health>>,
}

impl HealthProbe {
    /// Creates a probe of `store` and, if events are on, `publisher`. It records the age of the
    /// outbox in `backlog`.
    pub fn new(store: Store, publisher: Option<Publisher>, backlog: Backlog) -> Self {
        Self {
            store,
            publisher,
            backlog,
        }
    }

    /// Checks everything, and sets the gauges. In a cluster, the outbox is checked by what a relay
    /// recorded within the last minute; without such a record, each partition takes one command.
    pub async fn check(&self) -> Health {
        self.check_with(async {
            match self.relayed_since(None).await {
                Some(oldest) => outbox_check(oldest),
                None => self.outbox().await,
            }
        })
        .await
    }

    /// Checks everything as [`check`](Self::check) does, and counts the players. The partitions of
    /// a cluster are read only once per call: if no relay runs, so that all outboxes had to be
    /// read, the players are not counted.
    pub async fn check_and_count(&self, operator_queries: &OperatorQueries) -> Health {
        let relayed = self.relayed_since(None).await;
        let has_looked = relayed.is_none() && self.publisher.is_some() && self.store.takes_turns();
        let outbox = async {
            match relayed {
                Some(oldest) => outbox_check(oldest),
                None => self.outbox().await,
            }
        };
        let health = self.check_with(outbox).await;
        if health.is_available()
            && !has_looked
            && let Err(error) = operator_queries.statistics().await
        {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "players not counted"
            );
        }
        health
    }

    /// Checks everything, and sets the gauges. Takes a few commands per node: the outbox is checked
    /// by what the relay of this process, an earlier check, or in a cluster the relay of another
    /// process recorded within the last minute.
    pub async fn check_lightly(&self) -> Health {
        self.check_with(async {
            let found = match self.relayed_since(self.backlog.age()).await {
                Some(oldest) => Some(oldest),
                None => self.backlog.oldest(),
            };
            match found {
                Some(oldest) if self.publisher.is_some() => outbox_check(oldest),
                _ => self.outbox().await,
            }
        })
        .await
    }

    /// The record of any process's relay about the outbox of a cluster, if that is newer than
    /// `own`, the age of this process's observation.
    async fn relayed_since(&self, own: Option<Duration>) -> Option<Oldest> {
        self.publisher.as_ref()?;
        let age = self.store.relay_lag().await.ok()??;
        let is_newer = own.is_none_or(|own| age < own);
        (is_newer && Backlog::is_fresh(age)).then_some(Oldest::None)
    }

    async fn check_with(&self, outbox: impl Future<Output = Check>) -> Health {
        let (redis, nats, sweep, outbox) =
            tokio::join!(self.redis(), self.nats(), self.sweep(), outbox);
        let checks = Checks {
            redis,
            nats,
            sweep,
            outbox,
        };
        set_gauges(&checks);
        Health {
            status: checks.status(),
            checks,
        }
    }

    async fn redis(&self) -> Check {
        match self.store.probe().await {
            Ok(None) => Check::from(HealthStatus::Ok),
            Ok(Some(error)) => {
                // The store has logged the node's failure, once per episode.
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "some Redis nodes are unavailable"
                );
                Check::from(HealthStatus::Degraded)
            }
            Err(error) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    "Redis is unavailable"
                );
                Check::from(HealthStatus::Unavailable)
            }
        }
    }

    async fn nats(&self) -> Check {
        let Some(publisher) = &self.publisher else {
            return HealthStatus::Disabled.into();
        };
        // The publisher logs each problem once.
        Check::from(match publisher.health(NATS_TIMEOUT).await {
            NatsHealth::Ok => HealthStatus::Ok,
            NatsHealth::Degraded => HealthStatus::Degraded,
            NatsHealth::Unavailable => HealthStatus::Unavailable,
        })
    }

    async fn sweep(&self) -> Check {
        match self.store.sweep_lag().await {
            Ok(Some(lag)) => age_check(Duration::from_millis(lag), MAX_SWEEP_LAG),
            Ok(None) | Err(_) => Check::from(HealthStatus::Unknown),
        }
    }

    async fn outbox(&self) -> Check {
        if self.publisher.is_none() {
            return HealthStatus::Disabled.into();
        }
        let oldest = Oldest::of(&self.store.waiting_shards().await);
        self.backlog.record(oldest);
        outbox_check(oldest)
    }
}

impl HealthMonitor {
    /// Creates a monitor of `probe`. Nothing is checked before the first caller asks.
    pub fn new(probe: HealthProbe) -> Self {
        Self {
            probe,
            latest: Arc::new(Cached::new(CACHE_TTL)),
        }
    }

    /// The health as of a second ago at most.
    pub async fn latest(&self) -> Health {
        let probe = self.probe.clone();
        self.latest
            .get(async move || probe.check_lightly().await)
            .await
            .unwrap_or_else(unknown)
    }
}

/// The health of a service that could not be checked.
fn unknown() -> Health {
    let unknown = Check::from(HealthStatus::Unknown);
    let checks = Checks {
        redis: unknown,
        nats: unknown,
        sweep: unknown,
        outbox: unknown,
    };
    Health {
        status: HealthStatus::Unavailable,
        checks,
    }
}

fn set_gauges(checks: &Checks) {
    let to_gauge = |check: Check| {
        if check.status == HealthStatus::Ok {
            1.0
        } else {
            0.0
        }
    };
    let to_seconds = |age_ms: u64| Duration::from_millis(age_ms).as_secs_f64();
    metrics::gauge!(REDIS_UP).set(to_gauge(checks.redis));
    if checks.nats.status != HealthStatus::Disabled {
        metrics::gauge!(NATS_UP).set(to_gauge(checks.nats));
    }
    if let Some(lag) = checks.sweep.age_ms {
        metrics::gauge!(SWEEP_LAG).set(to_seconds(lag));
    }
    if let Some(age) = checks.outbox.age_ms {
        metrics::gauge!(OUTBOX_AGE).set(to_seconds(age));
    }
}

fn outbox_check(oldest: Oldest) -> Check {
    match oldest {
        Oldest::Unknown => HealthStatus::Unknown.into(),
        Oldest::None => age_check(Duration::ZERO, MAX_OUTBOX_AGE),
        Oldest::Aged(age) => age_check(age, MAX_OUTBOX_AGE),
    }
}

fn age_check(age: Duration, max: Duration) -> Check {
    let status = if age > max {
        HealthStatus::Degraded
    } else {
        HealthStatus::Ok
    };
    Check {
        status,
        age_ms: Some(age.as_millis() as u64),
    }
}
