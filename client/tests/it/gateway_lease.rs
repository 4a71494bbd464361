//! The gateway's lease, over HTTP. Its timing is tested in simulated time, in the tests of the
//! notifier's `scheduler`.

use std::time::Duration;

use presence_client::{GatewayId, HttpNotifier, Notifier, Reason, State};
use serde_json::json;

use crate::stand_in::{Gateways, StandIn, connection, player};

const TIMEOUT: Duration = Duration::from_secs(10);

async fn service_with_gateways() -> StandIn {
    let service = StandIn::start().await;
    service.state().gateways = Some(Gateways::default());
    service
}

fn id(text: &str) -> GatewayId {
    GatewayId::parse(text).unwrap()
}

#[tokio::test]
async fn a_notifier_keeps_a_lease_under_a_generated_id_and_names_it_in_connects_and_heartbeats() {
    let service = service_with_gateways().await;
    let builder =
        HttpNotifier::builder(service.endpoint()).heartbeat_interval(Duration::from_millis(200));
    let notifier = builder.start().unwrap();
    let id = notifier.gateway_id().unwrap();
    service.until(|state| state.gateway_calls.len() == 3).await;
    notifier.connected(&player(1), &connection(1));
    service.until(|state| state.leases.len() == 1).await;
    (2..5).for_each(|number| notifier.connected(&player(number), &connection(number)));
    notifier.state_changed(&player(1), State::Away);
    service
        .until(|state| {
            state
                .calls
                .iter()
                .filter(|call| call.path == "heartbeat")
                .count()
                == 2
        })
        .await;
    notifier.disconnected(&player(1), &connection(1), Reason::Quit);
    service.until(|state| state.leases.len() == 3).await;
    let state = service.state();
    assert!(
        state
            .gateway_calls
            .iter()
            .all(|call| call.body == json!({"gateway_id": id.as_str()}))
    );
    for call in &state.calls {
        let named = call.body["gateway_id"].as_str();
        let expected = matches!(&*call.path, "connect" | "heartbeat").then_some(id.as_str());
        assert_eq!(named, expected, "{call:?}");
    }
}

#[tokio::test]
async fn the_configured_id_is_used() {
    let service = service_with_gateways().await;
    let notifier = HttpNotifier::builder(service.endpoint())
        .gateway_id(id("gw-7"))
        .start()
        .unwrap();
    service.until(|state| !state.gateway_calls.is_empty()).await;
    assert_eq!(
        service.state().gateway_calls[0].body,
        json!({"gateway_id": "gw-7"})
    );
    assert_eq!(notifier.gateway_id(), Some(id("gw-7")));
}

#[tokio::test]
async fn all_connections_are_announced_immediately_to_a_service_that_lost_its_data() {
    let service = service_with_gateways().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap(); // its next heartbeats are due in 15 s
    service.until(|state| state.gateway_calls.len() == 2).await;
    (0..100).for_each(|number| notifier.connected(&player(number), &connection(number)));
    notifier.state_changed(&player(7), State::InMatch);
    service
        .until(|state| state.leases.len() == 100 && state.states.len() == 1)
        .await;
    {
        let mut state = service.state();
        state.leases.clear();
        state.states.clear();
        state.gateways = Some(Gateways::default());
    }
    service
        .until(|state| state.leases.len() == 100 && state.states.contains_key("p7"))
        .await;
    assert_eq!(service.calls("heartbeat").len(), 1);
}

#[tokio::test]
async fn a_drain_is_a_single_call_and_ends_the_lease() {
    let service = service_with_gateways().await;
    let notifier = HttpNotifier::builder(service.endpoint())
        .gateway_id(id("g"))
        .start()
        .unwrap();
    service.until(|state| state.gateway_calls.len() == 2).await; // from here on connects name the gateway
    (0..2_500).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 2_500).await;
    notifier.drain(Reason::Moving, TIMEOUT).await.unwrap();
    assert!(service.state().leases.is_empty());
    assert!(service.calls("disconnect").is_empty());
    let last = service.state().gateway_calls.last().unwrap().clone();
    assert_eq!(last.body, json!({"gateway_id": "g", "leaving": "moving"}));
    let calls = service.state().gateway_calls.len();
    notifier.drain(Reason::Moving, TIMEOUT).await.unwrap();
    notifier.connected(&player(1), &connection(10_000));
    tokio::time::sleep(Duration::from_millis(300)).await; // three renewals
    let state = service.state();
    assert_eq!((state.gateway_calls.len(), state.leases.len()), (calls, 0));
}

#[tokio::test]
async fn a_drain_ends_at_its_time_limit_and_counts_the_connections_that_may_not_have_ended() {
    let mut service = service_with_gateways().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service
        .until(|state| state.leases.len() == 10 && state.gateway_calls.len() > 1)
        .await;
    service.stop().await;
    let drained = notifier
        .drain(Reason::Moving, Duration::from_millis(300))
        .await;
    assert_eq!(drained.unwrap_err().tasks, 10);
}

#[tokio::test]
async fn a_service_without_gateway_leases_is_supported() {
    let service = StandIn::start().await;
    let notifier = HttpNotifier::builder(service.endpoint()).start().unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service
        .until(|state| state.leases.len() == 10 && !state.gateway_calls.is_empty())
        .await;
    notifier.drain(Reason::Moving, TIMEOUT).await.unwrap();
    assert_eq!(service.state().leases.len(), 0);
    assert!(
        service
            .calls("disconnect")
            .iter()
            .all(|call| call.body["reason"] == "lost")
    );
    assert_eq!(notifier.stats().dropped, 0);
}

#[tokio::test]
async fn a_notifier_without_a_lease_makes_no_call_about_one() {
    let service = service_with_gateways().await;
    let notifier = HttpNotifier::builder(service.endpoint())
        .without_gateway_lease()
        .start()
        .unwrap();
    (0..10).for_each(|number| notifier.connected(&player(number), &connection(number)));
    service.until(|state| state.leases.len() == 10).await;
    notifier.drain(Reason::Moving, TIMEOUT).await.unwrap();
    assert_eq!(notifier.gateway_id(), None);
    assert!(service.state().gateway_calls.is_empty());
    assert!(
        service
            .state()
            .calls
            .iter()
            .all(|call| call.body["gateway_id"].is_null())
    );
    assert_eq!(service.calls("disconnect")[0].body["reason"], "moving");
}
