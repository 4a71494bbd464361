//! A player's device.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Error, Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A device with an open WebSocket to a gateway, which a task of its own attends to.
#[derive(Debug)]
pub struct Device {
    orders: mpsc::Sender<Order>,
    connection: String,
    closed: watch::Receiver<()>,
}

#[derive(Debug)]
enum Order {
    Say(String),
    Quit,
    Break,
}

impl Device {
    /// Connects to a gateway.
    ///
    /// # Errors
    /// If the gateway refuses the socket.
    pub async fn open(url: &str) -> Result<Self, Box<Error>> {
        let (socket, response) = connect_async(url).await?;
        let connection = response
            .headers()
            .get("x-connection-id")
            .and_then(|id| id.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let (orders, received) = mpsc::channel(4);
        let (is_open, closed) = watch::channel(());
        tokio::spawn(async move {
            attend(socket, received).await;
            drop(is_open);
        });
        Ok(Self {
            orders,
            connection,
            closed,
        })
    }

    /// What the gateway calls the connection.
    pub fn connection(&self) -> &str {
        &self.connection
    }

    /// Sends the gateway the player's new state.
    pub async fn say(&self, state: &str) {
        self.order(Order::Say(format!(r#"{{"state":"{state}"}}"#)))
            .await;
    }

    /// Sends the gateway the player's new activity; null removes it.
    pub async fn show(&self, activity: &Value) {
        self.order(Order::Say(json!({"activity": activity}).to_string()))
            .await;
    }

    /// The player leaves.
    pub async fn quit(self) {
        self.order(Order::Quit).await;
        self.closed().await;
    }

    /// The socket breaks, without a word.
    pub async fn break_off(self) {
        self.order(Order::Break).await;
        self.closed().await;
    }

    /// Whether the socket has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.has_changed().is_err()
    }

    /// Waits until either side closes the socket.
    pub fn closed(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut closed = self.closed.clone();
        async move { while closed.changed().await.is_ok() {} }
    }

    async fn order(&self, order: Order) {
        let _ = self.orders.send(order).await; // the socket is closed already
    }
}

/// Reads what the gateway sends, pings above all, and does as ordered, until the socket is closed.
async fn attend(mut socket: Socket, mut orders: mpsc::Receiver<Order>) {
    loop {
        tokio::select! {
            message = socket.next() => if !matches!(message, Some(Ok(_))) { return },
            order = orders.recv() => match order {
                Some(Order::Say(text)) => if socket.send(Message::text(text)).await.is_err() { return },
                Some(Order::Quit) => {
                    let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
                    if socket.close(Some(frame)).await.is_err() { return }
                }
                Some(Order::Break) | None => return,
            },
        }
    }
}
