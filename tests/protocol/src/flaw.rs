//! Rules left out.

/// A rule of the protocol that is left out, to see that somebody notices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Flaw {
    /// A state that is set lets the record live for another TTL.
    SetStateRenews,
    /// A new player is not filed in the expiry index.
    NotFiled,
    /// The sweep makes the transition of whom it read about, without looking again.
    SweepTrustsItsPage,
    /// A script that finds a record which ran out goes on without the OFFLINE transition that was missed.
    MissedEndIsForgotten,
    /// A version is the previous one plus one, whatever the time is.
    VersionIgnoresTheClock,
    /// An event is struck from the outbox before JetStream has it.
    StruckBeforeAck,
    /// Messages carry no id by which JetStream could drop a second copy.
    NoMessageId,
    /// A disconnect does not note that the connection is closed.
    ClosedIsForgotten,
    /// A heartbeat renews the lease, but not the record.
    HeartbeatLeavesTheRecord,
    /// A state that is set makes no event.
    SetStateIsSilent,
    /// A changed activity makes no event.
    ActivityIsSilent,
    /// Events of other transitions leave out the activity, though the player keeps it.
    OnlyItsOwnEventsCarryTheActivity,
    /// A player who goes OFFLINE keeps the activity.
    ActivityOutlivesOffline,
    /// A server reads the snapshot before it marks the interest.
    SnapshotBeforeInterest,
    /// A player whose version the caller knows is left out of the snapshot, whatever the version.
    KnownIsTrusted,
    /// An event replaces what is known, also if its version is lower.
    EventsAreNotCompared,
    /// An event from before a read is believed, though the read did not find it.
    OldEventsAreBelieved,
    /// A read replaces what was learned after it was sent.
    ReadsUndoEvents,
    /// A later read that finds the same, but was sent before that was learned, is not noted.
    AgreementIsIgnored,
    /// A player whose reports contradict each other is not read again.
    DoubtsAreDropped,
    /// Players are not read again after events were lost.
    LostEventsAreForgotten,
    /// Players are not read again after a flush.
    FlushIsOverlooked,
    /// A connect does not add its connection to the owners.
    ConnectLeavesTheOwners,
    /// A disconnect does not remove its connection from the owners.
    DisconnectLeavesTheOwners,
    /// A heartbeat that names no gateway takes the connection from its gateway.
    UnnamedHeartbeatDropsTheGateway,
    /// A gateway whose connections were ended gets the answer `alive` when it renews its lease.
    RenewalIsNeverNew,
    /// A sweeper removes the lease of a lost gateway without a note that its connections are to be ended.
    LossIsNotNoted,
    /// The end of a gateway ends leases that belong to another one by now.
    EndsWhatAnotherGatewayHas,
    /// The end of a gateway ends leases that were renewed after it was lost.
    EndsWhatReturned,
    /// The end of a gateway ends the player's leases on other gateways, too.
    EndIgnoresOtherDevices,
    /// The end of a gateway closes its connections.
    EndedIsClosed,
    /// A player whose gateway moves goes OFFLINE immediately.
    MovingHasNoGrace,
    /// Gateways are lost also when half of them expire at once, or after the sweeps paused.
    NothingIsHeld,
    /// Gateways that expired during a hold are a reason for another one.
    HoldIsProlonged,
}
