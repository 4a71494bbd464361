//! Health: whether the service can do its work.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    Cached,
    events::{Backlog, NatsHealth, Oldest, Publisher},
    insight::Insight,
    repository::Repository,
    telemetry::metrics::{NATS_UP, OUTBOX_AGE, REDIS_UP, SWEEP_LAG},
};

/// A sweep that ended longer ago is late.
const MAX_SWEEP_LAG: Duration = Duration::from_mins(2);

/// An event that waits longer in the outbox is late: the sweep republishes every minute at the latest.
const MAX_OUTBOX_AGE: Duration = Duration::from_mins(2);

/// How long JetStream may take to answer.
const NATS_LIMIT: Duration = Duration::from_millis(500);

/// How long a check is shared.
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

/// What the probe found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The whole service: unavailable where Redis is, degraded where anything else is.
    pub status: HealthStatus,
    /// Its parts.
    pub checks: Checks,
}

/// The parts of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Checks {
    /// Redis answers, and runs scripts. Degraded where some nodes of a cluster do not: the players of the others are
    /// served.
    pub redis: Check,
    /// JetStream answers, and the stream takes events. Degraded if only the latter does not hold. Disabled if no events
    /// are made.
    pub nats: Check,
    /// The last sweep ended not long ago. Unknown where there was none yet.
    pub sweep: Check,
    /// No event has waited long. Disabled where no events are made.
    pub outbox: Check,
}

/// One part of the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Check {
    /// How it is.
    pub status: HealthStatus,
    /// The sweep's lag, or the age of the oldest event in the outbox.
    #[serde(rename = "age_ms", skip_serializing_if = "Option::is_none")]
    pub age: Option<u64>,
}

/// How a part is, or the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// As it should be.
    Ok,
    /// Calls are answered, but something is late or away.
    Degraded,
    /// Calls fail.
    Unavailable,
    /// Nothing can be said.
    Unknown,
    /// Not in use.
    Disabled,
}

impl HealthProbe {
    /// A probe of the service on `repository` and, if events are made, `publisher`. What it finds in the outbox is kept in
    /// `backlog`.
    pub fn new(repository: Repository, publisher: Option<Publisher>, backlog: Backlog) -> Self {
        Self { repository, publisher, backlog }
    }

    /// Checks everything, and sets the gauges. In a cluster what it says of the outbox is what a relay found in the last
    /// minute, if one did; else it takes a command per partition.
    pub async fn check(&self) -> Health {
        self.check_with(async {
            match self.relayed_since(None).await {
                Some(oldest) => Check::of_outbox(oldest),
                None => self.outbox().await,
            }
        })
        .await
    }

    /// Checks everything as [`check`](Self::check) does, and counts the players if that is due. A cluster's partitions are
    /// asked once: players are not counted if the outboxes had to be looked through, as no relay works.
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

    /// Checks everything, and sets the gauges. Takes a few commands per node: of the outbox it says what the relay of this
    /// process, or an earlier check, found in the last minute, or in a cluster the relay of another process.
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

    /// What a relay of any process noted about the outbox of a cluster, if that is newer than the `own` look.
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
                // Once per episode and not per check: the node's failure is logged where it is noticed.
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
        // The publisher logs what is wrong, once.
        Check::new(match publisher.health(NATS_LIMIT).await {
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
    /// Monitors what `probe` checks. Nothing is checked before the first caller asks.
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

    /// The same parts of a service that is about to stop answering calls.
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
        let up = |check: Check| if check.status == HealthStatus::Ok { 1.0 } else { 0.0 };
        let seconds = |age: u64| Duration::from_millis(age).as_secs_f64();
        metrics::gauge!(REDIS_UP).set(up(self.checks.redis));
        if self.checks.nats.status != HealthStatus::Disabled {
            metrics::gauge!(NATS_UP).set(up(self.checks.nats));
        }
        if let Some(lag) = self.checks.sweep.age {
            metrics::gauge!(SWEEP_LAG).set(seconds(lag));
        }
        if let Some(age) = self.checks.outbox.age {
            metrics::gauge!(OUTBOX_AGE).set(seconds(age));
        }
        self
    }
}

impl Checks {
    /// Only Redis makes the service unavailable: events wait, and the TTL needs no sweep.
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
