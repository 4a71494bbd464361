//! The example gateway, with real WebSockets.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::extract::ws::close_code;
use futures_util::{SinkExt as _, StreamExt as _};
use presence_client::HttpNotifier;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::sleep,
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::stand_in::StandIn;

#[expect(
    dead_code,
    reason = "its main and what that alone needs are not tested here"
)]
#[path = "../../examples/ws_gateway/main.rs"]
mod ws_gateway;

use ws_gateway::{Gateway, Sockets, accept};

/// The size of the kernel's buffers: small, so that a writer notices a client that does not read.
const BUFFER: u32 = 4 * 1024;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn start_gateway(service: Option<&StandIn>) -> (SocketAddr, Option<Arc<HttpNotifier>>) {
    let (gateway, presence, _) = start_gateway_with(service, 100, Duration::from_secs(20)).await;
    (gateway, presence)
}

async fn start_gateway_with(
    service: Option<&StandIn>,
    max_sockets: usize,
    ping_interval: Duration,
) -> (SocketAddr, Option<Arc<HttpNotifier>>, Arc<Sockets>) {
    let sockets = Arc::new(Sockets::new(max_sockets));
    let presence = service.map(|service| {
        let sockets = Arc::clone(&sockets);
        let builder = HttpNotifier::builder(service.endpoint())
            .heartbeat_interval(Duration::from_millis(200));
        Arc::new(
            builder
                .on_closed(move |_, connection| sockets.close(connection, close_code::POLICY))
                .start()
                .unwrap(),
        )
    });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(BUFFER).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(64).unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(accept(
        listener,
        Gateway::new(presence.clone(), None, Arc::clone(&sockets), ping_interval),
    ));
    (address, presence, sockets)
}

async fn open(gateway: SocketAddr, player: &str) -> Socket {
    connect_async(format!("ws://{gateway}/ws?player={player}"))
        .await
        .unwrap()
        .0
}

#[tokio::test]
async fn a_sockets_close_code_decides_between_quit_and_lost() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    for code in [CloseCode::Normal, CloseCode::Away, CloseCode::Error] {
        let mut socket = open(gateway, "alice").await;
        service.until(|state| state.leases.len() == 1).await;
        socket
            .close(Some(CloseFrame {
                code,
                reason: "".into(),
            }))
            .await
            .unwrap();
        service.until(|state| state.leases.is_empty()).await;
    }
    let socket = open(gateway, "alice").await;
    service.until(|state| state.leases.len() == 1).await;
    drop(socket);
    service.until(|state| state.leases.is_empty()).await;
    let reasons: Vec<_> = service
        .calls("disconnect")
        .iter()
        .map(|call| call.body["reason"].clone())
        .collect();
    assert_eq!(reasons, ["quit", "quit", "lost", "lost"]);
}

#[tokio::test]
async fn the_state_that_a_player_sends_is_reported() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    let mut socket = open(gateway, "alice").await;
    socket
        .send(Message::text(r#"{"state":"IN_MATCH"}"#))
        .await
        .unwrap();
    service
        .until(|state| {
            state
                .states
                .get("alice")
                .is_some_and(|state| state == "IN_MATCH")
        })
        .await;
    socket.send(Message::text("{}")).await.unwrap();
    let complaint = loop {
        match socket.next().await.unwrap().unwrap() {
            Message::Text(text) => break text,
            _ => continue,
        }
    };
    assert!(complaint.contains("missing field"), "{complaint}");
}

#[tokio::test]
async fn the_sockets_of_a_player_who_was_signed_out_are_closed() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    let mut phone = open(gateway, "alice").await;
    let mut desktop = open(gateway, "alice").await;
    service.until(|state| state.leases.len() == 2).await;
    phone
        .send(Message::text(r#"{"state":"OFFLINE"}"#))
        .await
        .unwrap();
    for socket in [&mut phone, &mut desktop] {
        let code = loop {
            match socket.next().await.unwrap().unwrap() {
                Message::Close(frame) => break frame.unwrap().code,
                _ => continue,
            }
        };
        assert_eq!(code, CloseCode::Policy);
    }
    assert_eq!(service.calls("disconnect").len(), 0);
}

#[tokio::test]
async fn a_gateway_without_a_presence_service_serves_its_sockets() {
    let (gateway, _) = start_gateway(None).await;
    let mut socket = open(gateway, "alice").await;
    socket.send(Message::text("hello")).await.unwrap();
    assert!(socket.next().await.unwrap().is_ok());
    assert!(
        connect_async(format!("ws://{gateway}/ws?player=a%20b"))
            .await
            .is_err()
    );
}

/// A socket whose client neither reads nor writes after its request.
async fn open_raw(gateway: SocketAddr, player: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    let mut stream = socket.connect(gateway).await.unwrap();
    let request = format!(
        "GET /ws?player={player} HTTP/1.1\r\nhost: gateway\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// A masked text frame, with a mask of zeros.
fn text_frame(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [
        &[0x81, 0x80 | 126, length[0], length[1], 0, 0, 0, 0][..],
        text,
    ]
    .concat()
}

#[tokio::test]
async fn a_client_that_replies_to_no_pings_is_lost_and_its_connection_closed() {
    let service = StandIn::start().await;
    let (gateway, _presence, _) =
        start_gateway_with(Some(&service), 100, Duration::from_millis(300)).await;
    let mut dead = open_raw(gateway, "dead").await;
    let mut alive = open(gateway, "alive").await;
    service.until(|state| state.leases.len() == 2).await;
    let reading = tokio::spawn(async move { while let Some(Ok(_)) = alive.next().await {} });
    service.until(|state| state.leases.len() == 1).await;
    assert_eq!(service.calls("disconnect")[0].body["reason"], "lost");
    assert!(
        service
            .state()
            .leases
            .iter()
            .next()
            .unwrap()
            .starts_with("alive/")
    );
    dead.read_to_end(&mut Vec::new()).await.unwrap();
    assert!(!reading.is_finished());
}

#[tokio::test]
async fn a_client_that_does_not_read_cannot_keep_a_socket_open_after_its_player_was_signed_out() {
    let service = StandIn::start().await;
    let (gateway, presence, sockets) =
        start_gateway_with(Some(&service), 100, Duration::from_secs(20)).await;
    let mut stuck_socket = open_raw(gateway, "stuck").await;
    service.until(|state| state.leases.len() == 1).await;
    // The reply to each message is an error that repeats it.
    let message = text_frame(format!("{{\"{}\":1}}", "a".repeat(3_900)).as_bytes());
    let stuck = tokio::spawn(async move {
        for _ in 0..100 {
            _ = stuck_socket.write_all(&message).await; // until the gateway has closed the socket
        }
        stuck_socket
    });
    let lease = service.state().leases.pop_first().unwrap();
    service.state().closed.insert(lease);
    while presence.as_ref().unwrap().stats().closed == 0 || sockets.count() > 0 {
        sleep(Duration::from_millis(5)).await;
    }
    drop(stuck.await.unwrap());
}

#[tokio::test]
async fn the_socket_of_a_client_that_floods_is_closed() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    let (mut sink, mut stream) = open(gateway, "flood").await.split();
    // A connection that closes before it was reported is never reported.
    service.until(|state| !state.leases.is_empty()).await;
    let send_flood = async move {
        while sink
            .send(Message::text(r#"{"state":"AWAY"}"#))
            .await
            .is_ok()
        {}
    };
    let flood = tokio::spawn(send_flood);
    let code = loop {
        match stream.next().await {
            Some(Ok(Message::Close(frame))) => break frame.map(|frame| frame.code),
            Some(Ok(_)) => continue,
            Some(Err(_)) | None => break None,
        }
    };
    assert!(
        code.is_none_or(|code| code == CloseCode::Policy),
        "{code:?}"
    );
    flood.await.unwrap();
    service
        .until(|state| state.leases.is_empty() && !state.closed.is_empty())
        .await;
}

#[tokio::test]
async fn sockets_above_the_limit_are_refused_until_one_closes() {
    let service = StandIn::start().await;
    let (gateway, _presence, _) =
        start_gateway_with(Some(&service), 2, Duration::from_secs(20)).await;
    let first = open(gateway, "first").await;
    let _second = open(gateway, "second").await;
    let url = format!("ws://{gateway}/ws?player=third");
    let Err(tokio_tungstenite::tungstenite::Error::Http(refused)) = connect_async(&url).await
    else {
        panic!()
    };
    assert_eq!(
        (
            refused.status().as_u16(),
            &refused.headers()["retry-after"] == "5"
        ),
        (503, true)
    );
    drop(first);
    while connect_async(&url).await.is_err() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_closes_the_socket() {
    let (gateway, _) = start_gateway(None).await;
    let mut socket = open(gateway, "alice").await;
    socket
        .send(Message::text("a".repeat(4 * 1024 + 1)))
        .await
        .unwrap();
    while let Some(Ok(message)) = socket.next().await {
        assert!(!message.is_text(), "{message}");
    }
}
