//! A stand-in for a Sentinel, with replies chosen by the test.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// A stand-in for a Sentinel, with replies chosen by the test. It ends with the runtime that it was
/// started on.
#[derive(Debug)]
pub struct SentinelStub {
    port: u16,
    reply: Arc<watch::Sender<SentinelReply>>,
}

/// A Sentinel's reply to the question for a primary.
#[derive(Debug, Clone)]
pub enum SentinelReply {
    /// The primary's host and port.
    Primary(String, u16),
    /// That it does not know the name.
    Unknown,
    /// Nothing.
    Silence,
    /// Nothing: it closes the connection.
    Close,
}

impl SentinelStub {
    /// Starts a Sentinel on a free port.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(reply: SentinelReply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("the port's number").port();
        let reply = Arc::new(watch::Sender::new(reply));
        let replies = Arc::clone(&reply);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, replies.subscribe()));
            }
        });
        Self { port, reply }
    }

    /// `redis://…` of this Sentinel.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Changes the reply from now on.
    pub fn set(&self, reply: SentinelReply) {
        self.reply.send_replace(reply);
    }
}

async fn serve(mut client: TcpStream, reply: watch::Receiver<SentinelReply>) {
    let mut received = Vec::new();
    while client
        .read_buf(&mut received)
        .await
        .is_ok_and(|length| length > 0)
    {
        let is_question = |part: &[u8]| part.eq_ignore_ascii_case(b"get-master-addr-by-name");
        if !received
            .split(|byte| byte.is_ascii_whitespace())
            .any(is_question)
        {
            continue;
        }
        received.clear();
        let reply = reply.borrow().clone();
        let text = match reply {
            SentinelReply::Primary(host, port) => {
                let port = port.to_string();
                format!(
                    "*2\r\n${}\r\n{host}\r\n${}\r\n{port}\r\n",
                    host.len(),
                    port.len()
                )
            }
            SentinelReply::Unknown => "*-1\r\n".to_owned(),
            SentinelReply::Silence => std::future::pending().await,
            SentinelReply::Close => return,
        };
        if client.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}
