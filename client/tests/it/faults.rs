//! The notifier with a service that fails.

use std::{sync::Arc, time::Duration};

use axum::{
    http::{StatusCode, header},
    response::IntoResponse as _,
};
use presence_client::{HttpNotifier, Notifier, Reason, State, Undelivered};
use tokio::sync::Notify;

use crate::stand_in::{StandIn, connection, player, problem};

/// Waits for failed calls, which the service may not have received.
async fn until_failures(notifier: &HttpNotifier, failures: u64) {
    while notifier.stats().failures < failures {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_failed_call_is_repeated_after_the_pause_that_the_service_requested() {
    let service = StandIn::start().await;
    let mut responses = [
        problem(500, "internal", None),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            [(header::RETRY_AFTER, "1")],
            "",
        )
            .into_response(),
        problem(429, "slow-down", None),
    ]
    .into_iter();
    service.respond_instead(move |_| responses.next());
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    notifier.connected(&player(1), &connection(1));
    service.until(|state| state.leases.len() == 1).await;
    let calls = service.calls("connect");
    assert_eq!(calls.len(), 4);
    let pauses: Vec<_> = calls
        .windows(2)
        .map(|pair| (pair[1].at - pair[0].at).as_millis())
        .collect();
    assert!(
        pauses[0] >= 99 && pauses[1] >= 1_199 && pauses[2] >= 399,
        "{pauses:?}"
    );
    let stats = notifier.stats();
    assert_eq!((stats.calls, stats.failures, stats.retries), (4, 3, 3));
}

#[tokio::test]
async fn a_refused_call_is_not_repeated() {
    let service = StandIn::start().await;
    service.respond_instead(|call| {
        (call.path == "state").then(|| problem(409, "transition-rejected", None))
    });
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    notifier.connected(&player(1), &connection(1));
    notifier.state_changed(&player(1), State::InMatch);
    notifier.disconnected(&player(2), &connection(2), Reason::Quit);
    service.until(|state| state.calls.len() == 2).await;
    notifier.state_changed(&player(1), State::Away);
    service.until(|state| state.calls.len() == 3).await;
    let states: Vec<_> = service
        .calls("state")
        .iter()
        .map(|call| call.body["state"].clone())
        .collect();
    assert_eq!(states, ["IN_MATCH", "AWAY"]);
}

#[tokio::test]
async fn a_service_that_was_down_has_the_current_state_in_the_end() {
    let mut service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint())
        .heartbeat_interval(Duration::from_millis(500))
        .start()
        .unwrap();
    (0..1_000).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 1_000).await;

    service.stop().await;
    for number in 0..1_000 {
        notifier.disconnected(&player(number), &connection(number), Reason::Lost);
    }
    // Sockets that come and go during the outage need not be reported.
    for number in 1_000..20_000 {
        notifier.connected(&player(number), &connection(number));
        notifier.state_changed(&player(number), State::InQueue);
        notifier.disconnected(&player(number), &connection(number), Reason::Lost);
    }
    for number in 20_000..21_000 {
        notifier.connected(&player(number), &connection(number));
        notifier.state_changed(&player(number), State::InMatch);
    }
    until_failures(&notifier, 3).await;
    let queue_length = notifier.stats().queue_length;
    assert!(queue_length <= 3_000, "{queue_length}");

    service.resume().await;
    service
        .until(|state| state.states.len() == 1_000 && state.closed.len() >= 1_000)
        .await;
    let expected: Vec<_> = (20_000..21_000)
        .map(|number| format!("p{number}/c{number}"))
        .collect();
    assert!(service.state().leases.iter().eq(&expected));
    assert!(
        service
            .state()
            .states
            .values()
            .all(|state| state == "IN_MATCH")
    );
    service
        .until(|state| {
            state
                .calls
                .iter()
                .filter(|call| call.path == "heartbeat")
                .count()
                > 4
        })
        .await;
    // The last responses may still be on their way.
    while notifier.stats().queue_length > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_call_that_times_out_is_repeated() {
    let service = StandIn::start().await;
    let stall = Arc::new(Notify::new());
    service.state().stall = Some(Arc::clone(&stall));
    let endpoint = service
        .endpoint()
        .with_timeouts(Duration::from_millis(100), Duration::from_millis(200));
    let notifier = HttpNotifier::builder(endpoint).start().unwrap();
    notifier.connected(&player(1), &connection(1));
    until_failures(&notifier, 2).await;
    service.state().stall = None;
    service.until(|state| state.leases.len() == 1).await;
}

#[tokio::test]
async fn failed_entries_are_sent_again() {
    let service = StandIn::start().await;
    service.state().failing = [1, 2].map(|number| player(number).to_string()).into();
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 8).await;
    service.state().failing.clear();
    service.until(|state| state.leases.len() == 10).await;
    let sizes: Vec<_> = service
        .calls("connect")
        .iter()
        .map(|call| call.entries().len())
        .collect();
    assert_eq!(sizes, [10, 2]);
}

#[tokio::test]
async fn an_entry_that_is_refused_as_invalid_does_not_delay_the_others() {
    let service = StandIn::start().await;
    service.respond_instead(|call| {
        let index = call.entries().iter().position(|entry| entry == "p3/c3")?;
        Some(problem(
            400,
            "invalid-request",
            Some(&format!("connections[{index}].player_id")),
        ))
    });
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 9).await;
    assert_eq!(service.calls("connect").len(), 2);
    assert_eq!(notifier.stats().dropped, 1);
}

#[tokio::test]
async fn no_report_is_lost_by_a_refused_token_and_a_new_token_is_used_immediately() {
    let service = StandIn::start().await;
    let endpoint = service.endpoint().with_token("old").unwrap();
    let notifier = HttpNotifier::builder(endpoint).start().unwrap();
    (0..450).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 450).await;
    service.respond_instead(|call| {
        (call.authorization.as_deref() != Some("Bearer new"))
            .then(|| problem(401, "unauthorized", None))
    });
    (0..450).for_each(|number| {
        notifier.disconnected(&player(number), &connection(number), Reason::Quit)
    });
    until_failures(&notifier, 1).await;
    assert_eq!(
        (notifier.stats().dropped, notifier.stats().queue_length),
        (0, 450)
    );
    assert!(notifier.set_token("not a token").is_err());
    notifier.set_token("new").unwrap();
    service.until(|state| state.leases.is_empty()).await;
    assert_eq!(notifier.stats().dropped, 0);
}

#[tokio::test]
async fn a_drain_returns_what_the_service_refused() {
    for (status, drain_timeout) in [
        (401, Duration::from_millis(500)),
        (400, Duration::from_secs(20)),
    ] {
        let service = StandIn::start().await;
        let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
        (0..450).for_each(|number| notifier.connected(&player(number), &connection(number)));
        service.until(|state| state.leases.len() == 450).await;
        service.respond_instead(move |_| Some(problem(status, "refused", None)));
        let drained = notifier.drain(Reason::Quit, drain_timeout).await;
        assert_eq!(drained, Err(Undelivered { tasks: 450 }), "{status}");
    }
}

#[tokio::test]
async fn a_drain_ends_at_its_time_limit() {
    let mut service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 10).await;
    service.stop().await;
    let drained = notifier
        .drain(Reason::Quit, Duration::from_millis(300))
        .await;
    assert_eq!(drained, Err(Undelivered { tasks: 10 }));
}
