//! The example, with real WebSockets.

use std::{net::SocketAddr, sync::Arc};

use axum::extract::ws::close_code;
use futures_util::{SinkExt as _, StreamExt as _};
use presence_client::HttpNotifier;
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

use crate::stand_in::StandIn;

#[expect(dead_code, reason = "its main and what that alone needs are not tested here")]
#[path = "../../examples/ws_gateway.rs"]
mod ws_gateway;

use ws_gateway::{Gateway, Sockets, router};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn start_gateway(service: Option<&StandIn>) -> (SocketAddr, Option<Arc<HttpNotifier>>) {
    let sockets = Arc::new(Sockets::default());
    let presence = service.map(|service| {
        let sockets = Arc::clone(&sockets);
        let builder =
            HttpNotifier::builder(service.endpoint()).heartbeat_interval(std::time::Duration::from_millis(200));
        Arc::new(builder.on_closed(move |_, connection| sockets.shut(connection, close_code::POLICY)).start().unwrap())
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = router(Gateway::new(presence.clone(), sockets));
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    (address, presence)
}

async fn open(gateway: SocketAddr, player: &str) -> Socket {
    connect_async(format!("ws://{gateway}/ws?player={player}")).await.unwrap().0
}

#[tokio::test]
async fn a_sockets_close_code_decides_between_quit_and_lost() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    for code in [CloseCode::Normal, CloseCode::Away, CloseCode::Error] {
        let mut socket = open(gateway, "alice").await;
        service.until(|world| world.leases.len() == 1).await;
        socket.close(Some(CloseFrame { code, reason: "".into() })).await.unwrap();
        service.until(|world| world.leases.is_empty()).await;
    }
    let socket = open(gateway, "alice").await;
    service.until(|world| world.leases.len() == 1).await;
    drop(socket);
    service.until(|world| world.leases.is_empty()).await;
    let reasons: Vec<_> = service.calls("disconnect").iter().map(|call| call.body["reason"].clone()).collect();
    assert_eq!(reasons, ["quit", "quit", "lost", "lost"]);
}

#[tokio::test]
async fn what_a_player_says_becomes_the_players_state() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    let mut socket = open(gateway, "alice").await;
    socket.send(Message::text(r#"{"state":"IN_MATCH"}"#)).await.unwrap();
    service.until(|world| world.states.get("alice").is_some_and(|state| state == "IN_MATCH")).await;
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
async fn the_sockets_of_a_player_who_was_signed_out_are_shut() {
    let service = StandIn::start().await;
    let (gateway, _presence) = start_gateway(Some(&service)).await;
    let (mut phone, mut desktop) = (open(gateway, "alice").await, open(gateway, "alice").await);
    service.until(|world| world.leases.len() == 2).await;
    phone.send(Message::text(r#"{"state":"OFFLINE"}"#)).await.unwrap();
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
    assert!(connect_async(format!("ws://{gateway}/ws?player=a%20b")).await.is_err());
}
