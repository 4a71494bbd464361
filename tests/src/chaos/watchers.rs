//! Callers that watch all players, each over a stream of its own.

use std::{
    collections::{HashMap, HashSet},
    ops::ControlFlow,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Message, protocol::frame::coding::CloseCode},
};

use super::{
    Task,
    environment::Environment,
    history::{
        Delivery, Fault, FaultKind, Part, Read, Recorder, Snapshot, State, WatchStream, now,
        player_id, player_number,
    },
    observer::Observer,
    plan::{PlannedFault, SERVERS, WATCHERS},
};

/// The number of players in a request.
const BATCH: u32 = 250;

/// Time limit for the handshake of a stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before a stream is opened again, and before a request that failed is repeated.
const RETRY_DELAY: Duration = Duration::from_millis(100);

/// What a watcher was sent of each player last: its state and version.
type Held = HashMap<u32, (State, Option<u64>)>;

/// All watchers of a run.
pub(super) struct Watchers {
    watchers: Vec<(Watcher, Task)>,
    recorder: Recorder,
}

#[derive(Clone)]
struct Watcher {
    number: usize,
    players: u32,
    environment: Arc<Environment>,
    recorder: Recorder,
    orders: Arc<watch::Sender<Order>>,
    held: Arc<Mutex<Held>>,
}

/// An order to a watcher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    Read,
    /// Stop reading.
    Freeze,
    /// Drop the socket, and open no other.
    Die,
}

/// A stream that is open.
struct Session<'a> {
    watcher: &'a Watcher,
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Its index in the history.
    index: usize,
    /// The first player of the request in flight.
    first: u32,
    sent: u64,
}

impl Watchers {
    /// Starts the watchers. They end when this is dropped.
    pub(super) fn start(environment: &Arc<Environment>, recorder: &Recorder, players: u32) -> Self {
        let start = |number| {
            let watcher = Watcher {
                number,
                players,
                environment: Arc::clone(environment),
                recorder: recorder.clone(),
                orders: Arc::new(watch::Sender::new(Order::Read)),
                held: Arc::default(),
            };
            let task = tokio::spawn(watcher.clone().run()).abort_handle();
            (watcher, Task(task))
        };
        Self {
            watchers: (0..WATCHERS).map(start).collect(),
            recorder: recorder.clone(),
        }
    }

    /// Injects a fault into a watcher, and records it.
    pub(super) async fn inject(&self, fault: PlannedFault) {
        let Part::Watcher(number) = fault.part else {
            return;
        };
        let Some((watcher, _)) = self.watchers.get(number) else {
            return;
        };
        let from = now();
        let order = if fault.kind == FaultKind::Freeze {
            Order::Freeze
        } else {
            Order::Die
        };
        if order == Order::Die && fault.which.is_multiple_of(2) {
            watcher.held().clear(); // it returns as a new caller, which holds nothing
        }
        watcher.orders.send_replace(order);
        sleep(Duration::from_millis(fault.lasts)).await;
        watcher.orders.send_replace(Order::Read);
        self.recorder
            .lock()
            .faults
            .push(Fault::over(fault.part, fault.kind, from));
    }

    /// Waits until all watchers hold what a server responds. If they do not within `timeout`, that
    /// is recorded as an anomaly.
    pub(super) async fn until_agreed(&self, observer: &Observer, timeout: Duration) -> bool {
        let begin = Instant::now();
        loop {
            let Some(wrong) = self.compare(&observer.look(0).await.unwrap_or_default()) else {
                return true;
            };
            if begin.elapsed() > timeout {
                self.recorder
                    .record_anomaly(format!("{wrong}, {timeout:?} after the last fault"));
                return false;
            }
            sleep(RETRY_DELAY).await;
        }
    }

    /// A difference between the responses and what one of the watchers holds.
    fn compare(&self, reads: &[Read]) -> Option<String> {
        if reads.is_empty() {
            return Some("the server did not respond".to_owned());
        }
        self.watchers.iter().find_map(|(watcher, _)| {
            let held = watcher.held();
            let wrong = reads.iter().find(|read| {
                let held = held.get(&read.player);
                held.is_none_or(|(state, version)| {
                    *state != read.state || (version.is_some() && *version != read.version)
                })
            })?;
            Some(format!(
                "watcher {} holds {:?} of {wrong:?}",
                watcher.number,
                held.get(&wrong.player)
            ))
        })
    }
}

impl Watcher {
    /// Opens one stream after another.
    async fn run(self) {
        let mut orders = self.orders.subscribe();
        for turn in 0.. {
            let _ = orders.wait_for(|order| *order == Order::Read).await;
            // Two of them stay with their server, the others change.
            let server = (self.number + if self.number < SERVERS { 0 } else { turn }) % SERVERS;
            if let Ok(Ok(mut session)) = timeout(OPEN_TIMEOUT, self.open(server)).await {
                tokio::select! {
                    () = session.run() => {}
                    _ = orders.wait_for(|order| *order == Order::Die) => {}
                }
                self.recorder.lock().streams[session.index].ended = Some(now());
            }
            sleep(RETRY_DELAY).await;
        }
    }

    async fn open(
        &self,
        server: usize,
    ) -> Result<Session<'_>, Box<tokio_tungstenite::tungstenite::Error>> {
        let (socket, _) =
            connect_async(format!("ws://{}/watch", self.environment.address(server))).await?;
        let mut history = self.recorder.lock();
        let knows_nothing = self.held().is_empty();
        history.streams.push(WatchStream {
            watcher: self.number,
            server,
            opened: now(),
            knows_nothing,
            snapshots: Vec::new(),
            ended: None,
        });
        Ok(Session {
            watcher: self,
            socket,
            index: history.streams.len() - 1,
            first: 0,
            sent: 0,
        })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record_anomaly(&self, text: &str) {
        self.recorder
            .record_anomaly(format!("watcher {}: {text}", self.number));
    }
}

impl Session<'_> {
    /// Watches all players, batch by batch, until the stream ends.
    async fn run(&mut self) {
        let mut orders = self.watcher.orders.subscribe();
        let mut flow = self.request().await;
        while flow.is_continue() {
            let _ = orders.wait_for(|order| *order != Order::Freeze).await;
            flow = match self.socket.next().await {
                Some(Ok(Message::Text(text))) => self.take(&text).await,
                Some(Ok(Message::Close(frame))) => {
                    // Only a server that ends closes a stream.
                    if let Some(frame) = frame.filter(|frame| frame.code != CloseCode::Away) {
                        self.watcher
                            .record_anomaly(&format!("the stream was closed: {frame:?}"));
                    }
                    ControlFlow::Break(())
                }
                Some(Ok(_)) => ControlFlow::Continue(()),
                Some(Err(_)) | None => ControlFlow::Break(()),
            };
        }
    }

    fn batch(&self) -> std::ops::Range<u32> {
        self.first..(self.first + BATCH).min(self.watcher.players)
    }

    async fn request(&mut self) -> ControlFlow<()> {
        let players: Vec<_> = self.batch().map(player_id).collect();
        let known: HashMap<_, _> = {
            let held = self.watcher.held();
            let known = self
                .batch()
                .filter_map(|player| Some((player_id(player), held.get(&player)?.1.unwrap_or(0))));
            known.collect()
        };
        self.sent = now();
        let request = json!({"watch": players, "known": known, "id": self.first});
        match self.socket.send(Message::text(request.to_string())).await {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }

    async fn take(&mut self, text: &str) -> ControlFlow<()> {
        let message: Value = serde_json::from_str(text).unwrap_or_default();
        if let Some(presences) = message["presences"].as_array() {
            self.take_presences(presences);
        } else if message["watching"].is_u64() {
            let players = self.batch();
            let snapshot = Snapshot {
                first: players.start,
                end: players.end,
                sent: self.sent,
                completed: now(),
            };
            self.watcher.recorder.lock().streams[self.index]
                .snapshots
                .push(snapshot);
            self.first = players.end;
            if self.first < self.watcher.players {
                return self.request().await;
            }
        } else if message["error"]["status"] == 503 {
            sleep(RETRY_DELAY).await;
            return self.request().await;
        } else if !message["feed"].is_string() {
            self.watcher
                .record_anomaly(&format!("it was sent {message}"));
        }
        ControlFlow::Continue(())
    }

    fn take_presences(&self, presences: &[Value]) {
        let mut history = self.watcher.recorder.lock();
        let mut held = self.watcher.held();
        let at = now();
        let mut named = HashSet::new();
        for presence in presences {
            let player = presence["player_id"].as_str().and_then(player_number);
            let state = serde_json::from_value(presence["state"].clone());
            let (Some(player), Ok(state)) = (player, state) else {
                history
                    .anomalies
                    .push(format!("a watcher was sent {presence}"));
                continue;
            };
            if !named.insert(player) {
                history.anomalies.push(format!(
                    "a watcher was sent {} twice in a message",
                    player_id(player)
                ));
            }
            let version = presence["version"].as_u64();
            held.insert(player, (state, version));
            history.deliveries.push(Delivery {
                stream: self.index,
                player,
                at,
                state,
                version,
            });
        }
    }
}
