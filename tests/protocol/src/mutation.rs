//! Mutations: rules of the protocol that can be left out.

/// A rule of the protocol that is left out, to check that a property fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mutation {
    /// Setting a state renews the record for another TTL.
    SetStateRenews,
    /// A new player is not added to the expiry index.
    NotIndexed,
    /// The sweep makes the transition of the players that it read from the index, without checking
    /// them again.
    SweepTrustsItsPage,
    /// A script that finds an expired record omits the missed OFFLINE transition.
    MissedOfflineIsOmitted,
    /// A version is the previous one plus one, independent of the clock.
    VersionIgnoresTheClock,
    /// An event is removed from the outbox before JetStream has acknowledged it.
    RemovedBeforeAck,
    /// Messages have no id by which JetStream could drop duplicates.
    NoMessageId,
    /// A disconnect adds no tombstone for the connection.
    NoTombstone,
    /// A heartbeat renews the lease, but not the record.
    HeartbeatLeavesTheRecord,
    /// Setting a state emits no event.
    SetStateIsSilent,
    /// A changed activity emits no event.
    ActivityIsSilent,
    /// Events of other transitions omit the activity, though the player keeps it.
    OnlyItsOwnEventsCarryTheActivity,
    /// A player who goes OFFLINE keeps the activity.
    ActivityOutlivesOffline,
    /// A server reads the snapshot before it subscribes to events.
    SnapshotBeforeSubscription,
    /// A player is omitted from the snapshot if the caller knows any version of it, even an old
    /// one.
    KnownIsTrusted,
    /// An event replaces the known presence even if its version is lower.
    EventsAreNotCompared,
    /// An event from before a read is accepted though the read did not find it.
    OldEventsAreAccepted,
    /// A read replaces a report that arrived after the read was sent.
    ReadsUndoEvents,
    /// A read that confirms the known presence, but was sent before it became known, is not
    /// recorded.
    AgreementIsIgnored,
    /// A player is not read again after contradictory reports.
    DoubtIsIgnored,
    /// Players are not read again after events were lost.
    LostEventsAreIgnored,
    /// Players are not read again after a flush.
    FlushIsIgnored,
    /// A connect does not add its connection to the owners.
    ConnectLeavesTheOwners,
    /// A disconnect does not remove its connection from the owners.
    DisconnectLeavesTheOwners,
    /// A heartbeat that names no gateway takes the connection from its gateway.
    UnnamedHeartbeatDropsTheGateway,
    /// A gateway whose connections were ended gets the status `alive` when it renews its lease.
    RenewalIsNeverNew,
    /// A sweeper removes the lease of a lost gateway without recording that its connections must be
    /// ended.
    LossIsNotRecorded,
    /// The end of a gateway ends leases that have passed to another gateway.
    EndsLeasesOfOtherGateways,
    /// The end of a gateway ends leases that were renewed after it was lost.
    EndsRenewedLeases,
    /// The end of a gateway ends the player's leases on other gateways, too.
    EndIgnoresOtherDevices,
    /// The end of a gateway closes its connections.
    EndedIsClosed,
    /// A player whose gateway moves goes OFFLINE immediately.
    MovingHasNoGrace,
    /// Gateways are lost even when half of them expire at once or after the sweeps paused.
    NoHold,
    /// Gateways that expired during a hold cause another hold.
    HoldIsProlonged,
}
