//! A TCP proxy on a stable address, as a DNS name, a Kubernetes Service or a load balancer is one:
//! its target can be moved, and its connections can be held, silenced and cut.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

/// A proxy to one port of this machine at a time. It ends with the runtime that it was started on.
#[derive(Debug)]
pub struct MovingEndpoint {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    control: watch::Sender<Control>,
    /// Connections accepted so far; each has its position in this order as its number.
    accepted: AtomicU64,
    /// The connection on which this is sent next is cut before the reply.
    cut_after: Mutex<Option<Vec<u8>>>,
}

/// What happens to the bytes of connections.
#[derive(Debug, Clone, Copy)]
struct Control {
    /// The target of new connections.
    target: u16,
    /// Whether bytes wait until they are released.
    holds: bool,
    /// Connections of a lower number lose all bytes.
    silent_below: u64,
    /// Connections of a lower number are closed.
    cut_below: u64,
}

/// One direction of a connection.
struct Pump {
    shared: Arc<Shared>,
    number: u64,
    /// Whether the next reply is replaced by the end of the connection; shared by both directions.
    is_cut_next: Arc<AtomicBool>,
}

impl MovingEndpoint {
    /// Starts the proxy to the port `target` on a free port.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("the port's number").port();
        let control = Control {
            target,
            holds: false,
            silent_below: 0,
            cut_below: 0,
        };
        let shared = Arc::new(Shared {
            control: watch::Sender::new(control),
            accepted: AtomicU64::new(0),
            cut_after: Mutex::default(),
        });
        tokio::spawn(Arc::clone(&shared).accept(listener));
        Self { port, shared }
    }

    /// The proxy's port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `redis://…` of the proxy.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The number of connections accepted so far.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::SeqCst)
    }

    /// Sends new connections to the port `target`. Open connections stay with their old target.
    pub fn move_to(&self, target: u16) {
        self.shared
            .control
            .send_modify(|control| control.target = target);
    }

    /// Discards all further bytes of the connections that are open now, in both directions, and
    /// keeps the connections open. New connections work.
    pub fn silence_open(&self) {
        let accepted = self.accepted();
        self.shared
            .control
            .send_modify(|control| control.silent_below = accepted);
    }

    /// Discards all bytes of open and new connections, in both directions: connecting succeeds, and
    /// there is no reply.
    pub fn silence_all(&self) {
        self.shared
            .control
            .send_modify(|control| control.silent_below = u64::MAX);
    }

    /// Lets new connections work again after [`silence_all`](Self::silence_all); those opened
    /// before stay silent.
    pub fn end_silence(&self) {
        self.silence_open();
    }

    /// Keeps back all bytes, of open and new connections, until [`release`](Self::release).
    pub fn hold(&self) {
        self.shared
            .control
            .send_modify(|control| control.holds = true);
    }

    /// Delivers the bytes that were kept back, and those that follow.
    pub fn release(&self) {
        self.shared
            .control
            .send_modify(|control| control.holds = false);
    }

    /// Closes all open connections. New connections work.
    pub fn cut(&self) {
        let accepted = self.accepted();
        self.shared
            .control
            .send_modify(|control| control.cut_below = accepted);
    }

    /// Delivers the next request that contains `text`, waits for the reply, and closes the
    /// connection instead of passing the reply on.
    pub fn cut_before_reply_to(&self, text: &str) {
        *self
            .shared
            .cut_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(text.as_bytes().to_vec());
    }

    /// Whether the request of [`cut_before_reply_to`](Self::cut_before_reply_to) has not been
    /// seen yet.
    pub fn is_cut_due(&self) -> bool {
        self.shared
            .cut_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some()
    }
}

impl Shared {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        while let Ok((client, _)) = listener.accept().await {
            let number = self.accepted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(Arc::clone(&self).carry(client, number));
        }
    }

    /// Carries bytes until either side closes; then the other side is closed as well.
    async fn carry(self: Arc<Self>, client: TcpStream, number: u64) {
        let target = self.control.borrow().target;
        let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else {
            return;
        };
        let _ = client.set_nodelay(true);
        let _ = server.set_nodelay(true);
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let is_cut_next = Arc::new(AtomicBool::new(false));
        let pump = || Pump {
            shared: Arc::clone(&self),
            number,
            is_cut_next: Arc::clone(&is_cut_next),
        };
        tokio::select! {
            () = pump().requests(from_client, to_server) => {}
            () = pump().replies(from_server, to_client) => {}
            () = pump().until_cut() => {}
        }
    }

    /// Whether this is the request after which a connection is cut; at most one is.
    fn takes_cut(&self, request: &[u8]) -> bool {
        let mut cut_after = self
            .cut_after
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let contains = |text: &Vec<u8>| request.windows(text.len()).any(|part| part == text);
        cut_after.take_if(|text| contains(text)).is_some()
    }
}

impl Pump {
    async fn requests(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1_024];
        while let Some(length) = self.read(&mut from, &mut buffer).await {
            if self.shared.takes_cut(&buffer[..length]) {
                self.is_cut_next.store(true, Ordering::SeqCst);
            }
            if to.write_all(&buffer[..length]).await.is_err() {
                return;
            }
        }
    }

    async fn replies(self, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
        let mut buffer = vec![0; 64 * 1_024];
        while let Some(length) = self.read(&mut from, &mut buffer).await {
            if self.is_cut_next.load(Ordering::SeqCst)
                || to.write_all(&buffer[..length]).await.is_err()
            {
                return;
            }
        }
    }

    /// Bytes that are to be passed on; `None` at the end of the connection.
    async fn read(&self, from: &mut OwnedReadHalf, buffer: &mut [u8]) -> Option<usize> {
        let mut control = self.shared.control.subscribe();
        loop {
            let length = from.read(buffer).await.unwrap_or(0);
            let released =
                control.wait_for(|control| !control.holds || self.number < control.silent_below);
            let is_silent = self.number < released.await.ok()?.silent_below;
            match length {
                // The other side of a black hole does not notice that this one has closed.
                0 if is_silent => std::future::pending().await,
                0 => return None,
                _ if is_silent => {}
                length => return Some(length),
            }
        }
    }

    async fn until_cut(self) {
        let mut control = self.shared.control.subscribe();
        let _ = control
            .wait_for(|control| self.number < control.cut_below)
            .await;
    }
}
