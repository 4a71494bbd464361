//! How commands are treated on their way to Redis.

use super::{in_flight::Urgency, link::Repeat};

/// How a command is treated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Whether it may be sent again when it is unknown whether it was carried out.
    pub(super) repeat: Repeat,
    /// How soon it is sent when the node is busy.
    pub(super) urgency: Urgency,
    /// Whether it writes.
    pub(super) effect: Effect,
    /// What is done if its keys are on two nodes.
    pub(super) keys_apart: KeysApart,
}

/// What is done with a command whose keys are on two nodes, because their slot is being moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeysApart {
    /// It is sent again until all are on one node, or until its time is up.
    Wait,
    /// It fails at once: the caller sends its parts instead.
    Fail,
}

/// Whether a command writes: what writes first to an unused cluster stores the number of partitions there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes nothing, or only what concerns no player.
    Read,
    /// It may make or change a player.
    Write,
}

impl Policy {
    /// Renewals of leases.
    pub(super) const RENEWAL: Self = Self { urgency: Urgency::Renewal, ..Self::CALL };
    /// Other calls that change players and may be repeated.
    pub(super) const CALL: Self =
        Self { repeat: Repeat::Allowed, urgency: Urgency::Normal, effect: Effect::Write, keys_apart: KeysApart::Wait };
    /// Calls that change players, of which a late repetition would override a newer one.
    pub(super) const UNREPEATED: Self = Self { repeat: Repeat::Forbidden, ..Self::CALL };
    /// Calls that read players.
    pub(super) const READ: Self = Self { effect: Effect::Read, ..Self::CALL };
    /// Calls that read several players, and read them one by one if their keys are on two nodes.
    pub(super) const READ_TOGETHER: Self = Self { keys_apart: KeysApart::Fail, ..Self::READ };
    /// The service's own upkeep and checks.
    pub(super) const UPKEEP: Self = Self { urgency: Urgency::Exempt, ..Self::READ };
    /// The beginning of a pass over all partitions.
    pub(super) const TURN: Self = Self { effect: Effect::Write, ..Self::UPKEEP };
}
