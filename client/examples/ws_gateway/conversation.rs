//! One socket from its first moment to its last.

use std::{sync::Arc, time::Duration};

use axum::extract::ws::{CloseCode, CloseFrame, Message, WebSocket, close_code};
use presence_client::{Activity, ConnectionId, PlayerId, Reason, State};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    friends::{Friends, News},
    http::Gateway,
};

/// How long a message may take to be written. A player who does not read is lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a closing handshake may take.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// How many messages a player may send from one ping to the next.
const MAX_MESSAGES: usize = 200;

/// What a player may say: `{"state":"IN_MATCH"}`, `{"activity":{"details":"Ranked"}}`, `{"watch":["bob"]}` or
/// `{"unwatch":["bob"]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    state: Option<State>,
    /// `null` removes it.
    #[serde(default, deserialize_with = "present")]
    activity: Option<Option<Activity>>,
    watch: Option<Vec<PlayerId>>,
    unwatch: Option<Vec<PlayerId>>,
}

/// Reads a member that is in the message, also if it is `null`.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Activity>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
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
    let mut friends = gateway.watcher.as_ref().map(Friends::of);
    let mut heard = 1;
    loop {
        tokio::select! {
            biased; // what was sent is read before it is looked at whether anything was sent
            Some(code) = orders.recv() => return End::ByGateway(code),
            message = socket.recv() => {
                match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Err(error) = hear(gateway, player, &mut friends, &text)
                            && !send(socket, Message::text(json!({"error": error}).to_string())).await
                        {
                            return End::Broken;
                        }
                    }
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
            Some(news) = news(&mut friends) => {
                let text = serde_json::to_string(&news).unwrap_or_default(); // never fails for strings and numbers
                if !send(socket, Message::text(text)).await {
                    return End::Broken;
                }
            }
        }
    }
}

/// Does what a player says, or returns why it cannot be done.
fn hear(gateway: &Gateway, player: &PlayerId, friends: &mut Option<Friends>, text: &str) -> Result<(), String> {
    let Said { state, activity, watch, unwatch } = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if state.is_none() && activity.is_none() && watch.is_none() && unwatch.is_none() {
        return Err("missing field: state, activity, watch or unwatch".into());
    }
    if let Some(state) = state {
        gateway.notifier.state_changed(player, state);
    }
    if let Some(activity) = activity {
        gateway.notifier.activity_changed(player, activity.as_ref());
    }
    if watch.is_none() && unwatch.is_none() {
        return Ok(());
    }
    let friends = friends.as_mut().ok_or("this gateway has no presence service")?;
    friends.unwatch(&unwatch.unwrap_or_default());
    friends.watch(watch.unwrap_or_default())
}

/// The next message about friends; `None` if they cannot be watched.
async fn news(friends: &mut Option<Friends>) -> Option<News> {
    Some(friends.as_mut()?.news().await)
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
