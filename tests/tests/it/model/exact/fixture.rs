//! The real thing and the [reference](super::reference), side by side.

use std::{cell::RefCell, collections::HashMap};

use presence::{
    BatchOutcome, GatewaySweeper, PresenceError, PresenceService, Sweeper,
    events::RelaySignal,
    model::{
        Connection, EventReason, GatewayId, OwnedConnection, OwnedConnections, Presence, State,
        StateChange,
    },
    operator::OperatorQueries,
    runtime::App,
    telemetry::TraceContext,
};
use presence_tests::{RedisServer, VirtualClock, app, connection, player};
use proptest::{prelude::*, test_runner::TestCaseResult};
use redis::aio::MultiplexedConnection;

use super::{
    PLAYERS,
    activities::Change,
    events,
    gateways::{GATEWAY_TTL, GATEWAYS},
    history::{Call, Moment, Owner, Socket, Step},
    keys,
    player::SOCKETS,
    reads,
    reference::{Reference, Renewal, Rules},
    unexpected,
};

/// What all histories share.
pub(super) struct Environment {
    pub(super) redis: RedisServer,
    clock: RefCell<VirtualClock>,
    /// Two replicas for each configuration: any of them may serve any call.
    apps: RefCell<HashMap<Rules, [App; 2]>>,
}

pub(super) struct Fixture<'a> {
    clock: &'a RefCell<VirtualClock>,
    raw: MultiplexedConnection,
    services: [PresenceService; 2],
    sweeper: Sweeper,
    gateway_sweeper: GatewaySweeper,
    operator_queries: OperatorQueries,
    trace: TraceContext,
    pub(super) reference: Reference,
    calls: usize,
}

/// What became of the entries of a batch.
#[derive(Debug, Default, PartialEq)]
struct Batch {
    accepted: usize,
    restored: Vec<Connection>,
    closed: Vec<Connection>,
}

impl Environment {
    pub(super) fn new(redis: RedisServer, clock: VirtualClock) -> Self {
        Self {
            redis,
            clock: RefCell::new(clock),
            apps: RefCell::default(),
        }
    }

    fn apps(&self, rules: Rules) -> [App; 2] {
        let limit = rules.max_connections.to_string();
        let durations = [
            rules.ttl,
            rules.grace,
            rules.move_grace,
            rules.retention,
            GATEWAY_TTL,
        ];
        let [ttl, grace, move_grace, retention, gateway_ttl] =
            durations.map(|ms| format!("{ms}ms"));
        let variables = [
            ("PRESENCE_TTL", ttl.as_str()),
            ("PRESENCE_OFFLINE_GRACE", grace.as_str()),
            ("PRESENCE_MOVE_GRACE", move_grace.as_str()),
            ("PRESENCE_GATEWAY_TTL", gateway_ttl.as_str()),
            ("PRESENCE_LAST_SEEN_RETENTION", retention.as_str()),
            ("PRESENCE_MAX_CONNECTIONS", limit.as_str()),
            ("PRESENCE_NATS_URL", "nats://127.0.0.1:1"), // nothing listens there: events stay in the outbox
        ];
        let new = || [(); 2].map(|()| app(&self.redis, &variables));
        self.apps
            .borrow_mut()
            .entry(rules)
            .or_insert_with(new)
            .clone()
    }
}

impl<'a> Fixture<'a> {
    pub(super) async fn new(environment: &'a Environment, rules: Rules) -> Self {
        let mut raw = environment.redis.connection().await;
        send(&mut raw, &["FLUSHALL"]).await;
        let apps = environment.apps(rules);
        let now = environment.clock.borrow().now();
        Self {
            clock: &environment.clock,
            raw,
            services: apps
                .each_ref()
                .map(|app| app.presence_with_relay(RelaySignal::default())),
            sweeper: apps[0].sweeper(RelaySignal::default()),
            gateway_sweeper: apps[1].gateway_sweeper(RelaySignal::default()),
            operator_queries: apps[1].operator_queries(),
            trace: TraceContext::new_root(),
            reference: Reference::new(rules, now, PLAYERS.len()),
            calls: 0,
        }
    }

    /// Takes one step, and compares what a caller or an operator can see.
    pub(super) async fn take(&mut self, step: &Step) -> TestCaseResult {
        self.set_clock(&step.moment);
        if let Some(shown) = self.call(&step.call).await? {
            reads::compare_response(&self.reference, &shown)?;
        }
        reads::compare_with_history(&self.services[0], &self.reference).await?;
        // The others take turns, and so do the players.
        let at = self.calls % PLAYERS.len();
        match self.calls % 4 {
            0 => reads::compare_together(&self.services[1], &self.reference).await?,
            1 => reads::compare_alone(&self.services[1], &self.reference, at).await?,
            2 => reads::compare_explanation(&self.operator_queries, &self.reference, at).await?,
            _ => reads::compare_gateways(&self.operator_queries, &self.reference).await?,
        }
        keys::check_owners(&mut self.raw, &self.reference).await?;
        keys::check_lifetimes(&mut self.raw, &self.reference).await
    }

    /// Compares what consumers can see, and all that Redis holds.
    pub(super) async fn end(&mut self, environment: &Environment) -> TestCaseResult {
        events::compare(&mut self.raw, &self.reference).await?;
        keys::check(&environment.redis, &mut self.raw, &self.reference).await
    }

    fn set_clock(&mut self, moment: &Moment) {
        let now = self.reference.now;
        let boundaries = self.reference.boundaries();
        let mut then = match moment {
            Moment::After(ms) => now + ms,
            Moment::Before(ms) => now - ms,
            Moment::Boundary { position, offset } => {
                match boundaries.get(position % boundaries.len().max(1)) {
                    Some(boundary) => boundary.saturating_add_signed(*offset).max(now),
                    None => now,
                }
            }
        };
        // Versions rise across a loss of data only if the clock has overtaken them.
        if self.reference.has_forgotten() {
            then = then.max(self.reference.newest_version + 1);
        }
        self.clock.borrow_mut().set(then);
        self.reference.set_clock(then);
    }

    /// Makes a call, compares its result, and returns the presence of the response, if it has one.
    async fn call(&mut self, call: &Call) -> Result<Option<Presence>, TestCaseError> {
        self.calls += 1;
        let service = self.services[self.calls % self.services.len()].clone();
        let trace = self.trace.clone();
        match call {
            Call::Connect(socket, owner) => {
                let id = self.id(*socket);
                let gateway = owner.map(gateway_id);
                let owned = OwnedConnection {
                    connection: &id,
                    gateway: gateway.as_ref(),
                };
                let result = service.connect(owned, &trace).await;
                self.compare_renewal(*socket, *owner, &EventReason::Connect, result)
            }
            Call::Heartbeat(socket, owner) => {
                let id = self.id(*socket);
                let gateway = owner.map(gateway_id);
                let owned = OwnedConnection {
                    connection: &id,
                    gateway: gateway.as_ref(),
                };
                let result = service.heartbeat(owned, &trace).await;
                self.compare_renewal(*socket, *owner, &EventReason::Restore, result)
            }
            Call::Disconnect(socket, reason) => {
                let result = service.disconnect(&self.id(*socket), *reason, &trace).await;
                self.reference.disconnect(*socket, *reason);
                let is_deleted = self.reference.players[socket.0].overdue.is_some();
                result
                    .map(|presence| (!is_deleted).then_some(presence))
                    .map_err(unexpected)
            }
            Call::Set(at, state, change) => {
                // The function refuses an activity together with OFFLINE.
                let is_refused = *state == Some(State::Offline) && matches!(change, Change::Set(_));
                let change = if is_refused { Change::Keep } else { *change };
                let sent = StateChange {
                    state: *state,
                    activity: change.in_form(self.calls),
                };
                let result = service.set_state(&player(PLAYERS[*at]), sent, &trace).await;
                match (result, self.reference.set(*at, *state, change)) {
                    (Ok(presence), Ok(())) => Ok(Some(presence)),
                    (Err(PresenceError::TransitionRejected(rejected)), Err(_))
                        if Some(rejected) == *state =>
                    {
                        Ok(None)
                    }
                    (Err(PresenceError::ActivityRejected), Err(_))
                        if matches!(change, Change::Set(_)) =>
                    {
                        Ok(None)
                    }
                    (result, expected) => {
                        Err(TestCaseError::fail(format!("{result:?}, not {expected:?}")))
                    }
                }
            }
            Call::ConnectBatch(sockets, owner) => {
                let sockets = self.entries(sockets);
                let result = service
                    .connect_batch(self.owned(&sockets, *owner), &trace)
                    .await;
                Batch {
                    restored: Vec::new(),
                    ..self.renew_all(&sockets, *owner, &EventReason::Connect)
                }
                .compare(result)
            }
            Call::HeartbeatBatch(sockets, owner) => {
                let sockets = self.entries(sockets);
                let result = service
                    .heartbeat_batch(self.owned(&sockets, *owner), &trace)
                    .await;
                self.renew_all(&sockets, *owner, &EventReason::Restore)
                    .compare(result)
            }
            Call::DisconnectBatch(sockets, reason) => {
                let sockets = self.entries(sockets);
                let result = service
                    .disconnect_batch(self.ids(&sockets), *reason, &trace)
                    .await;
                let accepted = distinct(&sockets)
                    .map(|socket| self.reference.disconnect(socket, *reason))
                    .count();
                Batch {
                    accepted,
                    ..Batch::default()
                }
                .compare(result)
            }
            Call::RenewGateway(at) => {
                let status = service
                    .renew_gateway(&gateway_id(*at))
                    .await
                    .map_err(unexpected)?;
                prop_assert_eq!(status, self.reference.renew_gateway(*at));
                Ok(None)
            }
            Call::LeaveGateway(at, reason) => {
                let visited = keys::players_by_gateway(&mut self.raw).await;
                let ended = service
                    .leave_gateway(&gateway_id(*at), *reason, &trace)
                    .await
                    .map_err(unexpected)?;
                prop_assert_eq!(
                    ended as usize,
                    self.reference.leave_gateway(*at, *reason, &visited[*at])
                );
                Ok(None)
            }
            Call::SweepGateways => {
                let visited = keys::players_by_gateway(&mut self.raw).await;
                let result = self.gateway_sweeper.pass().await;
                let ended = result.map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
                prop_assert_eq!(ended as usize, self.reference.sweep_gateways(&visited));
                Ok(None)
            }
            Call::Sweep => self.sweep().await.map(|()| None),
            Call::Flush => {
                events::compare(&mut self.raw, &self.reference).await?;
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

    /// The sweep finds those who are due by the index. That is never later than they are, unless
    /// the clock was set back.
    async fn sweep(&mut self) -> TestCaseResult {
        let mut noticed = 0;
        for at in 0..PLAYERS.len() {
            let is_due = keys::indexed_until(&mut self.raw, at)
                .await
                .is_some_and(|due_at| due_at < self.reference.now);
            if is_due && self.reference.players[at].overdue.is_some() {
                noticed += 1;
                self.reference.notice(at);
            }
        }
        let swept = self
            .sweeper
            .pass()
            .await
            .map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
        prop_assert_eq!(swept.expired, noticed);
        Ok(())
    }

    fn compare_renewal(
        &mut self,
        socket: Socket,
        owner: Owner,
        reason: &'static EventReason,
        result: Result<Presence, PresenceError>,
    ) -> Result<Option<Presence>, TestCaseError> {
        match (result, self.reference.renew(socket, owner, reason)) {
            (Ok(presence), Renewal::Renewed | Renewal::Opened) => Ok(Some(presence)),
            (Err(PresenceError::ConnectionClosed), Renewal::Refused) => Ok(None),
            (result, expected) => Err(TestCaseError::fail(format!("{result:?}, not {expected:?}"))),
        }
    }

    fn renew_all(
        &mut self,
        sockets: &[Socket],
        owner: Owner,
        reason: &'static EventReason,
    ) -> Batch {
        let mut batch = Batch::default();
        for socket in distinct(sockets) {
            let id = self.id(socket);
            let renewal = self.reference.renew(socket, owner, reason);
            batch.accepted += usize::from(renewal != Renewal::Refused);
            match renewal {
                Renewal::Renewed => {}
                Renewal::Opened => batch.restored.push(id),
                Renewal::Refused => batch.closed.push(id),
            }
        }
        batch
    }

    /// A batch's entries. If one call could evict another's lease, each player has one entry: which
    /// of two leases of the same moment expires first is not defined.
    fn entries(&self, sockets: &[Socket]) -> Vec<Socket> {
        let mut entries: Vec<Socket> = Vec::new();
        for socket in sockets {
            let is_safe = self.reference.rules.max_connections >= SOCKETS;
            if is_safe
                || entries
                    .iter()
                    .all(|entry| entry.0 != socket.0 || entry == socket)
            {
                entries.push(*socket);
            }
        }
        entries
    }

    fn id(&self, (at, socket): Socket) -> Connection {
        connection(
            PLAYERS[at],
            &self.reference.players[at].connection_id(socket),
        )
    }

    fn owned(&self, sockets: &[Socket], owner: Owner) -> OwnedConnections {
        OwnedConnections {
            connections: self.ids(sockets),
            gateway: owner.map(gateway_id),
        }
    }

    fn ids(&self, sockets: &[Socket]) -> Vec<Connection> {
        sockets.iter().map(|socket| self.id(*socket)).collect()
    }
}

impl Batch {
    fn compare(
        self,
        result: Result<BatchOutcome, PresenceError>,
    ) -> Result<Option<Presence>, TestCaseError> {
        let BatchOutcome {
            accepted,
            restored,
            closed,
            failed,
        } = result.map_err(unexpected)?;
        prop_assert_eq!(
            Self {
                accepted,
                restored,
                closed
            },
            self
        );
        prop_assert_eq!(failed, []);
        Ok(None)
    }
}

/// The entries without those named before.
fn distinct(sockets: &[Socket]) -> impl Iterator<Item = Socket> {
    let is_first = |at: usize| !sockets[..at].contains(&sockets[at]);
    (0..sockets.len())
        .filter(move |at| is_first(*at))
        .map(|at| sockets[at])
}

fn gateway_id(at: usize) -> GatewayId {
    GatewayId::parse(GATEWAYS[at]).unwrap()
}

async fn send(raw: &mut MultiplexedConnection, command: &[&str]) {
    redis::cmd(command[0])
        .arg(&command[1..])
        .exec_async(raw)
        .await
        .unwrap();
}
