//! The stream of events, from a server that sends prepared messages.

use axum::{Router, http::header, routing::get};
use presence_client::{
    CallError, Endpoint,
    operator::{EventFeed, EventStream, OperatorClient, StreamItem},
};

use crate::stand_in::serve;

const EVENT: &str = r#"{"id":"alice:7","type":"PresenceOnline","player_id":"alice","state":"ONLINE",
"previous_state":"OFFLINE","connection_count":1,"last_seen":7,"version":7,"occurred_at":7,"reason":"connect"}"#;

/// Opens a stream of these messages, given as names with data.
async fn open(messages: &[(&str, &str)]) -> Result<EventStream, CallError> {
    let to_message = |(name, data): &(&str, &str)| {
        format!("event: {name}\ndata: {}\n\n", data.replace('\n', ""))
    };
    let body: String = messages.iter().map(to_message).collect();
    let respond = move || async { ([(header::CONTENT_TYPE, "text/event-stream")], body) };
    let url = serve(Router::new().route("/console/events", get(respond))).await;
    OperatorClient::new(Endpoint::parse(&url).unwrap())
        .unwrap()
        .events()
        .await
}

async fn all(mut stream: EventStream) -> Vec<StreamItem> {
    let mut items = Vec::new();
    while let Some(item) = stream.next().await.unwrap() {
        items.push(item);
    }
    items
}

fn live() -> (&'static str, &'static str) {
    ("feed", r#"{"feed":"live"}"#)
}

fn down() -> (&'static str, &'static str) {
    ("feed", r#"{"feed":"down"}"#)
}

#[tokio::test]
async fn a_stream_reports_whether_events_arrive() {
    let messages = [
        ("ready", "{}"),
        live(),
        ("presence", EVENT),
        down(),
        ("ready", "{}"),
        live(),
    ];
    let items = all(open(&messages).await.unwrap()).await;
    let event = serde_json::from_str(EVENT).unwrap();
    let live = StreamItem::Feed(EventFeed::Live);
    let down = StreamItem::Feed(EventFeed::Down);
    assert_eq!(items, [live.clone(), StreamItem::Event(event), down, live]);
}

#[tokio::test]
async fn a_stream_may_begin_without_events() {
    let items = all(open(&[
        down(),
        ("missed", r#"{"count":3}"#),
        ("of-a-newer-service", ""),
    ])
    .await
    .unwrap())
    .await;
    assert_eq!(
        items,
        [StreamItem::Feed(EventFeed::Down), StreamItem::Missed(3)]
    );
}

#[tokio::test]
async fn a_response_that_is_not_a_stream_of_events_is_an_error() {
    for messages in [&[][..], &[("presence", EVENT)]] {
        assert!(matches!(
            open(messages).await,
            Err(CallError::Unreachable(_))
        ));
    }
    assert!(matches!(
        open(&[("feed", "?")]).await,
        Err(CallError::Garbled(_))
    ));
}
