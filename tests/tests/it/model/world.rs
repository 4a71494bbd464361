//! The real thing and the [reference](super::reference), side by side.

use std::time::{Duration, Instant};

use presence::{
    BatchOutcome, PresenceError, PresenceService,
    model::{Connection, Presence},
    trace::TraceContext,
};
use presence_tests::{RedisServer, connection, player, service};
use proptest::{prelude::*, test_runner::TestCaseResult};
use redis::aio::MultiplexedConnection;

use super::{
    PLAYERS,
    history::{Call, SLACK, Socket, Step},
    keys,
    reads::Reads,
    reference::{Reference, Renewal, Rules, SOCKETS},
};

pub(super) struct World<'a> {
    redis: &'a RedisServer,
    raw: MultiplexedConnection,
    /// Replicas: any of them may serve any call.
    services: [PresenceService; 2],
    trace: TraceContext,
    pub(super) reference: Reference,
    reads: Reads,
    began: Instant,
    calls: usize,
}

/// What became of the entries of a batch.
#[derive(Debug, Default, PartialEq)]
struct Batch {
    accepted: usize,
    restored: Vec<Connection>,
    closed: Vec<Connection>,
}

impl<'a> World<'a> {
    pub(super) async fn new(redis: &'a RedisServer, rules: Rules) -> Self {
        let mut raw = redis.connection().await;
        send(&mut raw, &["FLUSHALL"]).await;
        let limit = rules.max_connections.to_string();
        let [ttl, grace, retention] = [rules.ttl, rules.grace, rules.retention].map(|ms| format!("{ms}ms"));
        let variables = [
            ("PRESENCE_TTL", ttl.as_str()),
            ("PRESENCE_OFFLINE_GRACE", grace.as_str()),
            ("PRESENCE_LAST_SEEN_RETENTION", retention.as_str()),
            ("PRESENCE_MAX_CONNECTIONS", limit.as_str()),
        ];
        Self {
            redis,
            raw,
            services: [(); 2].map(|()| service(redis, &variables)),
            trace: TraceContext::new_root(),
            reference: Reference::new(rules, PLAYERS.len()),
            reads: Reads::default(),
            began: Instant::now(),
            calls: 0,
        }
    }

    /// Takes one step, and compares everything that a caller can see.
    pub(super) async fn take(&mut self, step: &Step) -> TestCaseResult {
        self.redis.pass(Duration::from_millis(step.after)).await;
        self.reference.pass(step.after);
        self.let_the_clock_overtake(step).await;
        let began_at = clock(&mut self.raw).await;
        let answer = self.call(&step.call).await?;
        let elapsed = self.began.elapsed();
        prop_assert!(elapsed < Duration::from_millis(SLACK), "too slow to tell one lap from the next: {elapsed:?}");
        self.reads.compare(&self.services[0], &self.reference, began_at, answer).await?;
        keys::check_lifetimes(&mut self.raw, &self.reference).await
    }

    /// Makes a call, compares what became of it, and returns the presence that it was answered with, if it was.
    async fn call(&mut self, call: &Call) -> Result<Option<Presence>, TestCaseError> {
        self.calls += 1;
        let service = self.services[self.calls % self.services.len()].clone();
        let trace = self.trace.clone();
        match call {
            Call::Connect(socket) => {
                let answer = service.connect(&self.id(*socket), &trace).await;
                self.compare_renewal(*socket, answer)
            }
            Call::Heartbeat(socket) => {
                let answer = service.heartbeat(&self.id(*socket), &trace).await;
                self.compare_renewal(*socket, answer)
            }
            Call::Disconnect(socket, reason) => {
                let answer = service.disconnect(&self.id(*socket), *reason, &trace).await;
                self.reference.disconnect(*socket, *reason);
                answer.map(Some).map_err(unexpected)
            }
            Call::SetState(at, state) => {
                let answer = service.set_state(&player(PLAYERS[*at]), *state, &trace).await;
                match (answer, self.reference.set_state(*at, *state)) {
                    (Ok(presence), Ok(())) => Ok(Some(presence)),
                    (Err(PresenceError::TransitionRejected(rejected)), Err(_)) if rejected == *state => Ok(None),
                    (answer, expected) => Err(TestCaseError::fail(format!("{answer:?}, not {expected:?}"))),
                }
            }
            Call::ConnectBatch(sockets) => {
                let sockets = self.entries(sockets);
                let answer = service.connect_batch(self.ids(&sockets), &trace).await;
                Batch { restored: Vec::new(), ..self.renew_all(&sockets) }.compare(answer)
            }
            Call::HeartbeatBatch(sockets) => {
                let sockets = self.entries(sockets);
                let answer = service.heartbeat_batch(self.ids(&sockets), &trace).await;
                self.renew_all(&sockets).compare(answer)
            }
            Call::DisconnectBatch(sockets, reason) => {
                let sockets = self.entries(sockets);
                let answer = service.disconnect_batch(self.ids(&sockets), *reason, &trace).await;
                let accepted = distinct(&sockets).map(|socket| self.reference.disconnect(socket, *reason)).count();
                Batch { accepted, ..Batch::default() }.compare(answer)
            }
            Call::Flush => {
                send(&mut self.raw, &["FLUSHALL"]).await;
                self.reference.flush();
                Ok(None)
            }
            Call::ScriptFlush => {
                send(&mut self.raw, &["SCRIPT", "FLUSH"]).await;
                Ok(None)
            }
        }
    }

    fn compare_renewal(
        &mut self,
        socket: Socket,
        answer: Result<Presence, PresenceError>,
    ) -> Result<Option<Presence>, TestCaseError> {
        match (answer, self.reference.renew(socket)) {
            (Ok(presence), Renewal::Renewed | Renewal::Opened) => Ok(Some(presence)),
            (Err(PresenceError::ConnectionClosed), Renewal::Refused) => Ok(None),
            (answer, expected) => Err(TestCaseError::fail(format!("{answer:?}, not {expected:?}"))),
        }
    }

    fn renew_all(&mut self, sockets: &[Socket]) -> Batch {
        let mut batch = Batch::default();
        for socket in distinct(sockets) {
            let id = self.id(socket);
            let renewal = self.reference.renew(socket);
            batch.accepted += usize::from(renewal != Renewal::Refused);
            match renewal {
                Renewal::Renewed => {}
                Renewal::Opened => batch.restored.push(id),
                Renewal::Refused => batch.closed.push(id),
            }
        }
        batch
    }

    /// A batch's entries. Where one call could evict another's lease, each player has one entry: which of two leases of
    /// the same moment runs out first is not defined.
    fn entries(&self, sockets: &[Socket]) -> Vec<Socket> {
        let mut entries: Vec<Socket> = Vec::new();
        for socket in sockets {
            let is_safe = self.reference.rules.max_connections >= SOCKETS;
            if is_safe || entries.iter().all(|entry| entry.0 != socket.0 || entry == socket) {
                entries.push(*socket);
            }
        }
        entries
    }

    fn id(&self, (at, socket): Socket) -> Connection {
        connection(PLAYERS[at], &self.reference.players[at].connection_id(socket))
    }

    fn ids(&self, sockets: &[Socket]) -> Vec<Connection> {
        sockets.iter().map(|socket| self.id(*socket)).collect()
    }

    /// Versions rise also where Redis forgot the last one, given at most one transition a millisecond. Steps are
    /// quicker than that, so the clock needs a moment where something was, or is to be, forgotten.
    async fn let_the_clock_overtake(&mut self, step: &Step) {
        let forgets = matches!(step.call, Call::Flush) || self.reference.has_forgotten();
        while (forgets || self.reads.missed_a_version()) && clock(&mut self.raw).await <= self.reads.newest_version() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Batch {
    fn compare(self, answer: Result<BatchOutcome, PresenceError>) -> Result<Option<Presence>, TestCaseError> {
        let BatchOutcome { accepted, restored, closed, failed } = answer.map_err(unexpected)?;
        prop_assert_eq!(Self { accepted, restored, closed }, self);
        prop_assert_eq!(failed, []);
        Ok(None)
    }
}

pub(super) fn unexpected(error: PresenceError) -> TestCaseError {
    TestCaseError::fail(format!("{error:?}"))
}

/// The entries without those named before.
fn distinct(sockets: &[Socket]) -> impl Iterator<Item = Socket> {
    let is_first = |at: usize| !sockets[..at].contains(&sockets[at]);
    (0..sockets.len()).filter(move |at| is_first(*at)).map(|at| sockets[at])
}

/// Redis's clock, in Unix milliseconds.
pub(super) async fn clock(raw: &mut MultiplexedConnection) -> u64 {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query_async(raw).await.unwrap();
    seconds * 1_000 + micros / 1_000
}

async fn send(raw: &mut MultiplexedConnection, command: &[&str]) {
    redis::cmd(command[0]).arg(&command[1..]).exec_async(raw).await.unwrap();
}
