//! How commands are treated on their way to Redis.

use super::{in_flight::Urgency, link::Repeat};

/// How a command is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Whether it may be sent again when it is unknown whether it was carried out.
    pub(super) repeat: Repeat,
    /// How soon it is sent when the node is busy.
    pub(super) urgency: Urgency,
}

impl Policy {
    /// Renewals of leases.
    pub(super) const RENEWAL: Self = Self { repeat: Repeat::Allowed, urgency: Urgency::Renewal };
    /// Other calls that may be repeated.
    pub(super) const CALL: Self = Self { repeat: Repeat::Allowed, urgency: Urgency::Normal };
    /// The service's own upkeep and checks.
    pub(super) const UPKEEP: Self = Self { repeat: Repeat::Allowed, urgency: Urgency::Exempt };
}
