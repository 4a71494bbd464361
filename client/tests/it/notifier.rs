//! The notifier with a healthy service.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{http::StatusCode, response::IntoResponse as _};
use presence_client::{
    Activity, CallError, CallKind, ConnectionId, HttpNotifier, NoopNotifier, Notifier, Party,
    PlayerId, Reason, State,
};
use serde_json::json;
use tokio::sync::mpsc;

use crate::stand_in::{Call, Gateways, StandIn, connection, player};

const TIMEOUT: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_reports_of_each_player_arrive_in_order() {
    let service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    for number in 0..200 {
        notifier.connected(&player(number), &connection(number));
        notifier.state_changed(&player(number), State::InMatch);
    }
    service.until(|state| state.states.len() == 200).await;
    for number in 0..200 {
        notifier.state_changed(&player(number), State::Away);
        notifier.disconnected(&player(number), &connection(number), Reason::Quit);
    }
    service
        .until(|state| state.leases.is_empty() && state.closed.len() == 200)
        .await;
    let mut reports: HashMap<String, Vec<String>> = HashMap::new();
    for call in &service.state().calls {
        for entry in call.entries() {
            let report = format!(
                "{} {}",
                call.path,
                call.body["state"].as_str().unwrap_or_default()
            );
            reports
                .entry(entry.split('/').next().unwrap().into())
                .or_default()
                .push(report);
        }
    }
    assert_eq!(reports.len(), 200);
    for (player, reports) in reports {
        assert_eq!(
            reports,
            ["connect ", "state IN_MATCH", "state AWAY", "disconnect "],
            "{player}"
        );
    }
}

#[tokio::test]
async fn an_activity_is_sent_after_the_connect_and_removed_by_null() {
    let service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    let activity = Activity {
        details: Some("Ranked \"; 😀\u{2028}".to_owned()),
        party: Some(Party {
            id: player(7),
            size: 2,
            max: 4,
        }),
        joinable: Some(true),
        custom: Some(serde_json::from_str(r#"{"map":[],"n":9007199254740992}"#).unwrap()),
    };
    notifier.connected(&player(1), &connection(1));
    notifier.activity_changed(&player(1), Some(&activity));
    notifier.activity_changed(&player(2), Some(&activity)); // a player without a connection here
    service.until(|state| state.calls.len() == 2).await;
    notifier.activity_changed(&player(1), Some(&Activity::default()));
    notifier.activity_changed(&player(1), None);
    service.until(|state| state.calls.len() == 3).await;
    let bodies: Vec<_> = service
        .calls("state")
        .iter()
        .map(|call| call.body.clone())
        .collect();
    let expected = json!({
        "details": "Ranked \"; 😀\u{2028}", "party": {"id": "p7", "size": 2, "max": 4}, "joinable": true,
        "custom": {"map": [], "n": 9_007_199_254_740_992_u64},
    });
    assert_eq!(
        bodies,
        [
            json!({"player_id": "p1", "activity": expected}),
            json!({"player_id": "p1", "activity": null}),
        ]
    );
}

#[tokio::test]
async fn a_storm_of_connects_arrives_in_batches_over_few_tcp_connections() {
    let service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint())
        .without_gateway_lease()
        .start()
        .unwrap();
    (0..10_000).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 10_000).await;
    let connects = service.calls("connect");
    assert!(connects.len() <= 30, "{}", connects.len());
    assert!(connects.iter().all(|call| call.entries().len() <= 1_000));
    assert!(service.state().tcp_connections <= 4);
    assert_eq!(notifier.stats().open_connections, 10_000);
}

/// The even spread over time is tested in simulated time, in the tests of the notifier's
/// `scheduler`.
#[tokio::test]
async fn heartbeats_of_ten_thousand_sockets_are_ten_equal_calls_per_interval() {
    const INTERVAL: Duration = Duration::from_secs(1);
    /// The calls that may be in flight at a time, and so arrive in any order.
    const IN_FLIGHT: usize = 4;
    let service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint())
        .heartbeat_interval(INTERVAL)
        .start()
        .unwrap();
    (0..10_000).for_each(|number| notifier.connected(&player(number), &connection(number)));
    let is_heartbeat = |call: &&Call| call.path == "heartbeat";
    let count = |calls: &[Call]| calls.iter().filter(is_heartbeat).count();
    // On a busy machine, heartbeats begin before the last connects end. These are not checked.
    service
        .until(|state| state.leases.len() == 10_000 && notifier.stats().queue_length == 0)
        .await;
    let first = count(&service.state().calls) + IN_FLIGHT;
    service
        .until(|state| count(&state.calls) >= first + 30)
        .await;

    let heartbeats = &service.calls("heartbeat")[first..first + 30];
    assert!(heartbeats.iter().all(|call| call.entries().len() == 1_000));
    for some in heartbeats.chunks_exact(10 + IN_FLIGHT) {
        let mut connections: Vec<_> = some.iter().flat_map(Call::entries).collect();
        connections.sort();
        connections.dedup();
        assert_eq!(connections.len(), 10_000);
    }
}

#[tokio::test]
async fn the_service_sets_the_heartbeat_interval() {
    let service = StandIn::start().await;
    service.state().heartbeat_interval_ms = Some(150);
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    notifier.connected(&player(1), &connection(1));
    service
        .until(|state| {
            state
                .calls
                .iter()
                .filter(|call| call.path == "heartbeat")
                .count()
                == 3
        })
        .await;
    // With the default interval, this would take longer than `until` waits.
}

#[tokio::test]
async fn the_reason_and_the_token_are_sent() {
    let service = StandIn::start().await;
    let endpoint = service.endpoint().with_token("hunter2").unwrap();
    let notifier = HttpNotifier::builder(endpoint).start().unwrap();
    for (number, reason) in [(1, Reason::Quit), (2, Reason::Lost)] {
        notifier.connected(&player(number), &connection(number));
        service.until(|state| state.leases.len() == 1).await;
        notifier.disconnected(&player(number), &connection(number), reason);
        service.until(|state| state.leases.is_empty()).await;
    }
    let reasons: Vec<_> = service
        .calls("disconnect")
        .iter()
        .map(|call| call.body["reason"].clone())
        .collect();
    assert_eq!(reasons, ["quit", "lost"]);
    assert!(
        service
            .state()
            .calls
            .iter()
            .all(|call| call.authorization.as_deref() == Some("Bearer hunter2"))
    );
}

#[tokio::test]
async fn connections_that_the_service_closed_are_reported() {
    let service = StandIn::start().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let notifier = HttpNotifier::builder(service.endpoint())
        .heartbeat_interval(Duration::from_millis(200))
        .on_closed(move |player, connection| {
            report.send((player.clone(), connection.clone())).unwrap()
        })
        .start()
        .unwrap();
    (0..3).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 3).await;
    // In the response to a heartbeat; to one of two connects; to the only connect.
    notifier.state_changed(&player(1), State::Offline);
    assert_eq!(reports.recv().await, Some((player(1), connection(1))));
    service
        .state()
        .closed
        .extend(["p3/c3".into(), "p5/c5".into()]);
    notifier.connected(&player(3), &connection(3));
    notifier.connected(&player(4), &connection(4));
    assert_eq!(reports.recv().await, Some((player(3), connection(3))));
    notifier.connected(&player(5), &connection(5));
    assert_eq!(reports.recv().await, Some((player(5), connection(5))));
    assert_eq!(
        (notifier.stats().closed, notifier.stats().open_connections),
        (3, 3)
    );
}

#[tokio::test]
async fn heartbeats_restore_the_connections_of_a_service_that_lost_its_data() {
    let service = StandIn::start().await;
    let builder =
        HttpNotifier::builder(service.endpoint()).heartbeat_interval(Duration::from_millis(200));
    let notifier = builder.start().unwrap();
    (0..3).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 3).await;
    service.state().leases.clear();
    service.until(|state| state.leases.len() == 3).await;
    service.until(|_| notifier.stats().restored == 3).await;
}

#[tokio::test]
async fn states_are_reported_again_to_a_service_that_lost_its_data_and_the_gateway_is_notified() {
    let service = StandIn::start().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let builder =
        HttpNotifier::builder(service.endpoint()).heartbeat_interval(Duration::from_millis(200));
    let on_restored = move |player: &PlayerId, connection: &ConnectionId| {
        report.send((player.clone(), connection.clone())).unwrap();
    };
    let notifier = builder.on_restored(on_restored).start().unwrap();
    (0..3).for_each(|number| notifier.connected(&player(number), &connection(number)));
    notifier.state_changed(&player(1), State::InMatch);
    notifier.state_changed(&player(2), State::Away);
    service
        .until(|state| state.leases.len() == 3 && state.states.len() == 2)
        .await;
    let states = service.state().states.clone();
    {
        let mut state = service.state();
        state.leases.clear();
        state.states.clear();
    }
    service.until(|state| state.states == states).await;
    let mut restored = Vec::new();
    while restored.len() < 3 {
        restored.push(reports.recv().await.unwrap());
    }
    restored.sort();
    assert_eq!(
        restored,
        [0, 1, 2].map(|number| (player(number), connection(number)))
    );
}

#[tokio::test]
async fn a_callback_that_panics_does_not_affect_the_other_connections() {
    let service = StandIn::start().await;
    let (report, mut reports) = mpsc::unbounded_channel();
    let notifier = HttpNotifier::builder(service.endpoint())
        .heartbeat_interval(Duration::from_millis(200))
        .on_closed(move |player, _| {
            report.send(player.clone()).unwrap();
            panic!("requested by the test");
        })
        .on_restored(|_, _| panic!("requested by the test"))
        .start()
        .unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 10).await;
    {
        let mut state = service.state();
        state.leases.clear();
        state
            .closed
            .extend((0..9).map(|number| format!("p{number}/c{number}")));
    }
    let mut closed = Vec::new();
    while closed.len() < 9 {
        closed.push(reports.recv().await.unwrap());
    }
    closed.sort();
    closed.dedup();
    assert_eq!(closed.len(), 9);
    service.until(|state| state.leases.len() == 1).await;
    notifier.connected(&player(10), &connection(10));
    service.until(|state| state.leases.len() == 2).await;
}

#[tokio::test]
async fn each_call_is_reported_with_its_entries_and_its_error() {
    let service = StandIn::start().await;
    service.state().gateways = Some(Gateways::default());
    let mut failures = 1;
    service.state().instead = Some(Box::new(move |call| {
        let is_failure = call.path == "state" && std::mem::take(&mut failures) == 1;
        is_failure.then(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
    }));
    service.state().failing.insert("p1".to_owned());
    let (reported, mut reports) = mpsc::unbounded_channel();
    let notifier = HttpNotifier::builder(service.endpoint())
        .on_call(move |report| {
            let status = report.error.map(|error| match error {
                CallError::Problem(problem) => problem.status,
                error => panic!("{error}"),
            });
            reported
                .send((report.kind, report.entries, report.failed_entries, status))
                .unwrap();
            panic!("requested by the test: the next calls are reported all the same");
        })
        .start()
        .unwrap();
    (0..3).for_each(|number| notifier.connected(&player(number), &connection(number)));
    notifier.state_changed(&player(0), State::Away);
    let mut expected = vec![
        (CallKind::Gateway, 1, 0, None),
        (CallKind::Connect, 3, 1, None),
        (CallKind::State, 1, 0, Some(503)),
        (CallKind::State, 1, 0, None),
        (CallKind::Disconnect, 1, 0, None),
    ];
    while expected.len() > 1 {
        let report = reports.recv().await.unwrap();
        expected.retain(|awaited| *awaited != report);
    }
    notifier.disconnected(&player(0), &connection(0), Reason::Quit);
    while !expected.is_empty() {
        let report = reports.recv().await.unwrap();
        expected.retain(|awaited| *awaited != report);
    }
}

#[tokio::test]
async fn connections_to_the_service_are_replaced_at_their_maximum_age() {
    let service = StandIn::start().await;
    let endpoint = service
        .endpoint()
        .with_max_connection_age(Duration::from_millis(200));
    let builder = HttpNotifier::builder(endpoint).heartbeat_interval(Duration::from_millis(100));
    let notifier = builder.start().unwrap();
    notifier.connected(&player(1), &connection(1));
    service.until(|state| state.tcp_connections >= 3).await;
    assert_eq!(notifier.stats().failures, 0);
}

#[tokio::test]
async fn a_drain_disconnects_all_and_returns_when_that_is_done() {
    let service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    (0..2_500).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 2_500).await;
    notifier.drain(Reason::Lost, TIMEOUT).await.unwrap();
    assert_eq!(service.state().leases.len(), 0);
    let disconnects = service.calls("disconnect");
    assert_eq!(disconnects.len(), 3);
    assert!(disconnects.iter().all(|call| call.body["reason"] == "lost"));
    notifier.drain(Reason::Lost, TIMEOUT).await.unwrap();
}

#[tokio::test]
async fn a_gateway_without_a_service_needs_no_extra_code() {
    let without_service: [Arc<dyn Notifier>; 2] =
        [Arc::new(NoopNotifier), Arc::new(None::<Arc<dyn Notifier>>)];
    let service = StandIn::start().await;
    let with_service: Arc<dyn Notifier> = Arc::new(Some(Arc::new(
        HttpNotifier::builder(service.endpoint()).start().unwrap(),
    ) as Arc<dyn Notifier>));
    for notifier in without_service.iter().chain([&with_service]) {
        notifier.connected(&player(1), &connection(1));
        notifier.state_changed(&player(1), State::Away);
        notifier.disconnected(&player(1), &connection(2), Reason::Quit);
    }
    service.until(|state| state.states.contains_key("p1")).await;
}
