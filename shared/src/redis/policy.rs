//! Policies of commands: repetition, urgency, the check of the number of partitions.

use super::{in_flight::Urgency, link::Repeat};

/// The handling of a command on its way to Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// Whether it may be sent again if it is unknown whether it was executed.
    pub(super) repeat: Repeat,
    /// Its priority when the node is busy.
    pub(super) urgency: Urgency,
    /// The handling of the number of partitions before it is sent to a cluster.
    pub(super) partition_count: PartitionCount,
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

/// The handling of the number of partitions, which a cluster stores, before a command is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PartitionCount {
    /// It is compared with the configured one, if it is stored.
    Check,
    /// It is stored first if the cluster is unused, as the command may create a player.
    Store,
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
        partition_count: PartitionCount::Store,
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
        partition_count: PartitionCount::Check,
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
        partition_count: PartitionCount::Store,
        ..Self::UPKEEP
    };
}
