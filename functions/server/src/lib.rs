//! The server: all handlers in one process, for containers, with the sweep and the relay beside them.
//!
//! - `routes`: paths, and what answers them.
//! - `auth`: bearer tokens.
//! - `body`: bodies of requests and answers.
//! - `console`: a page that shows what goes on.
//! - `gate`: what every call passes.
//! - `listen`: sockets, from the first connection to the last.
//! - `measure`: what is counted of each call.
//! - `openapi`: a description of all calls.
//! - `probe`: a container's health check.
//! - `statistics`: how many players there are.
//! - `workers`: the threads that serve.

mod auth;
mod body;
mod console;
mod gate;
mod listen;
mod load;
mod measure;
mod openapi;
mod probe;
mod routes;
mod statistics;
mod workers;

use std::{process::ExitCode, sync::Arc, time::Duration};

use presence::{
    REVISION, VERSION,
    config::{Config, Environment, ServerConfig},
    events::RelaySignal,
    runtime::{App, environment, fail, start},
    supervise,
    telemetry::traces,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::timeout,
};

use gate::Gates;
use workers::Workers;

/// How long requests may take to finish after SIGTERM. What is left of ten seconds is for the last events.
const DRAIN: Duration = Duration::from_secs(7);

/// How long publishing the last events may take.
const LAST_RELAY: Duration = Duration::from_millis(2_000);

/// How long sending the last spans may take.
const LAST_SPANS: Duration = Duration::from_millis(500);

/// What the program does with its one argument, if it has any.
const USAGE: &str = "usage: presence-server [--health | --version]; everything else is set by environment variables";

/// Serves until SIGTERM or SIGINT, or does what its argument says: the whole of the program.
pub fn run() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => run_server(),
        ["--health"] => match ServerConfig::from_lookup(|name| Environment::default().lookup(name)) {
            Ok(server) if probe::is_alive(server.bind) => ExitCode::SUCCESS,
            Ok(_) => ExitCode::FAILURE,
            Err(error) => fail(&error),
        },
        ["--version"] => {
            println!("presence-server {VERSION} ({REVISION})");
            ExitCode::SUCCESS
        }
        _ => fail(&USAGE),
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
    // This one accepts connections, sweeps and relays; `workers` has those that serve.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(serve(config, server))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn serve(config: Config, server: ServerConfig) -> Result<(), Box<dyn std::error::Error>> {
    let prometheus = measure::install()?;
    if let Some(config) = &config.traces {
        traces::start(config).map_err(|error| format!("no traces can be exported: {error}"))?;
    }
    let interval = config.lifetimes.sweep_interval;
    let app = App::new(config)?;
    let signal = RelaySignal::default();
    let upkeep = prometheus.clone();
    let (open, closing) = watch::channel(());
    let routes = routes::routes(&app, &Gates::new(server.tokens), prometheus, closing);
    let workers = Workers::start(|| {
        // With a connection to Redis of its own.
        let app = App::new(app.config.clone())?;
        Ok::<_, Box<dyn std::error::Error>>(
            routes.clone().with_state(Arc::new(app.presence_with_relay(signal.clone()))),
        )
    })?;
    let (mut terminate, mut interrupt) =
        (self::signal(SignalKind::terminate())?, self::signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        drop(open);
    };
    let listener =
        TcpListener::bind(server.bind).await.map_err(|error| format!("cannot listen on {}: {error}", server.bind))?;
    tracing::info!(address = %listener.local_addr()?, "presence-server listens");

    let (sweeper, probe, insight) = (app.sweeper(signal.clone()), app.health_probe(), app.insight());
    tokio::spawn(async move { supervise("gauges", || measure::keep_fresh(&upkeep, &probe, &insight)).await });
    let sweep = tokio::spawn(async move { supervise("sweep", || sweeper.run(interval)).await });
    let relay =
        app.relay().map(|relay| tokio::spawn(async move { supervise("relay", || relay.run(&signal, interval)).await }));
    listen::serve(listener, workers, stop, DRAIN).await;

    sweep.abort();
    if let (Some(running), Some(relay)) = (relay, app.relay()) {
        running.abort();
        match timeout(LAST_RELAY, relay.pass()).await {
            Ok(Ok(relayed)) => tracing::info!(published = relayed.published, "last events published"),
            Ok(Err(error)) => tracing::warn!(%error, "last events not published; another relay has them"),
            Err(_) => tracing::warn!("last events not published in time; another relay has them"),
        }
    }
    traces::flush(LAST_SPANS).await;
    tracing::info!("presence-server ends");
    Ok(())
}
