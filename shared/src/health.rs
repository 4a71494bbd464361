//! Health checks of Redis, NATS, the sweep and the outbox.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    Cached,
    events::{Backlog, NatsHealth, Oldest, Publisher},
    insight::Insight,
    repository::Repository,
    telemetry::metrics::{NATS_UP, OUTBOX_AGE, REDIS_UP, SWEEP_LAG},
};

/// The longest time since the last sweep. Beyond it, the sweep is late.
const MAX_SWEEP_LAG: Duration = Duration::from_mins(2);

/// The longest time that an event may wait in the outbox. The sweep publishes at least once per minute.
const MAX_OUTBOX_AGE: Duration = Duration::from_mins(2);

/// Time limit of a request to JetStream.
const NATS_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the result of a check is shared.
const CACHE_TTL: Duration = Duration::from_secs(1);

/// Checks Redis, JetStream, the sweep and the outbox.
#[derive(Clone)]
pub struct HealthProbe {
    repository: Repository,
    publisher: Option<Publisher>,
    backlog: Backlog,
}

/// The health of the service, for any number of callers: one check at a time, shared for a second.
#[derive(Clone)]
pub struct HealthMonitor {
    probe: HealthProbe,
    latest: Arc<Cached<Health>>,
}

/// The result of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The whole service: unavailable if Redis is, degraded if anything else is.
    pub status: HealthStatus,
    /// The components of the service.
    pub checks: Checks,
}

/// The health of the components of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// Redis answers and runs scripts. Degraded if some nodes of a cluster do not: the players of the others are
    /// served.
    pub redis: Check,
    /// JetStream answers, and the stream accepts events. Degraded if only the stream fails. Disabled if events are off.
    pub nats: Check,
    /// The last sweep ended recently. Unknown before the first sweep.
    pub sweep: Check,
    /// No event has waited long. Disabled if events are off.
    pub outbox: Check,
}

/// The health of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Check {
    /// The status of the component.
    pub status: HealthStatus,
    /// The sweep's lag, or the age of the oldest event in the outbox, in milliseconds.
    #[serde(rename = "age_ms", skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
}

/// The status of a component, or of the whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// The component works.
    Ok,
    /// Calls are served, but a component is late or unavailable.
    Degraded,
    /// Calls fail.
    Unavailable,
    /// The status could not be determined.
    Unknown,
    /// The component is not in use.
    Disabled,
}

impl HealthProbe {
    /// Creates a probe of `repository` and, if events are on, `publisher`. It records the age of the outbox in
    /// `backlog`.
    pub fn new(repository: Repository, publisher: Option<Publisher>, backlog: Backlog) -> Self {
        Self { repository, publisher, backlog }
    }

    /// Checks everything, and sets the gauges. In a cluster, the outbox is checked by what a relay recorded within the
    /// last minute; without such a record, each partition takes one command.
    pub async fn check(&self) -> Health {
        self.check_with(async {
            match self.relayed_since(None).await {
                Some(oldest) => Check::of_outbox(oldest),
                None => self.outbox().await,
            }
        })
        .await
    }

    /// Checks everything as [`check`](Self::check) does, and counts the players. The partitions of a cluster are read
    /// only once per call: if no relay runs, so that all outboxes had to be read, the players are not counted.
    pub async fn check_and_count(&self, insight: &Insight) -> Health {
        let relayed = self.relayed_since(None).await;
        let has_looked = relayed.is_none() && self.publisher.is_some() && self.repository.takes_turns();
        let outbox = async {
            match relayed {
                Some(oldest) => Check::of_outbox(oldest),
                None => self.outbox().await,
            }
        };
        let health = self.check_with(outbox).await;
        if health.is_available()
            && !has_looked
            && let Err(error) = insight.statistics().await
        {
            tracing::warn!(error = &error as &dyn std::error::Error, "players not counted");
        }
        health
    }

    /// Checks everything, and sets the gauges. Takes a few commands per node: the outbox is checked by what the relay
    /// of this process, an earlier check, or in a cluster the relay of another process recorded within the last minute.
    pub async fn check_lightly(&self) -> Health {
        self.check_with(async {
            let found = match self.relayed_since(self.backlog.age()).await {
                Some(oldest) => Some(oldest),
                None => self.backlog.oldest(),
            };
            match found {
                Some(oldest) if self.publisher.is_some() => Check::of_outbox(oldest),
                _ => self.outbox().await,
            }
        })
        .await
    }

    /// The record of any process's relay about the outbox of a cluster, if that is newer than `own`, the age of this
    /// process's observation.
    async fn relayed_since(&self, own: Option<Duration>) -> Option<Oldest> {
        self.publisher.as_ref()?;
        let age = self.repository.relay_lag().await.ok()??;
        let is_newer = own.is_none_or(|own| age < own);
        (is_newer && Backlog::is_fresh(age)).then_some(Oldest::None)
    }

    async fn check_with(&self, outbox: impl Future<Output = Check>) -> Health {
        let (redis, nats, sweep, outbox) = tokio::join!(self.redis(), self.nats(), self.sweep(), outbox);
        let checks = Checks { redis, nats, sweep, outbox };
        Health { status: checks.status(), checks }.measured()
    }

    async fn redis(&self) -> Check {
        match self.repository.probe().await {
            Ok(None) => Check::new(HealthStatus::Ok),
            Ok(Some(error)) => {
                // The repository has logged the node's failure, once per episode.
                tracing::debug!(error = &error as &dyn std::error::Error, "some Redis nodes are unavailable");
                Check::new(HealthStatus::Degraded)
            }
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "Redis is unavailable");
                Check::new(HealthStatus::Unavailable)
            }
        }
    }

    async fn nats(&self) -> Check {
        let Some(publisher) = &self.publisher else { return Check::new(HealthStatus::Disabled) };
        // The publisher logs each problem once.
        Check::new(match publisher.health(NATS_TIMEOUT).await {
            NatsHealth::Ok => HealthStatus::Ok,
            NatsHealth::Degraded => HealthStatus::Degraded,
            NatsHealth::Unavailable => HealthStatus::Unavailable,
        })
    }

    async fn sweep(&self) -> Check {
        match self.repository.sweep_lag().await {
            Ok(Some(lag)) => Check::of_age(Duration::from_millis(lag), MAX_SWEEP_LAG),
            Ok(None) | Err(_) => Check::new(HealthStatus::Unknown),
        }
    }

    async fn outbox(&self) -> Check {
        if self.publisher.is_none() {
            return Check::new(HealthStatus::Disabled);
        }
        let oldest = Oldest::of(&self.repository.waiting_shards().await);
        self.backlog.record(oldest);
        Check::of_outbox(oldest)
    }
}

impl HealthMonitor {
    /// Creates a monitor of `probe`. Nothing is checked before the first caller asks.
    pub fn new(probe: HealthProbe) -> Self {
        Self { probe, latest: Arc::new(Cached::new(CACHE_TTL)) }
    }

    /// The health as of a second ago at most.
    pub async fn latest(&self) -> Health {
        let probe = self.probe.clone();
        self.latest.get(async move || probe.check_lightly().await).await.unwrap_or_else(Health::unknown)
    }
}

impl Health {
    /// Whether calls are answered.
    pub fn is_available(&self) -> bool {
        self.status != HealthStatus::Unavailable
    }

    /// Marks the service as unavailable, with its components as they are: it is about to stop.
    #[must_use]
    pub fn unavailable(self) -> Self {
        Self { status: HealthStatus::Unavailable, ..self }
    }

    /// The health of a service that could not be checked.
    fn unknown() -> Self {
        let unknown = Check::new(HealthStatus::Unknown);
        let checks = Checks { redis: unknown, nats: unknown, sweep: unknown, outbox: unknown };
        Self { status: HealthStatus::Unavailable, checks }
    }

    fn measured(self) -> Self {
        let to_gauge = |check: Check| if check.status == HealthStatus::Ok { 1.0 } else { 0.0 };
        let to_seconds = |age_ms: u64| Duration::from_millis(age_ms).as_secs_f64();
        metrics::gauge!(REDIS_UP).set(to_gauge(self.checks.redis));
        if self.checks.nats.status != HealthStatus::Disabled {
            metrics::gauge!(NATS_UP).set(to_gauge(self.checks.nats));
        }
        if let Some(lag) = self.checks.sweep.age {
            metrics::gauge!(SWEEP_LAG).set(to_seconds(lag));
        }
        if let Some(age) = self.checks.outbox.age {
            metrics::gauge!(OUTBOX_AGE).set(to_seconds(age));
        }
        self
    }
}

impl Checks {
    /// The status of the whole service. Only Redis makes it unavailable: events wait, and the TTL needs no sweep.
    fn status(&self) -> HealthStatus {
        use HealthStatus::{Degraded, Ok, Unavailable};
        let is_bad = |check: &Check| matches!(check.status, Degraded | Unavailable);
        match self.redis.status {
            Ok if [self.nats, self.sweep, self.outbox].iter().any(is_bad) => Degraded,
            status => status,
        }
    }
}

impl Check {
    fn new(status: HealthStatus) -> Self {
        Self { status, age: None }
    }

    fn of_outbox(oldest: Oldest) -> Self {
        match oldest {
            Oldest::Unknown => Self::new(HealthStatus::Unknown),
            Oldest::None => Self::of_age(Duration::ZERO, MAX_OUTBOX_AGE),
            Oldest::Aged(age) => Self::of_age(age, MAX_OUTBOX_AGE),
        }
    }

    fn of_age(age: Duration, max: Duration) -> Self {
        let status = if age > max { HealthStatus::Degraded } else { HealthStatus::Ok };
        Self { status, age: Some(age.as_millis() as u64) }
    }
}
