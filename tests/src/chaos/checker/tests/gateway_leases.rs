//! Ends of connections' leases with the lease of their gateway.

use super::*;
use crate::chaos::history::{GatewayStatus, LeaseCall};

const RENEWAL_INTERVAL: usize = 600;

/// The player of [`valid`] stays, with long leases on gateway `g`, which renews its own until the
/// end at 10,000.
fn kept() -> History {
    let heartbeats = (2_000..=10_000)
        .step_by(1_000)
        .map(|at| owned(call(Verb::Heartbeat, at), "g"));
    let connect = Call {
        seen: Some((State::Online, 1_001)),
        ..owned(call(Verb::Connect, 1_000), "g")
    };
    let mut history = valid();
    history.timing = Timing {
        ttl: 20_000,
        move_grace: 5_000,
        ..history.timing
    };
    history.calls = [connect].into_iter().chain(heartbeats).collect();
    history.lease_calls = renewals("g", 500, 10_100);
    history.reads.truncate(2);
    history
        .reads
        .push(read(9_600, State::Online, 1, Some(1_001)));
    history.events.truncate(1);
    history.sockets[0].closed = None;
    history
}

fn owned(call: Call, gateway: &str) -> Call {
    Call {
        owner: Some(gateway.into()),
        ..call
    }
}

fn renewals(id: &str, first: Millis, last: Millis) -> Vec<LeaseCall> {
    let get_status = |at| {
        if at == first {
            GatewayStatus::New
        } else {
            GatewayStatus::Alive
        }
    };
    (first..=last)
        .step_by(RENEWAL_INTERVAL)
        .map(|at| renewal(id, at, Some(get_status(at))))
        .collect()
}

fn renewal(id: &str, sent: Millis, status: Option<GatewayStatus>) -> LeaseCall {
    LeaseCall {
        gateway: 0,
        id: id.into(),
        is_leaving: false,
        server: 0,
        sent,
        ended: sent + 5,
        status,
    }
}

fn violated_when_kept(change: impl FnOnce(&mut History)) -> Vec<Invariant> {
    violated(|history| {
        *history = kept();
        change(history);
    })
}

/// From `from` to `to`, the gateway sends nothing.
fn freeze(history: &mut History, id: &str, from: Millis, to: Millis) {
    let is_frozen = |sent| (from..to).contains(&sent);
    history
        .lease_calls
        .retain(|call| &*call.id != id || !is_frozen(call.sent));
    history
        .calls
        .retain(|call| call.owner.as_deref() != Some(id) || !is_frozen(call.sent));
}

fn go_offline(history: &mut History, at: Millis) {
    history
        .events
        .push(event(State::Online, State::Offline, "lost", at));
    history.reads.retain(|read| read.as_of < at);
    history
        .reads
        .push(read(at + 300, State::Offline, 0, Some(at)));
}

/// The gateway crashes after the renewal at 4,700: its lease expires at 6,700.
fn crash(history: &mut History) {
    freeze(history, "g", 5_100, Millis::MAX);
}

#[test]
fn a_gateway_that_keeps_its_lease_violates_nothing() {
    assert_eq!(violated_when_kept(|_| {}), []);
    assert_eq!(check(&kept()).counted("renewals of gateway leases"), 17);
}

#[test]
fn a_gateway_is_lost_only_after_its_lease_expired() {
    let check_loss = |at| {
        violated_when_kept(|history| {
            crash(history);
            history.lease_calls.retain(|call| call.sent < 5_000);
            go_offline(history, at);
        })
    };
    assert_eq!(check_loss(6_800), []);
    let too_early = check_loss(6_600);
    assert!(
        too_early.contains(&Invariant::NoFalseOfflineEvent),
        "{too_early:?}"
    );
    assert!(too_early.contains(&Invariant::CausedEvent), "{too_early:?}");
    let alive = violated_when_kept(|history| go_offline(history, 6_800));
    assert!(alive.contains(&Invariant::NoFalseOfflineEvent), "{alive:?}");
    assert!(alive.contains(&Invariant::CausedEvent), "{alive:?}");
}

#[test]
fn a_gateway_is_unknown_only_after_its_lease_expired() {
    let is_unknown =
        |history: &mut History| history.lease_calls[8].status = Some(GatewayStatus::New);
    assert_eq!(violated_when_kept(is_unknown), [Invariant::NoFalseLoss]);
    let flushed = violated_when_kept(|history| {
        is_unknown(history);
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Flush, 4_900, 4_910));
    });
    assert_eq!(flushed, []);
    let silent = violated_when_kept(|history| {
        freeze(history, "g", 5_200, 8_900);
        history
            .lease_calls
            .iter_mut()
            .filter(|call| call.sent == 8_900)
            .for_each(|call| {
                call.status = Some(GatewayStatus::New);
            });
    });
    assert_eq!(silent, []);
}

#[test]
fn a_renewal_that_failed_keeps_nothing_for_certain() {
    let without_responses = violated_when_kept(|history| {
        let late = history
            .lease_calls
            .iter_mut()
            .filter(|call| call.sent > 5_000);
        late.for_each(|call| call.status = None);
        go_offline(history, 6_800);
    });
    assert_eq!(without_responses, []);
}

#[test]
fn a_lost_gateway_is_noticed_soon() {
    let check_count = |at| {
        violated_when_kept(|history| {
            crash(history);
            history.reads.truncate(2);
            history.reads.push(read(at, State::Online, 1, Some(1_001)));
        })
    };
    assert_eq!(check_count(9_400), []);
    assert_eq!(check_count(9_600), [Invariant::PromptEnd]);
    let beside_others = violated_when_kept(|history| {
        crash(history);
        with_others(history, false);
        history.reads.truncate(2);
        history
            .reads
            .push(read(9_600, State::Online, 1, Some(1_001)));
    });
    assert_eq!(beside_others, [Invariant::PromptEnd]);
    let still_known = violated_when_kept(|history| {
        crash(history);
        history
            .lease_calls
            .push(renewal("g", 10_200, Some(GatewayStatus::Alive)));
        history.reads.truncate(2);
    });
    assert_eq!(still_known, [Invariant::PromptEnd]);
    let without_redis = violated_when_kept(|history| {
        crash(history);
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Freeze, 6_000, 7_000));
    });
    assert_eq!(without_redis, []);
}

#[test]
fn nothing_is_ended_after_an_outage_before_gateways_could_renew() {
    let check_after_outage = |change: fn(&mut History)| {
        violated_when_kept(|history| {
            history
                .faults
                .push(fault(Part::Redis, FaultKind::Freeze, 5_200, 8_200));
            freeze(history, "g", 5_200, 8_300);
            change(history);
        })
    };
    assert_eq!(check_after_outage(|_| {}), []);
    let unknown = check_after_outage(|history| {
        let first = history
            .lease_calls
            .iter_mut()
            .find(|call| call.sent >= 8_300);
        first.unwrap().status = Some(GatewayStatus::New);
    });
    assert_eq!(unknown, [Invariant::NoFalseLoss]);
    let ended = check_after_outage(|history| go_offline(history, 8_250));
    assert!(ended.contains(&Invariant::NoFalseOfflineEvent), "{ended:?}");
    assert!(ended.contains(&Invariant::CausedEvent), "{ended:?}");
    // A gateway that does not renew is lost afterwards.
    let crashed = violated_when_kept(|history| {
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Freeze, 5_200, 8_200));
        freeze(history, "g", 5_200, Millis::MAX);
        go_offline(history, 10_300);
    });
    assert_eq!(crashed, []);
}

/// The gateway of the player is frozen and found lost, and the player returns with the gateway.
fn frozen(history: &mut History) {
    freeze(history, "g", 5_100, 8_300);
    let first = history
        .lease_calls
        .iter_mut()
        .find(|call| &*call.id == "g" && call.sent > 8_000);
    first.unwrap().status = Some(GatewayStatus::New);
    history
        .events
        .push(event(State::Online, State::Offline, "lost", 7_400));
    history
        .events
        .push(event(State::Offline, State::Online, "restore", 9_001));
    history.reads.truncate(2);
    history
        .reads
        .push(read(7_900, State::Offline, 0, Some(7_400)));
    history
        .reads
        .push(read(9_600, State::Online, 1, Some(9_001)));
}

/// The gateways `h` and `i`. The one is frozen as well, or it is not.
fn with_others(history: &mut History, is_frozen: bool) {
    history.lease_calls.extend(renewals("h", 400, 10_000));
    history.lease_calls.extend(renewals("i", 300, 10_000));
    if is_frozen {
        freeze(history, "h", 5_100, 8_300);
    }
}

#[test]
fn the_players_of_a_frozen_gateway_return_with_it() {
    assert_eq!(violated_when_kept(frozen), []);
    let alone = violated_when_kept(|history| {
        frozen(history);
        with_others(history, false);
    });
    assert_eq!(alone, []);
}

#[test]
fn nothing_is_ended_if_half_of_the_gateways_expire_at_once() {
    let found = violated_when_kept(|history| {
        frozen(history);
        with_others(history, true);
    });
    let expected = [
        Invariant::NoFalseOffline,
        Invariant::NoFalseOfflineEvent,
        Invariant::CausedEvent,
        Invariant::NoFalseLoss,
    ];
    assert_eq!(found, expected);
    // The first of them may be found before the second one expires.
    let first = violated_when_kept(|history| {
        frozen(history);
        with_others(history, true);
        let of_others = history
            .lease_calls
            .iter_mut()
            .filter(|call| &*call.id != "g");
        of_others.for_each(|call| (call.sent, call.ended) = (call.sent + 300, call.ended + 300));
    });
    assert_eq!(first, []);
}

/// The gateway leaves at 6,000, and the player connects to gateway `h` at 7,000.
fn moved(history: &mut History) {
    history.calls.retain(|call| call.sent < 6_000);
    history.lease_calls.retain(|call| call.sent < 6_000);
    let leave = renewal("g", 6_000, Some(GatewayStatus::Left));
    history.lease_calls.push(LeaseCall {
        is_leaving: true,
        ended: 6_050,
        ..leave
    });
    history
        .calls
        .extend((7_000..=10_000).step_by(1_000).map(|at| {
            let verb = if at == 7_000 {
                Verb::Connect
            } else {
                Verb::Heartbeat
            };
            Call {
                connection: Some("c2".into()),
                ..owned(call(verb, at), "h")
            }
        }));
    history.reads.truncate(2);
    history
        .reads
        .push(read(6_500, State::Online, 0, Some(1_001)));
    history
        .reads
        .push(read(9_600, State::Online, 1, Some(1_001)));
    history.sockets[0].closed = Some(6_010);
}

#[test]
fn a_player_who_moves_in_a_planned_restart_is_never_offline() {
    assert_eq!(violated_when_kept(moved), []);
    let mut history = kept();
    moved(&mut history);
    assert_eq!(
        check(&history).counted("players who moved within the grace"),
        1
    );
    let counted = violated_when_kept(|history| {
        moved(history);
        history.reads[2].count = 1;
    });
    assert_eq!(counted, [Invariant::PromptEnd]);
    let offline = violated_when_kept(|history| {
        moved(history);
        history.reads[2] = read(6_500, State::Offline, 0, Some(1_001));
    });
    assert!(offline.contains(&Invariant::QuietMove), "{offline:?}");
    let event = violated_when_kept(|history| {
        moved(history);
        history
            .events
            .push(event(State::Online, State::Offline, "lost", 6_030));
        history
            .events
            .push(event(State::Offline, State::Online, "connect", 7_001));
        history.reads.truncate(2);
    });
    assert!(event.contains(&Invariant::QuietMove), "{event:?}");
    assert!(event.contains(&Invariant::CausedEvent), "{event:?}");
}

#[test]
fn a_player_who_does_not_return_is_lost_after_the_move_grace() {
    let check_loss = |at| {
        violated_when_kept(|history| {
            moved(history);
            history
                .calls
                .retain(|call| call.connection.as_deref() == Some("c"));
            history.reads.truncate(3);
            go_offline(history, at);
        })
    };
    assert_eq!(check_loss(11_020), []);
    let too_early = check_loss(10_900);
    assert!(too_early.contains(&Invariant::QuietMove), "{too_early:?}");
    assert!(too_early.contains(&Invariant::CausedEvent), "{too_early:?}");
}

#[test]
fn late_copies_of_a_gateways_calls_may_end_the_move_grace() {
    // A copy of a renewal makes the gateway known again, and one of a heartbeat restores the
    // connection. Then the lease of the gateway expires.
    let with_late_copies = |renews: bool| {
        violated_when_kept(|history| {
            moved(history);
            history
                .calls
                .retain(|call| call.connection.as_deref() == Some("c"));
            history.calls.push(Call {
                asked: 5_900,
                ..owned(call(Verb::Heartbeat, 6_400), "g")
            });
            if renews {
                history
                    .lease_calls
                    .push(renewal("g", 6_300, Some(GatewayStatus::New)));
            }
            history.reads.truncate(2);
            go_offline(history, 8_700);
        })
    };
    assert_eq!(with_late_copies(true), []);
    let without_renewal = with_late_copies(false);
    assert!(
        without_renewal.contains(&Invariant::QuietMove),
        "{without_renewal:?}"
    );
}

#[test]
fn a_second_device_elsewhere_ends_for_itself() {
    // It may have kept the record, and its end is not within a move grace.
    let quits = violated_when_kept(|history| {
        moved(history);
        let earlier = Call {
            connection: Some("c2".into()),
            ..owned(call(Verb::Heartbeat, 5_500), "h")
        };
        history.calls.push(earlier);
        history.calls.retain(|call| call.sent <= 8_000);
        history.calls.push(Call {
            connection: Some("c2".into()),
            ..call(Verb::Quit, 8_500)
        });
        history
            .events
            .push(event(State::Online, State::Offline, "disconnect", 8_501));
        history.reads[2].count = 1;
        history.reads[3] = read(9_600, State::Offline, 0, Some(8_501));
    });
    assert_eq!(quits, []);
}

/// The player also has a connection on gateway `d`, which renews its own lease until `last` and
/// then dies.
fn with_connection_elsewhere(history: &mut History, last: Millis) {
    moved(history);
    history.lease_calls.extend(renewals("d", 500, last));
    history.calls.push(Call {
        connection: Some("c0".into()),
        ..owned(call(Verb::Connect, 1_100), "d")
    });
    history.reads[1].count = 2;
}

#[test]
fn a_mover_is_judged_if_the_gateway_of_an_older_connection_was_lost_before() {
    let with = |change: fn(&mut History)| {
        let mut history = kept();
        with_connection_elsewhere(&mut history, 500);
        change(&mut history);
        check(&history)
    };
    let well = with(|_| {});
    assert!(well.violations.is_empty(), "{:?}", well.violations);
    assert_eq!(well.counted("players whose gateway left"), 1);
    assert_eq!(well.counted("players who moved within the grace"), 1);
    let offline = with(|history| history.reads[2] = read(6_500, State::Offline, 0, Some(1_001)));
    assert!(
        offline
            .violations
            .iter()
            .any(|violation| violation.invariant == Invariant::QuietMove)
    );
}

#[test]
fn a_mover_is_not_judged_if_the_gateway_of_an_older_connection_may_be_lost_within_the_grace() {
    // The lease on `d` keeps the record when `g` leaves, without a grace, and ends with the lease
    // of `d`.
    let mut history = kept();
    with_connection_elsewhere(&mut history, 4_700);
    history.reads[2].count = 1;
    history
        .events
        .push(event(State::Online, State::Offline, "lost", 6_900));
    history
        .events
        .push(event(State::Offline, State::Online, "connect", 7_001));
    history.reads.truncate(3);
    history
        .reads
        .push(read(9_600, State::Online, 1, Some(7_001)));
    let report = check(&history);
    assert!(report.violations.is_empty(), "{:?}", report.violations);
    assert_eq!(report.counted("players whose gateway left"), 0);
}
