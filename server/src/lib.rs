//! The server: all handlers in one process, for containers, with the sweep and the relay as
//! background tasks.
//!
//! - `accept`: the listener.
//! - `access`: tokens and permissions.
//! - `call`: bounds of concurrent calls and of memory, bodies of requests and responses.
//! - `connection`: HTTP/1.1 on a socket, bounded in time and in memory.
//! - `console`: the page for operators.
//! - `file_limit`: the limit of open files.
//! - `middleware`: access, metrics, tracing, timeout and panic recovery per route.
//! - `openapi`: the API description.
//! - `origin`: checks of `Host`, `Origin` and `Sec-Fetch-…`.
//! - `probe`: a container's health check.
//! - `recorder`: the recorder of metrics, and the gauges.
//! - `refusals`: the log of refused calls.
//! - `reports`: cached reports for operators.
//! - `routes`: paths, and the handlers behind them.
//! - `watching`: streams of callers that watch players.
//! - `workers`: the threads that serve.

mod accept;
mod access;
mod call;
mod connection;
mod console;
mod file_limit;
mod middleware;
mod openapi;
mod origin;
mod probe;
mod recorder;
mod refusals;
mod reports;
mod routes;
mod watching;
mod workers;

use std::{process::ExitCode, sync::Arc, time::Duration};

use presence::{
    REVISION, VERSION,
    config::{Config, ConfigError, Environment, ServerConfig},
    events::{Relay, RelaySignal},
    runtime::{App, environment, fail, start},
    supervise,
    telemetry::traces,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};

use accept::Acceptor;
use access::AccessPolicy;
use connection::{ConnectionContext, Connections, Lifecycle};
use middleware::Middleware;
use routes::Parts;
use workers::Workers;

/// Time limit for connections to end after SIGTERM. The rest of ten seconds is for the last events.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(7);

/// Time limit of publishing the last events.
const LAST_RELAY_TIMEOUT: Duration = Duration::from_millis(2_000);

/// Time limit of sending the last spans.
const LAST_SPANS_TIMEOUT: Duration = Duration::from_millis(500);

/// The usage text.
const USAGE: &str = "usage: presence-server [--health | --version]; everything else is set by environment variables";

/// Runs the program: serves until SIGTERM or SIGINT, or executes the command that its argument
/// names.
pub fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run_server(),
        ["--health"] => check_health(),
        ["--version"] => {
            println!("presence-server {VERSION} ({REVISION})");
            ExitCode::SUCCESS
        }
        _ => fail(&USAGE),
    }
}

/// Asks the server on this host whether it is alive. It reads no secrets: a health check every few
/// seconds must neither call AWS nor depend on it.
fn check_health() -> ExitCode {
    match ServerConfig::bind_from_lookup(|name| Environment::default().lookup(name)) {
        Ok(bind) if probe::is_alive(bind) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => fail(&error),
    }
}

fn run_server() -> ExitCode {
    let environment = match environment() {
        Ok(environment) => environment,
        Err(status) => return status,
    };
    let server = match ServerConfig::from_lookup(|name| environment.lookup(name)) {
        Ok(server) => server,
        Err(error) => return fail(&error),
    };
    let config = match start(&environment) {
        Ok(config) => config,
        Err(status) => return status,
    };
    // This runtime accepts connections, sweeps and relays; the workers' runtimes serve.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    match runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(serve(config, server)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<ConfigError>() => fail(&error),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, server: ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = recorder::install()?;
    if let Some(config) = &config.traces {
        traces::start(config).map_err(|error| format!("traces cannot be exported: {error}"))?;
    }
    for variable in server.variables_with_short_tokens() {
        tracing::warn!(
            variable,
            "a token shorter than 16 characters can be guessed: replace it with a longer one"
        );
    }
    let interval = config.lifetimes.sweep_interval;
    let app = App::new(config)?;
    app.check_partitions().await?;
    let signal = RelaySignal::default();
    let lifecycle = Lifecycle::default();
    let connections = Arc::new(Connections::new(file_limit::connections()));
    let (open, closing) = watch::channel(());
    let watching = app.watch(server.watch.clone());
    let watch_upkeep = app.watch_upkeep(watching.clone());
    let routes = routes::routes(Parts {
        app: &app,
        middleware: &Middleware::new(AccessPolicy::new(&server)),
        prometheus: prometheus.clone(),
        health: app.health(),
        lifecycle: lifecycle.clone(),
        watching,
        closing,
    });
    let workers = Workers::start(|| {
        // Each worker has a connection to Redis of its own.
        let app = App::new(app.config.clone())?;
        Ok::<_, Box<dyn std::error::Error>>(
            routes
                .clone()
                .with_state(Arc::new(app.presence_with_relay(signal.clone()))),
        )
    })?;
    let stop = stop_signal()?;
    let listener = accept::bind(server.bind)
        .map_err(|error| format!("cannot listen on {}: {error}", server.bind))?;
    tracing::info!(address = %listener.local_addr()?, "presence-server listens");

    let sweeper = app.sweeper(signal.clone());
    let health = app.health();
    let operator_queries = app.operator_queries();
    tokio::spawn(async move {
        supervise("gauges", || {
            recorder::refresh_gauges(&prometheus, &health, &operator_queries)
        })
        .await
    });
    tokio::spawn(async move { supervise("watch", || watch_upkeep.run()).await });
    let sweep = tokio::spawn(async move { supervise("sweep", || sweeper.run(interval)).await });
    let gateway_sweeper = app.gateway_sweeper(signal.clone());
    let gateway_sweep =
        tokio::spawn(async move { supervise("gateways", || gateway_sweeper.run(interval)).await });
    let relay = app.relay().map(|relay| {
        tokio::spawn(async move { supervise("relay", || relay.run(&signal, interval)).await })
    });
    let timeouts = Arc::clone(&connections);
    tokio::spawn(async move { supervise("timeouts", || timeouts.enforce_timeouts()).await });
    let context = ConnectionContext::new(lifecycle.clone());
    let acceptor = Acceptor {
        listener,
        workers,
        connections,
        context,
    };
    acceptor
        .serve(lifecycle, stop, SHUTDOWN_TIMEOUT, || drop(open))
        .await;

    // All calls are done: publish their last events, then send the last spans.
    sweep.abort();
    gateway_sweep.abort();
    if let (Some(running), Some(relay)) = (relay, app.relay()) {
        running.abort();
        publish_last_events(&relay).await;
    }
    traces::flush(LAST_SPANS_TIMEOUT).await;
    tracing::info!("presence-server has stopped");
    Ok(())
}

/// Starts to listen for SIGTERM and SIGINT. The future ends with the first of them.
fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

async fn publish_last_events(relay: &Relay) {
    match timeout(LAST_RELAY_TIMEOUT, relay.pass()).await {
        Ok(Ok(relayed)) => {
            tracing::info!(published = relayed.published, "last events published")
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "last events not published; another relay will publish them")
        }
        Err(_) => {
            tracing::warn!("last events not published in time; another relay will publish them")
        }
    }
}
