//! Each invariant is reported as violated by a modified history, and not if a fault allows the
//! anomaly.

mod gateway_leases;
mod watching;

use super::*;
use crate::chaos::history::{Attempt, Fault, FaultKind, Loss, Outcome, Part, State, Timing, Verb};

const TTL: Millis = 3_000;

/// A valid history: a player who is online from 1,000 to 5,000, with heartbeats in between.
fn valid() -> History {
    History {
        timing: Timing {
            ttl: TTL,
            heartbeat: 1_000,
            sweep: 300,
            gateway_ttl: 2_000,
            move_grace: TTL,
        },
        faults: Vec::new(),
        calls: vec![
            Call {
                seen: Some((State::Online, 1_001)),
                ..call(Verb::Connect, 1_000)
            },
            call(Verb::Heartbeat, 2_000),
            call(Verb::Heartbeat, 3_000),
            Call {
                connection: None,
                ..call(Verb::SetState(State::Away), 3_500)
            },
            call(Verb::Heartbeat, 4_000),
            call(Verb::Quit, 5_000),
        ],
        reads: vec![
            read(500, State::Offline, 0, None),
            read(2_500, State::Online, 1, Some(1_001)),
            read(4_500, State::Away, 1, Some(3_501)),
            read(5_500, State::Offline, 0, Some(5_001)),
        ],
        events: vec![
            event(State::Offline, State::Online, "connect", 1_001),
            event(State::Online, State::Away, "set_state", 3_501),
            event(State::Away, State::Offline, "disconnect", 5_001),
        ],
        sockets: vec![Socket {
            player: 7,
            connection: "c".into(),
            gateway: 0,
            opened: 999,
            closed: Some(4_999),
        }],
        ..History::default()
    }
}

fn call(verb: Verb, sent: Millis) -> Call {
    let outcome = Outcome::Accepted;
    Call {
        player: 7,
        connection: Some("c".into()),
        verb,
        gateway: 0,
        owner: None,
        server: 0,
        asked: sent,
        sent,
        ended: sent + 5,
        outcome,
        seen: None,
    }
}

fn read(as_of: Millis, state: State, count: u32, version: Option<u64>) -> Read {
    Read {
        player: 7,
        as_of,
        ended: as_of + 5,
        state,
        count,
        version,
    }
}

fn event(previous_state: State, state: State, reason: &str, at: Millis) -> Event {
    let id = format!("p00007:{at}");
    Event {
        player: 7,
        message_id: id.clone(),
        id,
        state,
        previous_state,
        reason: reason.into(),
        version: at,
        last_seen: at,
        occurred_at: at,
        published: at + 3,
        sequence: 0,
    }
}

fn fault(part: Part, kind: FaultKind, from: Millis, to: Millis) -> Fault {
    let loss = match (part, kind) {
        (Part::Redis, FaultKind::Kill | FaultKind::Flush) => Loss::Everything,
        _ => Loss::Nothing,
    };
    Fault {
        part,
        kind,
        slots: Vec::new(),
        loss,
        from,
        to,
    }
}

/// The invariants that a valid history violates after a change.
fn violated(change: impl FnOnce(&mut History)) -> Vec<Invariant> {
    let mut history = valid();
    change(&mut history);
    let mut violated: Vec<_> = check(&history)
        .violations
        .iter()
        .map(|violation| violation.invariant)
        .collect();
    violated.sort();
    violated.dedup();
    violated
}

#[test]
fn a_valid_history_violates_nothing() {
    assert_eq!(violated(|_| {}), []);
}

#[test]
fn a_player_who_left_is_a_ghost() {
    let late = read(5_800, State::Away, 1, Some(3_501));
    assert!(violated(|history| history.reads.push(late)).contains(&Invariant::NoGhost));
    // Without the disconnect, the lease lasts for a TTL, and not for longer.
    let without_quit = |at| {
        violated(move |history| {
            history.calls.pop();
            history.reads.pop();
            let last = history.events.pop().unwrap();
            history.events.push(Event {
                reason: "expired".into(),
                occurred_at: 7_100,
                version: 7_100,
                id: "p00007:7100".into(),
                message_id: "p00007:7100".into(),
                last_seen: 4_001,
                ..last
            });
            history.reads.push(read(at, State::Away, 1, Some(3_501)));
        })
    };
    assert_eq!(without_quit(6_999), []);
    assert_eq!(without_quit(7_006), [Invariant::NoGhost]);
}

#[test]
fn a_count_that_is_too_high_is_a_ghost_and_one_too_low_is_falsely_offline() {
    assert_eq!(
        violated(|history| history.reads[1].count = 2),
        [Invariant::NoGhost]
    );
    assert_eq!(
        violated(|history| history.reads[1].count = 0),
        [Invariant::NoFalseOffline]
    );
}

#[test]
fn a_player_with_heartbeats_is_falsely_offline_unless_redis_lost_the_record() {
    let read_offline =
        |history: &mut History| history.reads[1] = read(2_500, State::Offline, 0, None);
    let found = violated(read_offline);
    assert!(found.contains(&Invariant::NoFalseOffline), "{found:?}");
    let flushed = violated(|history| {
        read_offline(history);
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Flush, 2_400, 2_410));
    });
    assert_eq!(flushed, []);
    // A freeze loses nothing.
    let frozen = violated(|history| {
        read_offline(history);
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Freeze, 2_400, 2_410));
    });
    assert!(frozen.contains(&Invariant::NoFalseOffline), "{frozen:?}");
}

#[test]
fn an_offline_event_of_a_player_with_heartbeats_is_false() {
    let found = violated(|history| {
        history
            .events
            .insert(1, event(State::Online, State::Offline, "expired", 2_600));
        history
            .events
            .insert(2, event(State::Offline, State::Online, "restore", 3_002));
    });
    assert!(found.contains(&Invariant::NoFalseOfflineEvent), "{found:?}");
}

#[test]
fn an_expiry_that_is_noticed_late_needs_a_reason() {
    let expire_late = |history: &mut History| {
        history.calls.pop();
        history.reads.pop();
        history.events.pop();
        let expired = event(State::Away, State::Offline, "expired", 15_000);
        history.events.push(Event {
            last_seen: 4_001,
            ..expired
        });
        history
            .reads
            .push(read(14_000, State::Offline, 0, Some(3_501)));
    };
    assert_eq!(violated(expire_late), [Invariant::PromptExpiry]);
    let without_redis = violated(|history| {
        expire_late(history);
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Freeze, 6_000, 14_000));
    });
    assert_eq!(without_redis, []);
    let forgotten = violated(|history| {
        expire_late(history);
        history.events.pop();
        history.reads.truncate(3);
        history
            .reads
            .push(read(7_100, State::Offline, 0, Some(3_501)));
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Flush, 7_200, 7_210));
    });
    assert_eq!(forgotten, []);
    let one_server = violated(|history| {
        expire_late(history);
        history
            .faults
            .push(fault(Part::Server(0), FaultKind::Freeze, 6_000, 14_000));
    });
    assert_eq!(one_server, [Invariant::PromptExpiry]);
}

#[test]
fn a_state_without_its_event_needs_a_loss_soon_after() {
    let remove_event = |history: &mut History| _ = history.events.remove(1);
    let found = violated(remove_event);
    assert!(
        found.contains(&Invariant::NoTransitionWithoutEvent),
        "{found:?}"
    );
    let check_loss = |from, nats: Option<(Millis, Millis)>| {
        violated(move |history| {
            remove_event(history);
            history
                .faults
                .push(fault(Part::Redis, FaultKind::Flush, from, from + 5));
            history
                .faults
                .extend(nats.map(|(from, to)| fault(Part::Nats, FaultKind::Freeze, from, to)));
            // After the flush, the player is restored and leaves.
            history.reads.truncate(3);
            history.events[1] = Event {
                previous_state: State::Online,
                ..history.events[1].clone()
            };
        })
    };
    assert_eq!(check_loss(4_700, None), []);
    assert_eq!(
        check_loss(5_100, None),
        [Invariant::NoTransitionWithoutEvent]
    );
    assert_eq!(check_loss(5_100, Some((3_000, 5_000))), []);
}

#[test]
fn an_event_that_is_in_the_stream_twice_is_reported() {
    let found = violated(|history| history.events.push(history.events[1].clone()));
    assert!(found.contains(&Invariant::NoEventTwice), "{found:?}");
    assert_eq!(
        violated(|history| history.events[1].message_id = "x".into()),
        [Invariant::NoEventTwice]
    );
}

#[test]
fn versions_that_decrease_are_reported() {
    let found = violated(|history| history.events[2].occurred_at = 5_002);
    assert_eq!(
        found,
        [Invariant::RisingVersions],
        "a version below the time of its making"
    );
    let found = violated(|history| {
        history
            .reads
            .push(read(5_600, State::Offline, 0, Some(3_501)))
    });
    assert_eq!(found, [Invariant::RisingVersions], "in responses");
}

#[test]
fn a_broken_chain_is_reported() {
    assert_eq!(
        violated(|history| history.events[2].previous_state = State::InQueue),
        [Invariant::UnbrokenChain]
    );
    assert_eq!(
        violated(|history| history.events[0].previous_state = State::Away),
        [Invariant::UnbrokenChain]
    );
}

#[test]
fn an_event_without_a_cause_is_reported() {
    assert_eq!(
        violated(|history| history.events[2].reason = "lost".into()),
        [Invariant::CausedEvent]
    );
    assert_eq!(
        violated(|history| history.events[0].reason = "restore".into()),
        [Invariant::CausedEvent]
    );
}

#[test]
fn a_connection_that_returns_after_its_disconnect_is_reported() {
    let revive = |history: &mut History| {
        history.calls.push(Call {
            asked: 4_500,
            ..call(Verb::Heartbeat, 5_100)
        })
    };
    assert_eq!(violated(revive), [Invariant::ClosedStaysClosed]);
    let forgotten = violated(|history| {
        revive(history);
        history
            .faults
            .push(fault(Part::Redis, FaultKind::Flush, 5_050, 5_060));
    });
    assert_eq!(forgotten, []);
    let refused = violated(|history| history.calls[1].outcome = Outcome::Closed);
    assert_eq!(refused, [Invariant::ClosedStaysClosed]);
}

#[test]
fn a_heartbeat_for_a_closed_socket_is_reported() {
    let found = violated(|history| {
        history.calls.push(Call {
            outcome: Outcome::Closed,
            ..call(Verb::Heartbeat, 6_100)
        });
    });
    assert_eq!(found, [Invariant::TruthfulGateway]);
    let stalled = violated(|history| {
        history.calls.push(Call {
            outcome: Outcome::Closed,
            ..call(Verb::Heartbeat, 6_100)
        });
        history
            .faults
            .push(fault(Part::Machine, FaultKind::Freeze, 5_100, 5_900));
    });
    assert_eq!(stalled, []);
    assert_eq!(
        violated(|history| history.sockets[0].closed = None),
        [Invariant::TruthfulGateway]
    );
}

#[test]
fn an_anomaly_that_was_recorded_during_the_run_is_reported() {
    assert_eq!(
        violated(|history| history.anomalies.push("a record is left".into())),
        [Invariant::FinalTruth]
    );
}

#[test]
fn a_call_that_failed_may_take_effect_when_the_frozen_process_resumes() {
    // The heartbeat of 4,000 was given up, and executed at 6,500: the player may be online until
    // 9,500 and a little more.
    let late = violated(|history| {
        history.calls.pop();
        history.calls.last_mut().unwrap().outcome = Outcome::Unknown;
        history.reads.pop();
        history.events.pop();
        history
            .faults
            .push(fault(Part::Server(0), FaultKind::Freeze, 3_900, 6_500));
        history.reads.push(read(9_400, State::Away, 1, Some(3_501)));
    });
    assert_eq!(late, []);
}

fn demotion(from: Millis) -> Fault {
    fault(Part::Redis, FaultKind::Demote, from, from + 50)
}

#[test]
fn a_response_of_a_demoted_node_may_be_as_old_as_its_demotion_for_five_seconds() {
    // The player left at 5,000.
    let check_stale = |demoted_at| {
        violated(move |history| {
            history.reads.push(read(5_800, State::Away, 1, Some(3_501)));
            history.faults.push(demotion(demoted_at));
        })
    };
    assert_eq!(check_stale(4_900), []);
    assert_eq!(check_stale(751), []);
    let too_late = check_stale(700);
    assert!(too_late.contains(&Invariant::NoGhost), "{too_late:?}");
    assert!(
        too_late.contains(&Invariant::RisingVersions),
        "{too_late:?}"
    );
}

#[test]
fn a_demoted_node_does_not_allow_a_false_offline() {
    let found = violated(|history| {
        history.reads[1] = read(2_500, State::Offline, 0, None);
        history.faults.push(demotion(2_400));
    });
    assert!(found.contains(&Invariant::NoFalseOffline), "{found:?}");
}

#[test]
fn a_failover_loses_only_the_writes_of_the_last_moments() {
    let with_loss = |lost, offline_at| {
        violated(move |history| {
            history.calls.pop();
            history.reads.truncate(3);
            let loss = Loss::Writes(vec![lost]);
            history.faults.push(Fault {
                loss,
                ..fault(Part::Redis, FaultKind::Kill, 4_050, 4_300)
            });
            let end = event(State::Away, State::Offline, "expired", offline_at);
            history.events[2] = Event {
                last_seen: 3_001,
                ..end
            };
            history
                .reads
                .push(read(offline_at + 100, State::Offline, 0, Some(offline_at)));
        })
    };
    // The heartbeat of 4,000 is lost, the one of 3,000 is not.
    assert_eq!(with_loss((3_950, 4_050), 6_500), []);
    assert!(with_loss((3_950, 4_050), 5_500).contains(&Invariant::NoFalseOffline));
    assert!(with_loss((4_010, 4_050), 6_500).contains(&Invariant::NoFalseOffline));
}

#[test]
fn a_server_that_does_not_find_the_new_primary_is_reported() {
    let until = |recovered_at: Millis, relapsed_at: Millis| {
        violated(move |history| {
            history.faults.push(demotion(1_050));
            let is_answered = |sent| (recovered_at..relapsed_at).contains(&sent);
            let build_attempt = |sent| Attempt {
                server: 0,
                sent,
                ended: sent + 5,
                is_answered: is_answered(sent),
            };
            history.attempts = (0..20_000).step_by(300).map(build_attempt).collect();
        })
    };
    assert_eq!(until(6_000, Millis::MAX), []);
    assert_eq!(
        until(8_000, Millis::MAX),
        [Invariant::PromptRecovery],
        "late"
    );
    assert_eq!(
        until(0, 7_000),
        [Invariant::PromptRecovery],
        "it does not last"
    );
    let writes = violated(|history| {
        history.faults.push(demotion(4_200));
        let build_failure = |sent| Call {
            outcome: Outcome::Unknown,
            ..call(Verb::Heartbeat, sent)
        };
        history.calls.truncate(5);
        history
            .calls
            .extend((5_000..12_000).step_by(1_000).map(build_failure));
        history.sockets[0].closed = None;
        history.reads.pop();
        history.events.pop();
    });
    assert_eq!(writes, [Invariant::PromptRecovery]);
}

#[test]
fn a_server_that_had_no_time_to_recover_is_allowed() {
    let found = violated(|history| {
        history.faults = vec![
            demotion(1_050),
            demotion(7_500),
            fault(Part::Server(0), FaultKind::Freeze, 3_000, 7_600),
        ];
        let build_attempt = |sent| Attempt {
            server: 0,
            sent,
            ended: sent + 5,
            is_answered: false,
        };
        history.attempts = (0..14_000).step_by(300).map(build_attempt).collect();
    });
    assert_eq!(found, []);
}
