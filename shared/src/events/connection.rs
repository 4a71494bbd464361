//! The connection to NATS: opened at first use, restored in the background, replaced when its
//! server does not acknowledge.

use std::{
    sync::{
        Arc, Mutex as StdMutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{
    AuthError, Client, ConnectError, ConnectOptions, Event, ReconnectToServer, ServerAddr,
    connection::State,
    jetstream::{Context, context::ContextBuilder},
};
use tokio::sync::{Mutex, Notify};

use super::breaker::Breaker;
use crate::config::{EventsConfig, NatsCredentials};

/// Time limit of one attempt to connect, handshake included. The next server is tried after that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of pings to a silent server. The client drops the connection at the third
/// unanswered ping, so a server that hangs is noticed after 3 s.
const PING_INTERVAL: Duration = Duration::from_secs(1);

/// The longest pause between two attempts to connect.
const MAX_RECONNECT_DELAY: Duration = Duration::from_secs(1);

/// Time limit of a request to JetStream's API.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(2);

/// The connection to one of the configured servers.
pub(super) struct Connection {
    urls: Vec<ServerAddr>,
    /// Counts attempts to connect: each one takes the next server.
    attempts: Arc<AtomicUsize>,
    credentials: Option<NatsCredentials>,
    session: Mutex<Option<Arc<Session>>>,
    breaker: Breaker,
    log: Arc<ConnectionLog>,
    /// Notified of each new connection.
    connected: Arc<Notify>,
}

/// One NATS client, which reconnects by itself.
pub(super) struct Session {
    pub(super) jetstream: Context,
    /// Whether the stream was found or created through this client, and no publish has failed
    /// since.
    has_stream: AtomicBool,
    /// Whether an event was acknowledged through this client.
    has_worked: AtomicBool,
}

impl Connection {
    /// Prepares a connection. Each time NATS is connected, `breaker` lets the next attempt through.
    pub(super) fn new(config: &EventsConfig, breaker: Breaker) -> Self {
        Self {
            urls: config.urls.clone(),
            // Processes begin with different servers, so that the servers share the load.
            attempts: Arc::new(AtomicUsize::new(rand::random_range(
                0..=usize::from(u16::MAX),
            ))),
            credentials: config.credentials.clone(),
            session: Mutex::default(),
            breaker,
            log: Arc::default(),
            connected: Arc::default(),
        }
    }

    /// Waits until NATS is connected. Nothing is handed to the client before that: it would buffer
    /// the messages, and send them when they are no longer of use.
    pub(super) async fn connected(&self) -> Result<Arc<Session>, ConnectError> {
        loop {
            // Registered before the check, so that a connection in between is not missed.
            let mut connected = std::pin::pin!(self.connected.notified());
            connected.as_mut().enable();
            let session = self.session().await?;
            if session.is_connected() {
                return Ok(session);
            }
            connected.await;
        }
    }

    /// Whether a server is connected at the moment.
    pub(super) async fn is_connected(&self) -> bool {
        self.session
            .lock()
            .await
            .as_ref()
            .is_some_and(|session| session.is_connected())
    }

    /// Drops a session after its server accepted messages and acknowledged none. The next session
    /// begins with the next server.
    ///
    /// A disconnected session is kept: it is already looking for a server.
    pub(super) async fn replace(&self, session: &Arc<Session>) {
        let mut current = self.session.lock().await;
        // Another caller may have replaced it already.
        if !session.is_connected()
            || current
                .as_ref()
                .is_none_or(|current| !Arc::ptr_eq(current, session))
        {
            return;
        }
        *current = None;
        // A function that was frozen resumes with a dead connection: its next call connects again
        // without a pause. A server that never acknowledged gets no immediate retry.
        if session.has_worked.load(Ordering::Relaxed) {
            self.breaker.retry_now();
        }
    }

    async fn session(&self) -> Result<Arc<Session>, ConnectError> {
        let mut session = self.session.lock().await;
        if let Some(session) = &*session {
            return Ok(Arc::clone(session));
        }
        let client = self.options().connect(&self.urls).await?;
        let jetstream = ContextBuilder::new().timeout(REQUEST_TIMEOUT).build(client);
        let new = Arc::new(Session {
            jetstream,
            has_stream: AtomicBool::default(),
            has_worked: AtomicBool::default(),
        });
        *session = Some(Arc::clone(&new));
        Ok(new)
    }

    fn options(&self) -> ConnectOptions {
        let breaker = self.breaker.clone();
        let attempts = Arc::clone(&self.attempts);
        let connected = Arc::clone(&self.connected);
        let log = Arc::clone(&self.log);
        let options = ConnectOptions::new()
            .name("presence")
            .retry_on_initial_connect()
            .connection_timeout(CONNECT_TIMEOUT)
            .ping_interval(PING_INTERVAL)
            .reconnect_delay_callback(reconnect_delay)
            // The client's own choice is random, and it gives up at a server that refuses the
            // credentials.
            .reconnect_to_server_callback(move |servers, _| {
                let position = attempts.fetch_add(1, Ordering::Relaxed) % servers.len().max(1);
                let next = servers.get(position).map(|server| server.addr.clone());
                async { next.map(|addr| ReconnectToServer { addr, delay: None }) }
            })
            .event_callback(move |event| {
                log.record(&event);
                if matches!(event, Event::Connected) {
                    breaker.retry_now();
                    connected.notify_waiters();
                }
                async {}
            });
        match self.credentials.clone() {
            Some(NatsCredentials::Jwt { jwt, key }) => {
                options.jwt(jwt.expose().to_owned(), move |challenge| {
                    let signature = key.sign(&challenge).map_err(AuthError::new);
                    async { signature }
                })
            }
            Some(NatsCredentials::Password { user, password }) => {
                options.user_and_password(user, password.expose().to_owned())
            }
            Some(NatsCredentials::Token(token)) => options.token(token.expose().to_owned()),
            None => options,
        }
    }
}

impl Session {
    pub(super) fn client(&self) -> Client {
        self.jetstream.client()
    }

    pub(super) fn is_connected(&self) -> bool {
        self.client().connection_state() == State::Connected
    }

    pub(super) fn has_stream(&self) -> bool {
        self.has_stream.load(Ordering::Relaxed)
    }

    pub(super) fn set_has_worked(&self) {
        self.has_worked.store(true, Ordering::Relaxed);
    }

    pub(super) fn set_has_stream(&self, has_stream: bool) {
        self.has_stream.store(has_stream, Ordering::Relaxed);
    }
}

/// Log of the connection: one line per loss, cause and recovery, not one per attempt.
#[derive(Default)]
struct ConnectionLog(StdMutex<LogState>);

#[derive(Default)]
struct LogState {
    is_up: bool,
    /// The cause of a loss that was logged last.
    loss: Option<String>,
    /// The server's error that was logged last.
    complaint: Option<String>,
}

impl ConnectionLog {
    fn record(&self, event: &Event) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Connected => {
                if !std::mem::replace(&mut state.is_up, true) {
                    state.loss = None;
                    tracing::info!("connected to NATS");
                }
            }
            Event::Disconnected | Event::ClientError(_) => {
                state.is_up = false;
                if let Some(reason) = new_reason(&mut state.loss, event) {
                    tracing::warn!(reason, "NATS is not connected");
                }
            }
            Event::ServerError(_) | Event::LameDuckMode => {
                if let Some(reason) = new_reason(&mut state.complaint, event) {
                    tracing::warn!(reason, "NATS reports a problem");
                }
            }
            Event::Closed | Event::Draining | Event::SlowConsumer(_) => {}
        }
    }
}

/// The event's text, unless it was logged last.
fn new_reason<'a>(logged: &'a mut Option<String>, event: &Event) -> Option<&'a str> {
    let reason = event.to_string();
    if logged.as_ref() == Some(&reason) {
        return None;
    }
    Some(logged.insert(reason))
}

/// The delay before an attempt to reconnect: it doubles from a few milliseconds on. The jitter
/// keeps a fleet from calling a recovered server all at once.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts <= 1 {
        return Duration::ZERO;
    }
    let delay = Duration::from_millis(1 << attempts.min(10)).min(MAX_RECONNECT_DELAY);
    delay.mul_f64(rand::random_range(0.5..1.0))
}
