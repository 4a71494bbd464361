//! Conversation with one player: a socket, from its opening to its end.

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
    friends::{Friends, FriendsMessage},
    http::Gateway,
};

/// Time limit for writing a message. A player who does not read in time is lost.
const WRITE_TIMEOUT: Duration = Duration::from_secs(5);

/// Time limit for the closing handshake.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The most messages that a player may send between two pings.
const MAX_MESSAGES: usize = 200;

/// A message of the player: `{"state":"IN_MATCH"}`, `{"activity":{"details":"Ranked"}}`,
/// `{"watch":["bob"]}` or `{"unwatch":["bob"]}`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlayerMessage {
    state: Option<State>,
    /// `null` removes the activity.
    #[serde(default, deserialize_with = "deserialize_present")]
    activity: Option<Option<Activity>>,
    watch: Option<Vec<PlayerId>>,
    unwatch: Option<Vec<PlayerId>>,
}

/// Deserializes a member that is in the message, even if it is `null`.
fn deserialize_present<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<Activity>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Cause of the end of a conversation.
enum End {
    /// The player closed the socket, with this code if there was one.
    ByPlayer(Option<CloseCode>),
    /// The gateway closes the socket, with this code.
    ByGateway(CloseCode),
    /// The socket broke, or the player no longer responds.
    Broken,
}

/// Serves one socket, from its opening to its end.
pub(crate) async fn serve(
    gateway: Arc<Gateway>,
    player: PlayerId,
    connection: ConnectionId,
    mut socket: WebSocket,
) {
    let close_requests = gateway.sockets.add(&connection);
    gateway.notifier.connected(&player, &connection);
    let end = converse(&gateway, &player, &mut socket, close_requests).await;
    gateway
        .notifier
        .disconnected(&player, &connection, end.reason());
    close(socket, end).await;
    gateway.sockets.remove(&connection);
}

/// Exchanges messages with the player until the end.
async fn converse(
    gateway: &Gateway,
    player: &PlayerId,
    socket: &mut WebSocket,
    mut close_requests: mpsc::Receiver<CloseCode>,
) -> End {
    let mut pings = interval(gateway.ping_interval);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut friends = gateway.watcher.as_ref().map(Friends::of);
    let mut received = 1;
    loop {
        tokio::select! {
            biased; // messages are read before a ping finds that none was received
            Some(code) = close_requests.recv() => return End::ByGateway(code),
            message = socket.recv() => {
                match message {
                    Some(Ok(Message::Text(text))) => {
                        if let Err(error) = handle_message(gateway, player, &mut friends, &text)
                            && !send(socket, Message::text(json!({"error": error}).to_string())).await
                        {
                            return End::Broken;
                        }
                    }
                    Some(Ok(Message::Close(frame))) => return End::ByPlayer(frame.map(|frame| frame.code)),
                    Some(Err(_)) | None => return End::Broken,
                    Some(Ok(_)) => {}
                }
                received += 1;
                if received > MAX_MESSAGES {
                    return End::ByGateway(close_code::POLICY);
                }
            }
            // A browser responds to a ping, so a player without any message since the last ping is
            // lost.
            _ = pings.tick() => {
                if std::mem::take(&mut received) == 0 || !send(socket, Message::Ping("".into())).await {
                    return End::Broken;
                }
            }
            Some(message) = next_friends_message(&mut friends) => {
                let text = serde_json::to_string(&message).unwrap_or_default(); // never fails for strings and numbers
                if !send(socket, Message::text(text)).await {
                    return End::Broken;
                }
            }
        }
    }
}

/// Handles a message of the player, or returns why that is not possible.
fn handle_message(
    gateway: &Gateway,
    player: &PlayerId,
    friends: &mut Option<Friends>,
    text: &str,
) -> Result<(), String> {
    let PlayerMessage {
        state,
        activity,
        watch,
        unwatch,
    } = serde_json::from_str(text).map_err(|error| error.to_string())?;
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
    let friends = friends
        .as_mut()
        .ok_or("this gateway has no presence service")?;
    friends.unwatch(&unwatch.unwrap_or_default());
    friends.watch(watch.unwrap_or_default())
}

/// Waits for the next message about friends; `None` if they cannot be watched.
async fn next_friends_message(friends: &mut Option<Friends>) -> Option<FriendsMessage> {
    Some(friends.as_mut()?.next_message().await)
}

/// Sends a message. Returns whether it was written in time.
async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(
        timeout(WRITE_TIMEOUT, socket.send(message)).await,
        Ok(Ok(()))
    )
}

/// Closes the socket, with a closing handshake if the player responds in time.
async fn close(mut socket: WebSocket, end: End) {
    let handshake = async {
        if let End::ByGateway(code) = end {
            let frame = CloseFrame {
                code,
                reason: "".into(),
            };
            socket.send(Message::Close(Some(frame))).await?;
        }
        while socket.recv().await.transpose()?.is_some() {}
        Ok::<_, axum::Error>(())
    };
    _ = timeout(CLOSE_TIMEOUT, handshake).await;
}

impl End {
    /// The reason for the presence service. The close code distinguishes a player who meant to
    /// leave from a lost one.
    fn reason(&self) -> Reason {
        match self {
            Self::ByPlayer(Some(code)) | Self::ByGateway(code) => Reason::from_close_code(*code),
            Self::ByPlayer(None) | Self::Broken => Reason::Lost,
        }
    }
}
