//! The watcher with a service that breaks its promises, or with another server. The watcher with a
//! real service is tested in the tests of the service.

use axum::{
    Router,
    extract::{
        State,
        ws::{Message, WebSocketUpgrade},
    },
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::get,
};
use presence_client::{CallError, Endpoint, FeedState, WatchStatus, Watcher};
use tokio::sync::mpsc;

use crate::stand_in::{self, player};

/// A service that replies to the first request of each stream with these messages, and sends
/// nothing more, not even pings.
async fn service(messages: &'static [&'static str]) -> (Endpoint, mpsc::Receiver<String>) {
    let (requests, received) = mpsc::channel(8);
    let open = async move |State(requests): State<mpsc::Sender<String>>,
                           upgrade: WebSocketUpgrade| {
        upgrade.on_upgrade(async move |mut socket| {
            _ = socket.send(Message::text(r#"{"feed":"live"}"#)).await;
            let Some(Ok(Message::Text(request))) = socket.recv().await else {
                return;
            };
            for message in messages {
                _ = socket.send(Message::text(*message)).await;
            }
            _ = requests.send(request.to_string()).await;
            while let Some(Ok(_)) = socket.recv().await {}
        })
    };
    (
        serve(
            Router::new()
                .route("/prefix/watch", get(open))
                .with_state(requests),
        )
        .await,
        received,
    )
}

/// A service with this response to the handshake.
async fn responding(response: impl Fn() -> Response + Clone + Send + Sync + 'static) -> Endpoint {
    serve(Router::new().route("/prefix/watch", get(move || async move { response() }))).await
}

async fn serve(routes: Router) -> Endpoint {
    Endpoint::parse(&format!("{}/prefix", stand_in::serve(routes).await)).unwrap()
}

/// The first status with an error.
async fn failure(watcher: &Watcher) -> WatchStatus {
    let mut changes = watcher.status_changes();
    loop {
        let status = changes.next().await.unwrap();
        if status.error.is_some() {
            return status;
        }
    }
}

#[tokio::test]
async fn a_stream_on_which_a_request_gets_no_reply_is_replaced() {
    let (endpoint, mut requests) = service(&[]).await;
    let watcher = Watcher::start(endpoint).unwrap();
    let _subscription = watcher.watch(&[player(1)]);
    assert_eq!(requests.recv().await.unwrap(), r#"{"watch":["p1"],"id":1}"#);
    assert_eq!(
        watcher.status().feed,
        FeedState::Disconnected,
        "nothing is known of the player yet"
    );
    tokio::time::pause(); // from here on the clock advances to the next timer
    assert!(matches!(
        failure(&watcher).await.error.as_deref(),
        Some(CallError::TimedOut)
    ));
    assert_eq!(requests.recv().await.unwrap(), r#"{"watch":["p1"],"id":2}"#);
}

#[tokio::test]
async fn a_silent_stream_is_replaced_by_one_with_the_known_versions() {
    let (endpoint, mut requests) = service(&[
        r#"{"presences":[{"player_id":"p1","state":"ONLINE","last_seen":7,"version":9}]}"#,
        r#"{"id":1,"watching":1}"#,
    ])
    .await;
    let watcher = Watcher::start(endpoint).unwrap();
    let mut subscription = watcher.watch(&[player(1)]);
    assert_eq!(subscription.recv().await.version, Some(9));
    requests.recv().await.unwrap();
    let mut changes = watcher.status_changes();
    while changes.next().await.unwrap().feed != FeedState::Live {}
    tokio::time::pause();
    assert!(matches!(
        failure(&watcher).await.error.as_deref(),
        Some(CallError::TimedOut)
    ));
    assert_eq!(
        requests.recv().await.unwrap(),
        r#"{"watch":["p1"],"known":{"p1":9},"id":2}"#
    );
}

#[tokio::test]
async fn an_invalid_message_ends_the_stream() {
    let (endpoint, mut requests) = service(&["<html>"]).await;
    let watcher = Watcher::start(endpoint).unwrap();
    let _subscription = watcher.watch(&[player(1)]);
    requests.recv().await.unwrap();
    let status = failure(&watcher).await;
    assert!(
        matches!(status.error.as_deref(), Some(CallError::Garbled(_))),
        "{status:?}"
    );
    requests.recv().await.unwrap();
}

#[tokio::test]
async fn another_server_is_an_error() {
    let endpoint = responding(|| "welcome".into_response()).await;
    let watcher = Watcher::start(endpoint).unwrap();
    let _subscription = watcher.watch(&[player(1)]);
    let error = failure(&watcher).await.error.unwrap();
    let CallError::Problem(problem) = &*error else {
        panic!("{error:?}")
    };
    assert_eq!((problem.status, &*problem.slug), (200, "about:blank"));

    let respond_with_wrong_key = || {
        let headers = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-accept", "wrong"),
        ];
        (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
    };
    let watcher = Watcher::start(responding(respond_with_wrong_key).await).unwrap();
    let _subscription = watcher.watch(&[player(1)]);
    let status = failure(&watcher).await;
    assert!(
        matches!(status.error.as_deref(), Some(CallError::Unreachable(_))),
        "{status:?}"
    );
    assert_eq!(status.feed, FeedState::Disconnected);
}

#[tokio::test]
async fn a_watcher_connects_at_the_first_player_and_its_status_ends_with_it() {
    let (endpoint, mut requests) = service(&[]).await;
    let watcher = Watcher::start(endpoint).unwrap();
    let subscription = watcher.watch([]);
    tokio::task::yield_now().await;
    assert_eq!(watcher.stats().streams, 0);
    subscription.watch(&[player(1)]);
    requests.recv().await.unwrap();
    let mut changes = watcher.status_changes();
    assert!(changes.next().await.is_some());
    drop((watcher, subscription));
    while changes.next().await.is_some() {}
}
