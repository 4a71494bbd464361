//! A player's device.

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{
        Message,
        protocol::{CloseFrame, frame::coding::CloseCode},
    },
};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// A device with an open socket, which a task of its own attends to.
pub(crate) struct Device {
    orders: mpsc::Sender<Order>,
    closed: oneshot::Receiver<()>,
}

enum Order {
    Say(String),
    Quit,
    Break,
}

impl Device {
    /// Connects to a gateway.
    pub(crate) async fn open(url: &str) -> Result<Self, tokio_tungstenite::tungstenite::Error> {
        let (socket, _) = connect_async(url).await?;
        let (orders, received) = mpsc::channel(4);
        let (closing, closed) = oneshot::channel();
        tokio::spawn(async move {
            attend(socket, received).await;
            let _ = closing.send(()); // not everybody waits for it
        });
        Ok(Self { orders, closed })
    }

    /// Tells the gateway what the player does now.
    pub(crate) async fn say(&self, state: &str) {
        self.order(Order::Say(format!(r#"{{"state":"{state}"}}"#))).await;
    }

    /// The player leaves.
    pub(crate) async fn quit(self) {
        self.order(Order::Quit).await;
        self.until_closed().await;
    }

    /// The socket breaks, without a word.
    pub(crate) async fn break_off(self) {
        self.order(Order::Break).await;
        self.until_closed().await;
    }

    /// Waits for the end of the socket.
    pub(crate) async fn until_closed(self) {
        let _ = self.closed.await; // either way it is closed
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
