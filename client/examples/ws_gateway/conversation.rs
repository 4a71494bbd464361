//! One socket from its first moment to its last.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, close_code};
use presence_client::{ConnectionId, PlayerId, Reason, State};
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use super::http::Gateway;

/// How long a message may take to be written. A player who does not read is lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many messages a player may send from one ping to the next.
const MAX_MESSAGES: usize = 200;

/// What a player may say.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    state: State,
}

/// How a conversation ended.
enum End {
    /// The player closed the socket, with this code if there was one.
    ByPlayer(Option<CloseCode>),
    /// The gateway closes the socket, with this code.
    ByGateway(CloseCode),
    /// The socket broke, or the player is not heard of any more.
    Broken,
}

/// Serves a socket from its first moment to its last.
pub(crate) async fn serve(gateway: Arc<Gateway>, player: PlayerId, connection: ConnectionId, mut socket: WebSocket) {
    let orders = gateway.sockets.add(&connection);
    gateway.notifier.connected(&player, &connection);
    let end = talk(&gateway, &player, &mut socket, orders).await;
    gateway.notifier.disconnected(&player, &connection, end.reason());
    close(socket, end).await;
    gateway.sockets.remove(&connection);
}

/// Talks with a player until the end.
async fn talk(
    gateway: &Gateway,
    player: &PlayerId,
    socket: &mut WebSocket,
    mut orders: mpsc::Receiver<CloseCode>,
) -> End {
    let mut pings = interval(gateway.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut heard = 1;
    loop {
        tokio::select! {
            biased; // what was sent is read before it is looked at whether anything was sent
            Some(code) = orders.recv() => return End::ByGateway(code),
            message = socket.recv() => {
                match message {
                    Some(Ok(Message::Text(text))) => match serde_json::from_str::<Said>(&text) {
                        Ok(said) => gateway.notifier.state_changed(player, said.state),
                        Err(error) if !send(socket, Message::text(error.to_string())).await => return End::Broken,
                        Err(_) => {}
                    },
                    Some(Ok(Message::Close(frame))) => return End::ByPlayer(frame.map(|frame| frame.code)),
                    Some(Err(_)) | None => return End::Broken,
                    Some(Ok(_)) => {}
                }
                heard += 1;
                if heard > MAX_MESSAGES {
                    return End::ByGateway(close_code::POLICY);
                }
            }
            _ = pings.tick() => {
                if std::mem::take(&mut heard) == 0 || !send(socket, Message::Ping("".into())).await {
                    return End::Broken;
                }
            }
        }
    }
}

/// Says whether the message was written in time.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(timeout(WRITE_TIMEOUT, socket.send(message)).await, Ok(Ok(())))
}

/// Closes the socket: with a closing handshake if the player takes part, else without.
async fn close(mut socket: WebSocket, end: End) {
    let handshake = async {
        if let End::ByGateway(code) = end {
            let frame = CloseFrame { code, reason: "".into() };
            socket.send(Message::Close(Some(frame))).await?;
        }
        while socket.recv().await.transpose()?.is_some() {}
        Ok::<_, axum::Error>(())
    };
    _ = timeout(CLOSE_TIMEOUT, handshake).await;
}

impl End {
    /// The reason for the presence service: a player who means to leave says so in the close code.
    fn reason(&self) -> Reason {
        match self {
            Self::ByPlayer(Some(code)) | Self::ByGateway(code) => Reason::from_close_code(*code),
            Self::ByPlayer(None) | Self::Broken => Reason::Lost,
        }
    }
}
