//! Assembly of the service's components for the programs.

use crate::{
    GatewaySweeper, PresenceService, Store, Sweeper,
    config::{Config, ConfigError, WatchConfig},
    events::{Backlog, LiveEvents, PublishMode, Publisher, Relay, RelaySignal},
    operator::{HealthMonitor, HealthProbe, OperatorQueries},
    redis::StoreError,
    watch::{Watch, WatchUpkeep},
};

/// The components of the service, created once per process. Connections are opened when they are
/// first needed.
#[derive(Clone)]
pub struct App {
    /// The configuration of the process.
    pub config: Config,
    store: Store,
    publisher: Option<Publisher>,
    backlog: Backlog,
    health: HealthMonitor,
}

impl App {
    /// Creates the components. Must be called in a tokio runtime.
    ///
    /// # Errors
    /// As [`Store::new`].
    pub fn new(config: Config) -> Result<Self, StoreError> {
        let store = Store::new(&config)?;
        let publisher = config.events.clone().map(Publisher::new);
        let backlog = Backlog::default();
        let health = HealthMonitor::new(HealthProbe::new(
            store.clone(),
            publisher.clone(),
            backlog.clone(),
        ));
        Ok(Self {
            config,
            store,
            publisher,
            backlog,
            health,
        })
    }

    /// Checks that the data of a cluster is spread over as many partitions as this program is
    /// configured for. Takes no longer than a call. If Redis does not respond, the check passes:
    /// each call checks again.
    ///
    /// # Errors
    /// [`ConfigError`] if the data has another number of partitions.
    pub async fn check_partitions(&self) -> Result<(), ConfigError> {
        match self.store.check_layout().await {
            Err(StoreError::Partitions { stored, .. }) => Err(ConfigError::of_partitions(stored)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The use cases. Each call publishes its own events before it responds.
    pub fn presence(&self) -> PresenceService {
        let publish_mode = self
            .publisher
            .clone()
            .map_or(PublishMode::Off, PublishMode::Inline);
        PresenceService::new(&self.config, self.store.clone(), publish_mode)
    }

    /// The use cases. A relay of this process, which waits for `signal`, publishes their events.
    pub fn presence_with_relay(&self, signal: RelaySignal) -> PresenceService {
        let publish_mode = self
            .publisher
            .as_ref()
            .map_or(PublishMode::Off, |_| PublishMode::Relayed(signal));
        PresenceService::new(&self.config, self.store.clone(), publish_mode)
    }

    /// The sweep. A relay of this process, which waits for `signal`, publishes its events.
    pub fn sweeper(&self, signal: RelaySignal) -> Sweeper {
        Sweeper::new(self.store.clone(), signal)
    }

    /// The sweep of gateways. A relay of this process, which waits for `signal`, publishes its
    /// events.
    pub fn gateway_sweeper(&self, signal: RelaySignal) -> GatewaySweeper {
        GatewaySweeper::new(self.store.clone(), signal)
    }

    /// The relay. `None` if the service emits no events.
    pub fn relay(&self) -> Option<Relay> {
        let events = self.config.events.as_ref()?;
        let publisher = self.publisher.clone()?;
        Some(Relay::new(
            self.store.clone(),
            publisher,
            events.retention,
            self.backlog.clone(),
        ))
    }

    /// The queries of operators.
    pub fn operator_queries(&self) -> OperatorQueries {
        OperatorQueries::new(self.store.clone())
    }

    /// The live events. `None` if the service emits no events.
    pub fn live_events(&self) -> Option<LiveEvents> {
        self.publisher.clone().map(LiveEvents::new)
    }

    /// The streams of callers that watch players.
    pub fn watch(&self, config: WatchConfig) -> Watch {
        Watch::new(config, self.config.limits.max_batch, self.store.clone())
    }

    /// The task that keeps the streams of callers up to date.
    pub fn watch_upkeep(&self, watch: Watch) -> WatchUpkeep {
        WatchUpkeep::new(watch, self.publisher.clone())
    }

    /// The health probe, which calls Redis and NATS at each check.
    pub fn health_probe(&self) -> HealthProbe {
        HealthProbe::new(
            self.store.clone(),
            self.publisher.clone(),
            self.backlog.clone(),
        )
    }

    /// The health monitor, which runs one check at a time for all callers.
    pub fn health(&self) -> HealthMonitor {
        self.health.clone()
    }
}
