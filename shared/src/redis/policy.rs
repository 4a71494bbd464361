//! Policies of commands: repetition, urgency, effect.

use super::{in_flight::Urgency, link::Repeat};

/// The handling of a command on its way to Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Whether it may be sent again if it is unknown whether it was executed.
    pub(super) repeat: Repeat,
    /// Its priority when the node is busy.
    pub(super) urgency: Urgency,
    /// Whether it writes.
    pub(super) effect: Effect,
    /// The handling if its keys are on two nodes.
    pub(super) keys_apart: KeysApart,
}

/// The handling of a command whose keys are on two nodes, as their slot is being moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum KeysApart {
    /// It is sent again until all keys are on one node, or until its time limit.
    Wait,
    /// It fails at once. The caller sends its parts instead.
    Fail,
}

/// Whether a command writes. The first write to an unused cluster stores the number of partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It changes no player.
    Read,
    /// It may create or change a player.
    Write,
}

impl Policy {
    /// Renewals of leases.
    pub(crate) const RENEWAL: Self = Self {
        urgency: Urgency::Renewal,
        ..Self::CALL
    };
    /// Other calls that change players and may be repeated.
    pub(crate) const CALL: Self = Self {
        repeat: Repeat::Allowed,
        urgency: Urgency::Normal,
        effect: Effect::Write,
        keys_apart: KeysApart::Wait,
    };
    /// Calls that change players and must not be repeated: a late repetition would override a newer
    /// call.
    pub(crate) const UNREPEATED: Self = Self {
        repeat: Repeat::Forbidden,
        ..Self::CALL
    };
    /// Calls that read players.
    pub(crate) const READ: Self = Self {
        effect: Effect::Read,
        ..Self::CALL
    };
    /// Calls that read several players. The caller reads them one by one if their keys are on two
    /// nodes.
    pub(crate) const READ_TOGETHER: Self = Self {
        keys_apart: KeysApart::Fail,
        ..Self::READ
    };
    /// The service's own upkeep and checks.
    pub(crate) const UPKEEP: Self = Self {
        urgency: Urgency::Exempt,
        ..Self::READ
    };
    /// Calls that begin a pass over all partitions.
    pub(crate) const TURN: Self = Self {
        effect: Effect::Write,
        ..Self::UPKEEP
    };
}
