//! Limits of streams, and how streams end.

use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use presence_tests::{Server, Watcher};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_tungstenite::tungstenite::{Error, Message, protocol::frame::coding::CloseCode};

use super::{Fixture, connect, eventually, read, set_state};

#[tokio::test]
async fn more_streams_than_allowed_are_refused_until_one_ends() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_STREAMS", "2")]);
    let first = Watcher::open(&server).await;
    let _second = Watcher::open(&server).await;
    let Err(error) = Watcher::connect(&server).await else {
        panic!("a third stream")
    };
    let Error::Http(response) = *error else {
        panic!("{error}")
    };
    assert_eq!(response.status(), 503);
    assert!(response.headers().contains_key("retry-after"));
    let body: serde_json::Value =
        serde_json::from_slice(response.body().as_deref().unwrap()).unwrap();
    assert_eq!(body["type"], "urn:presence:overloaded");
    drop(first);
    eventually(async || Watcher::connect(&server).await.is_ok()).await;
}

#[tokio::test]
async fn more_players_than_allowed_are_an_error_that_adds_none() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_PLAYERS", "3")]);
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["a", "b"]).await;
    let (_, reply) = watcher
        .ask(json!({"watch": ["b", "c", "d"], "id": 1}))
        .await;
    assert_eq!(
        (&reply["error"]["type"], &reply["error"]["status"]),
        (&json!("urn:presence:too-many"), &json!(409))
    );
    let (_, reply) = watcher.ask(json!({"watch": ["b", "c"], "id": 2})).await;
    assert_eq!(reply, json!({"id": 2, "watching": 3}));
}

#[tokio::test]
async fn messages_that_are_not_text_of_at_most_a_mebibyte_end_the_stream() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let mebibyte = 1024 * 1024;
    let mut watcher = Watcher::open(&server).await;
    watcher.send_message(Message::binary(vec![1])).await;
    assert_eq!(watcher.close_code().await, Some(CloseCode::Unsupported));
    let mut watcher = Watcher::open(&server).await;
    watcher
        .send_message(Message::text("x".repeat(mebibyte)))
        .await;
    assert_eq!(
        watcher.next().await["error"]["type"],
        "urn:presence:invalid-request"
    );
    watcher
        .send_message(Message::text("x".repeat(mebibyte + 1)))
        .await;
    assert_eq!(watcher.close_code().await, Some(CloseCode::Size));
}

/// A stream on which bytes can be sent that no client would.
async fn raw(server: &Server) -> TcpStream {
    let mut socket = TcpStream::connect(server.address()).await.unwrap();
    let request = "GET /watch HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                   sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut received = Vec::new();
    while !received.ends_with(b"\r\n\r\n") {
        received.push(socket.read_u8().await.unwrap());
    }
    let head = String::from_utf8(received).unwrap().to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 101 ") && head.contains("s3pplmbitxaq9kygzzhzrbk+xoo="),
        "{head}"
    );
    socket
}

/// The code of the frame that closes a stream.
async fn close_code(socket: &mut TcpStream) -> u16 {
    let mut rest = Vec::new();
    socket.read_to_end(&mut rest).await.unwrap();
    let mut frames = &rest[..];
    while let [first, length, payload @ ..] = frames {
        let payload = &payload[..usize::from(*length)];
        if *first == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
        frames = &frames[2 + payload.len()..];
    }
    panic!("no close frame in {rest:?}");
}

#[tokio::test]
async fn bytes_that_are_not_websocket_end_the_stream_with_the_code_that_says_why() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    for (bytes, code) in [
        (&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe][..], 1007), // text that is not UTF-8
        (&[0x81, 0x02, b'{', b'}'], 1002),                 // unmasked
        (&[0xc1, 0x80, 0, 0, 0, 0], 1002),                 // a reserved bit
        (&[0x83, 0x80, 0, 0, 0, 0], 1002),                 // a reserved opcode
        (&[0x80, 0x80, 0, 0, 0, 0], 1002),                 // a continuation of nothing
        (&[0x09, 0x80, 0, 0, 0, 0], 1002),                 // a fragmented ping
        (&[0x82, 0x80, 0, 0, 0, 0], 1003),                 // binary
        (&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0], 1009), // a mebibyte and a byte
        (&[0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8], 1000),     // the client closes
    ] {
        let mut socket = raw(&server).await;
        socket.write_all(bytes).await.unwrap();
        assert_eq!(close_code(&mut socket).await, code, "{bytes:x?}");
    }
}

#[tokio::test]
async fn a_message_in_fragments_is_one_message() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[]);
    let mut socket = raw(&server).await;
    let text = br#"{"watch":["alice"],"id":3}"#;
    for (number, byte) in text.iter().enumerate() {
        let opcode =
            if number == 0 { 1 } else { 0 } | if number == text.len() - 1 { 0x80 } else { 0 };
        socket
            .write_all(&[opcode, 0x81, 0, 0, 0, 0, *byte])
            .await
            .unwrap();
        if number == 5 {
            socket
                .write_all(&[0x89, 0x81, 0, 0, 0, 0, b'!'])
                .await
                .unwrap(); // a ping in between
        }
    }
    let mut received = String::new();
    let mut buffer = [0; 1024];
    while !received.contains(r#"{"id":3,"watching":1}"#) {
        let length = socket.read(&mut buffer).await.unwrap();
        assert_ne!(length, 0, "{received}");
        received.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    assert!(received.contains("!"), "the pong: {received}");
}

#[tokio::test]
async fn sigterm_sends_what_is_pending_and_says_that_the_server_goes_away() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "60s")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    set_state(&server, "alice", "AWAY").await;
    watcher.until("alice", "AWAY").await;
    let other = {
        let mut other = Watcher::open(&server).await;
        other.watch(&["alice"]).await;
        set_state(&server, "alice", "IN_MATCH").await;
        other.until("alice", "IN_MATCH").await; // so the server has it, and the first one has to wait for it
        other
    };
    let (status, code) = tokio::join!(server.terminate(), watcher.close_code());
    assert_eq!((status.code(), code), (Some(0), Some(CloseCode::Away)));
    assert_eq!(watcher.held("alice")["state"], "IN_MATCH");
    drop(other);
}

#[tokio::test]
async fn a_stream_is_served_and_ended_while_a_request_waits_for_redis() {
    let fixture = Fixture::new().await;
    let mut server = fixture.server(&[("PRESENCE_STORE_TIMEOUT", "10s")]);
    connect(&server, &["alice"]).await;
    let mut watcher = Watcher::open(&server).await;
    watcher.watch(&["alice"]).await;
    fixture.redis.pause();
    watcher.send(json!({"watch": ["bob"], "id": 1})).await;
    watcher.until_feed("stale").await;
    let (_, code) = tokio::join!(server.terminate(), watcher.close_code());
    assert_eq!(code, Some(CloseCode::Away));
}

/// A caller that does not read gets the newest presence of each player when it reads again, not all
/// that happened.
#[tokio::test]
async fn a_slow_reader_gets_fewer_and_newer_messages() {
    const PLAYERS: usize = 2_000;
    const ROUNDS: usize = 8;
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_INTERVAL", "1ms"), ("PRESENCE_TTL", "10m")]);
    let names: Vec<_> = (0..PLAYERS)
        .map(|number| format!("{number:0>120}"))
        .collect();
    let players: Vec<_> = names.iter().map(String::as_str).collect();
    let mut slow = Watcher::with_small_buffer(&server).await;
    slow.watch(&players).await;
    let mut quick = Watcher::open(&server).await;
    quick.watch(&players).await;
    for round in 0..ROUNDS {
        for (path, state) in [
            ("/presence/connect", "ONLINE"),
            ("/presence/disconnect", "OFFLINE"),
        ] {
            let build_connection =
                |player| json!({"player_id": player, "connection_id": format!("c{round}")});
            let connections: Vec<_> = players.iter().map(build_connection).collect();
            let response = server.post(path, json!({"connections": connections})).await;
            assert_eq!(response.body["accepted"], PLAYERS);
            quick.until(players[PLAYERS - 1], state).await; // as a gateway does, this one reads on
        }
    }
    let last = read(&server, players[PLAYERS - 1]).await;
    let mut entries = 0;
    while slow.held(players[PLAYERS - 1]) != &last {
        entries += slow.next().await["presences"]
            .as_array()
            .map_or(0, Vec::len);
    }
    assert!(entries < 2 * PLAYERS * ROUNDS * 3 / 4, "{entries} entries");
    for player in players {
        let stored = read(&server, player).await;
        while slow.held(player) != &stored {
            slow.next().await;
        }
    }
}

#[tokio::test]
async fn a_client_that_ends_without_a_word_gives_its_place_back() {
    let fixture = Fixture::new().await;
    let server = fixture.server(&[("PRESENCE_WATCH_STREAMS", "1")]);
    for _ in 0..3 {
        let socket = raw(&server).await;
        drop(socket);
        eventually(async || {
            let response = server.get("/watch?players=").await.status;
            assert_eq!(response, 426);
            let watcher = Watcher::connect(&server).await;
            match watcher {
                Ok(watcher) => drop(watcher),
                Err(_) => return false,
            }
            true
        })
        .await;
        eventually(async || {
            let metrics = server.metrics().await;
            metrics.contains("presence_watch_streams 0")
        })
        .await;
    }
    let (mut sink, _) =
        tokio_tungstenite::connect_async(server.url("/watch").replacen("http", "ws", 1))
            .await
            .unwrap();
    sink.send(Message::Close(None)).await.unwrap();
    tokio::time::timeout(Duration::from_secs(60), async {
        while sink.next().await.is_some() {}
    })
    .await
    .unwrap();
}
