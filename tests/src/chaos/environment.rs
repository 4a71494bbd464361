//! Processes of a run, and the injection of faults into them.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::{
    sync::{Mutex, MutexGuard},
    task::block_in_place,
    time::{Instant, sleep},
};

use super::{
    history::{Event, Fault, FaultKind, Part, Recorder, now, player_number},
    plan::{GATEWAYS, NetworkFaults, Plan, PlannedFault, SERVERS},
    proxy::Proxy,
    store::Store,
};
use crate::{Gateway, MovingEndpoint, NatsServer, Server, process::free_port};

/// The name of the event stream.
const STREAM: &str = "PRESENCE_EVENTS";

/// Time limit for a gateway to end after SIGTERM, whether the service responds or not.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// All processes of a run. They end when this is dropped.
pub(super) struct Environment {
    pub(super) store: Store,
    nats: Mutex<NatsServer>,
    /// The addresses of NATS that the servers are configured with.
    nats_addresses: [MovingEndpoint; 2],
    servers: Vec<Mutex<Server>>,
    addresses: [String; SERVERS],
    gateways: Vec<Mutex<Gateway>>,
    /// Whether each gateway is stopping for a planned restart.
    draining: [AtomicBool; GATEWAYS],
    proxies: Vec<Proxy>,
    /// The variables of every server.
    variables: Vec<(&'static str, String)>,
    recorder: Recorder,
}

impl Environment {
    /// Starts all processes.
    pub(super) async fn start(plan: &Plan, recorder: &Recorder) -> Self {
        let store = Store::start(plan.topology).await;
        let nats = NatsServer::start().await;
        let nats_addresses = [
            MovingEndpoint::start(nats.port()).await,
            MovingEndpoint::start(nats.port()).await,
        ];
        let timing = recorder.lock().timing;
        let nats_urls = nats_addresses
            .each_ref()
            .map(|address| format!("nats://127.0.0.1:{}", address.port()));
        let mut variables = vec![
            ("PRESENCE_NATS_URL", nats_urls.join(",")),
            ("PRESENCE_TTL", format!("{}ms", timing.ttl)),
            (
                "PRESENCE_HEARTBEAT_INTERVAL",
                format!("{}ms", timing.heartbeat),
            ),
            ("PRESENCE_SWEEP_INTERVAL", format!("{}ms", timing.sweep)),
            ("PRESENCE_GATEWAY_TTL", format!("{}ms", timing.gateway_ttl)),
            ("PRESENCE_MOVE_GRACE", format!("{}ms", timing.move_grace)),
        ];
        variables.extend(store.variables());
        // A server restarts on its port, which no other process may take meanwhile.
        let binds = [(); SERVERS].map(|()| format!("127.0.0.1:{}", free_port()));
        let processes = binds.map(|bind| start_server(&variables, &bind));
        let addresses = processes
            .each_ref()
            .map(|server| server.address().to_owned());
        let mut proxies = Vec::new();
        let mut gateways = Vec::new();
        for number in 0..GATEWAYS {
            let seed = plan.seed.wrapping_add(1 + number as u64);
            let proxy = Proxy::start(number, addresses.clone(), seed, recorder.clone()).await;
            gateways.push(Mutex::new(start_gateway(&proxy, timing.heartbeat)));
            proxies.push(proxy);
        }
        let servers = processes.into_iter().map(Mutex::new).collect();
        Self {
            store,
            nats: Mutex::new(nats),
            nats_addresses,
            servers,
            addresses,
            gateways,
            draining: [const { AtomicBool::new(false) }; GATEWAYS],
            proxies,
            variables,
            recorder: recorder.clone(),
        }
    }

    /// The address of a server itself, without a proxy.
    pub(super) fn address(&self, server: usize) -> &str {
        &self.addresses[server]
    }

    /// The URL for a player's device; `None` while the gateway has a fault.
    pub(super) fn gateway_url(&self, gateway: usize, player: &str) -> Option<String> {
        Some(self.gateways[gateway].try_lock().ok()?.url(player))
    }

    /// Whether a gateway is stopping for a planned restart.
    pub(super) fn is_draining(&self, gateway: usize) -> bool {
        self.draining[gateway].load(Ordering::Relaxed)
    }

    pub(super) fn set_network_faults(&self, network: NetworkFaults) {
        self.proxies
            .iter()
            .for_each(|proxy| proxy.set_network_faults(network));
    }

    /// Injects a fault into a process, waits until it works again, and records the fault.
    pub(super) async fn inject(&self, fault: PlannedFault) {
        let fault = match fault.part {
            Part::Redis => self.store.inject(fault).await,
            Part::Nats => self.inject_into_nats(self.nats.lock().await, fault).await,
            Part::Server(number) => {
                self.inject_into_server(self.servers[number].lock().await, fault)
                    .await
            }
            Part::Gateway(number) => self.inject_into_gateway(number, fault).await,
            Part::Watcher(_) | Part::Machine => return, // they are not processes
        };
        self.recorder.lock().faults.push(fault);
    }

    /// The whole stream, in order.
    pub(super) async fn events(&self) -> Vec<Event> {
        let messages = self.nats.lock().await.messages(STREAM).await;
        messages
            .iter()
            .filter_map(|message| self.event(message))
            .collect()
    }

    fn event(&self, message: &async_nats::jetstream::Message) -> Option<Event> {
        let body: serde_json::Value = serde_json::from_slice(&message.payload).ok()?;
        let get_text = |member: &str| body[member].as_str().unwrap_or_default().to_owned();
        let parse_state = |member: &str| serde_json::from_value(body[member].clone()).ok();
        let message_id = message
            .headers
            .as_ref()
            .and_then(|headers| headers.get("Nats-Msg-Id"));
        let info = message.info().ok()?;
        let build_event = || {
            Some(Event {
                player: player_number(body["player_id"].as_str()?)?,
                id: get_text("id"),
                message_id: message_id.map(ToString::to_string).unwrap_or_default(),
                state: parse_state("state")?,
                previous_state: parse_state("previous_state")?,
                reason: get_text("reason").as_str().into(),
                version: body["version"].as_u64()?,
                last_seen: body["last_seen"].as_u64()?,
                occurred_at: body["occurred_at"].as_u64()?,
                published: (info.published.unix_timestamp_nanos() / 1_000_000) as u64,
                sequence: info.stream_sequence,
            })
        };
        let event = build_event();
        if event.is_none() {
            self.recorder
                .record_anomaly(format!("the stream holds an invalid event: {body}"));
        }
        event
    }

    async fn inject_into_nats(
        &self,
        mut nats: MutexGuard<'_, NatsServer>,
        fault: PlannedFault,
    ) -> Fault {
        let from = now();
        let time = Duration::from_millis(fault.lasts);
        match fault.kind {
            FaultKind::Kill => {
                nats.kill();
                sleep(time).await;
                nats.restart().await;
            }
            FaultKind::Hang => {
                let address = &self.nats_addresses[fault.which % 2];
                address.silence_all();
                sleep(time).await;
                address.end_silence();
            }
            _ => {
                nats.pause();
                sleep(time).await;
                nats.resume();
            }
        }
        over(fault, from)
    }

    async fn inject_into_server(
        &self,
        mut server: MutexGuard<'_, Server>,
        fault: PlannedFault,
    ) -> Fault {
        let from = now();
        let time = Duration::from_millis(fault.lasts);
        if fault.kind == FaultKind::Freeze {
            server.pause();
            sleep(time).await;
            server.resume();
            return over(fault, from);
        }
        if fault.kind == FaultKind::Kill {
            server.kill();
        } else if !server.terminate().await.success() {
            self.recorder
                .record_anomaly("a server did not exit with success after SIGTERM".to_owned());
        }
        sleep(time).await;
        let address = server.address().to_owned();
        *server = block_in_place(|| start_server(&self.variables, &address));
        over(fault, from)
    }

    async fn inject_into_gateway(&self, number: usize, fault: PlannedFault) -> Fault {
        let mut gateway = self.gateways[number].lock().await;
        let from = now();
        let time = Duration::from_millis(fault.lasts);
        if fault.kind == FaultKind::Freeze {
            gateway.pause();
            sleep(time).await;
            gateway.resume();
            return over(fault, from);
        }
        if fault.kind == FaultKind::Terminate {
            self.draining[number].store(true, Ordering::Relaxed);
            self.stop_gateway(&mut gateway).await;
        }
        gateway.kill();
        sleep(time).await;
        let interval = self.recorder.lock().timing.heartbeat;
        *gateway = block_in_place(|| start_gateway(&self.proxies[number], interval));
        self.draining[number].store(false, Ordering::Relaxed);
        over(fault, from)
    }

    /// Has a gateway end its leases for a planned restart, and waits until it has ended.
    async fn stop_gateway(&self, gateway: &mut Gateway) {
        let begin = Instant::now();
        gateway.signal("TERM");
        while !gateway.has_ended() {
            if begin.elapsed() > STOP_TIMEOUT {
                return self.recorder.record_anomaly(format!(
                    "a gateway still ran {STOP_TIMEOUT:?} after SIGTERM"
                ));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

fn over(fault: PlannedFault, from: u64) -> Fault {
    Fault::over(fault.part, fault.kind, from)
}

fn start_server(variables: &[(&'static str, String)], bind: &str) -> Server {
    let mut variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    variables.push(("PRESENCE_BIND", bind));
    Server::start(&variables)
}

fn start_gateway(proxy: &Proxy, heartbeat: u64) -> Gateway {
    let interval = format!("{heartbeat}ms");
    Gateway::start(&[
        ("GATEWAY_PRESENCE_URL", proxy.url()),
        ("GATEWAY_HEARTBEAT_INTERVAL", &interval),
    ])
}
