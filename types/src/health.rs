//! The health of the service.

use serde::{Deserialize, Serialize};

/// The result of a health check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// The whole service: unavailable if Redis is, degraded if anything else is.
    pub status: HealthStatus,
    /// The components of the service.
    pub checks: Checks,
}

/// The health of the components of the service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checks {
    /// Redis responds and runs scripts. Degraded if some nodes of a cluster do not: the players of
    /// the others are served.
    pub redis: Check,
    /// JetStream responds, and the stream accepts events. Degraded if only the stream fails.
    /// Disabled if events are off.
    pub nats: Check,
    /// The last sweep ended recently. Unknown before the first sweep.
    pub sweep: Check,
    /// No event has waited long. Disabled if events are off.
    pub outbox: Check,
}

/// The health of one component.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// The status of the component.
    pub status: HealthStatus,
    /// The sweep's lag, or the age of the oldest event in the outbox, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_ms: Option<u64>,
}

/// The status of a component, or of the whole service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    /// The component works.
    Ok,
    /// Calls are served, but a component is late or unavailable.
    Degraded,
    /// A component does not respond. If it is Redis, calls fail.
    Unavailable,
    /// The status could not be determined.
    Unknown,
    /// The component is not in use.
    Disabled,
}

impl Health {
    /// Whether calls are served.
    pub fn is_available(&self) -> bool {
        self.status != HealthStatus::Unavailable
    }

    /// Marks the service as unavailable, with its components as they are: it is about to stop.
    #[must_use]
    pub fn unavailable(self) -> Self {
        Self {
            status: HealthStatus::Unavailable,
            ..self
        }
    }
}

impl Checks {
    /// The status of the whole service. Only Redis makes it unavailable: events wait, and the TTL
    /// needs no sweep.
    pub fn status(&self) -> HealthStatus {
        use HealthStatus::{Degraded, Ok, Unavailable};
        let is_bad = |check: &Check| matches!(check.status, Degraded | Unavailable);
        match self.redis.status {
            Ok if [self.nats, self.sweep, self.outbox].iter().any(is_bad) => Degraded,
            status => status,
        }
    }
}

impl From<HealthStatus> for Check {
    /// The health of a component without an age.
    fn from(status: HealthStatus) -> Self {
        Self {
            status,
            age_ms: None,
        }
    }
}

impl HealthStatus {
    /// The status's name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Disabled => "disabled",
        }
    }
}
