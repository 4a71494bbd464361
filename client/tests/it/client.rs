//! `PresenceClient`: queries and changes for services.

use std::time::Duration;

use axum::response::IntoResponse as _;
use presence_client::{CallError, Endpoint, History, PlayerId, PresenceClient, Reason, State};
use serde_json::json;

use crate::stand_in::{StandIn, connection, player, problem};

#[tokio::test]
async fn a_players_presence_is_read() {
    let service = StandIn::start().await;
    let client = PresenceClient::new(service.endpoint()).unwrap();
    service.state().leases.insert("p1/c1".into());
    let presence = client.get(&player(1), History::Omit).await.unwrap();
    assert_eq!(
        (
            presence.player_id,
            presence.state,
            presence.connection_count
        ),
        (player(1), State::Online, 1)
    );
    assert_eq!((presence.last_seen, presence.version), (Some(7), Some(9)));
}

#[tokio::test]
async fn every_id_survives_the_path() {
    let service = StandIn::start().await;
    let endpoint = Endpoint::parse(&format!("{}/prefix/", service.url())).unwrap();
    let client = PresenceClient::new(endpoint).unwrap();
    let odd = PlayerId::parse("steam|1:a@b-._C").unwrap();
    assert_eq!(
        client.get(&odd, History::Include).await.unwrap().player_id,
        odd
    );
}

#[tokio::test]
async fn friends_are_returned_in_the_requested_order() {
    let service = StandIn::start().await;
    let client = PresenceClient::new(service.endpoint()).unwrap();
    let asked = [player(2), player(1), player(2)];
    let friends = client.friends(&asked, History::Include).await.unwrap();
    assert_eq!(friends.as_of, 1);
    assert!(
        friends
            .presences
            .iter()
            .map(|presence| &presence.player_id)
            .eq(&asked)
    );
    assert_eq!(
        service.calls("friends")[0].body,
        json!({ "player_ids": ["p2", "p1", "p2"], "history": true })
    );
}

#[tokio::test]
async fn a_single_connection_is_opened_renewed_and_closed() {
    let service = StandIn::start().await;
    service.respond_instead(|call| {
        let mut presence = json!({
            "player_id": "p1", "state": "ONLINE", "last_seen": 7, "connection_count": 1, "version": 9,
        });
        if call.path == "connect" {
            presence["heartbeat_interval_ms"] = json!(15_000);
            presence["ttl_ms"] = json!(45_000);
        }
        Some(axum::Json(presence).into_response())
    });
    let client = PresenceClient::new(service.endpoint()).unwrap();
    let player = player(1);
    let connection = connection(1);
    let connected = client.connect(&player, &connection).await.unwrap();
    assert_eq!(
        (connected.heartbeat_interval_ms, connected.ttl_ms),
        (15_000, 45_000)
    );
    assert_eq!(
        client.heartbeat(&player, &connection).await.unwrap(),
        connected.presence
    );
    client
        .disconnect(&player, &connection, Reason::Lost)
        .await
        .unwrap();
    let calls: Vec<_> = service
        .state()
        .calls
        .iter()
        .map(|call| (call.path.clone(), call.body.clone()))
        .collect();
    let named = json!({"player_id": "p1", "connection_id": "c1"});
    let closed = json!({"player_id": "p1", "connection_id": "c1", "reason": "lost"});
    let expected = [
        ("connect", named.clone()),
        ("heartbeat", named),
        ("disconnect", closed),
    ];
    assert_eq!(calls, expected.map(|(path, body)| (path.to_owned(), body)));
}

#[tokio::test]
async fn a_rejected_transition_is_a_typed_problem_and_not_tried_again() {
    let service = StandIn::start().await;
    let client = PresenceClient::new(service.endpoint()).unwrap();
    let Err(CallError::Problem(problem)) = client.set_state(&player(1), State::InMatch).await
    else {
        panic!()
    };
    assert_eq!(
        (problem.status, problem.slug.as_str()),
        (409, "transition-rejected")
    );
    assert_eq!(problem.detail, "requested by the test");
    assert_eq!(service.calls("state").len(), 1);
    assert_eq!(
        client
            .set_state(&player(1), State::Away)
            .await
            .unwrap()
            .state,
        State::Away
    );
}

#[tokio::test]
async fn a_transient_failure_is_tried_again_twice_at_most() {
    let service = StandIn::start().await;
    let client = PresenceClient::new(service.endpoint()).unwrap();
    let mut failures = 2;
    service.respond_instead(move |_| {
        failures -= 1;
        (failures >= 0).then(|| problem(503, "store-unavailable", None))
    });
    assert!(client.get(&player(1), History::Omit).await.is_ok());
    service.respond_instead(|_| Some(problem(503, "store-unavailable", None)));
    let Err(CallError::Problem(problem)) = client.get(&player(1), History::Omit).await else {
        panic!()
    };
    assert_eq!(problem.slug, "store-unavailable");
    assert_eq!(service.calls("get").len(), 6);
}

#[tokio::test]
async fn responses_that_are_not_the_services_are_errors() {
    let mut service = StandIn::start().await;
    let endpoint = service
        .endpoint()
        .with_timeouts(Duration::from_secs(1), Duration::from_secs(1));
    let client = PresenceClient::new(endpoint).unwrap();
    service.respond_instead(|_| Some("<html>".into_response()));
    assert!(matches!(
        client.get(&player(1), History::Omit).await,
        Err(CallError::Garbled(_))
    ));
    service
        .respond_instead(|_| Some((axum::http::StatusCode::BAD_GATEWAY, "<html>").into_response()));
    let Err(CallError::Problem(problem)) = client.get(&player(1), History::Omit).await else {
        panic!()
    };
    assert_eq!(
        (problem.status, problem.slug.as_str()),
        (502, "about:blank")
    );
    service.stop().await;
    assert!(matches!(
        client.get(&player(1), History::Omit).await,
        Err(CallError::Unreachable(_))
    ));
}

#[tokio::test]
async fn a_new_token_is_sent_with_the_next_call_also_by_clones() {
    let service = StandIn::start().await;
    let client = PresenceClient::new(service.endpoint().with_token("old").unwrap()).unwrap();
    let clone = client.clone();
    client.set_token("new").unwrap();
    assert!(client.set_token("").is_err());
    assert!(clone.get(&player(1), History::Omit).await.is_ok());
    assert_eq!(
        service.calls("get")[0].authorization.as_deref(),
        Some("Bearer new")
    );
}
