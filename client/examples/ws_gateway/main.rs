//! A WebSocket gateway that reports its sockets to the presence service.
//!
//!     cargo run -p presence-client --example ws_gateway -- --bind 127.0.0.1:9001 --presence-url http://127.0.0.1:8080
//!
//! Then open <http://127.0.0.1:9001/> in a browser: log in as a player, add friends, and see them change. That page, like
//! any client, opens `ws://127.0.0.1:9001/ws?player=alice` and sends `{"state":"IN_MATCH"}`,
//! `{"activity":{"details":"Ranked","joinable":true}}` or `{"watch":["bob"]}`. Without a presence URL it is the same gateway,
//! and reports to nothing. Its counters are at `/stats`. A real gateway authenticates its players; this one believes what
//! they say.
//!
//! - `main`: arguments, start and stop.
//! - `http`: connections until they are WebSockets.
//! - `sockets`: the open sockets, and how to have them closed.
//! - `conversation`: one socket from its first moment to its last.
//! - `friends`: the friends that its player watches.
//! - `page`: the page for the browser.

mod conversation;
mod friends;
mod http;
mod page;
mod sockets;

use std::{error::Error, future::pending, net::SocketAddr, sync::Arc, time::Duration};

use axum::extract::ws::close_code;
use clap::{ArgAction, Parser};
use presence_client::{ConnectionId, Endpoint, GatewayId, HttpNotifier, InvalidEndpoint, PlayerId, Reason, Watcher};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

pub(crate) use self::{
    http::{Gateway, accept},
    sockets::Sockets,
};

/// How long the sockets have to close when the gateway stops, and the presence service to end their leases.
const CLOSE_ALL_TIMEOUT: Duration = Duration::from_secs(2);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Parser)]
struct Args {
    /// Address that players connect to.
    #[arg(long, env = "GATEWAY_BIND", default_value = "127.0.0.1:9001")]
    bind: SocketAddr,
    /// The presence service, such as http://127.0.0.1:8080; without it nothing is reported.
    #[arg(long, env = "GATEWAY_PRESENCE_URL", default_value = "")]
    presence_url: String,
    /// The bearer token that the presence service requires.
    #[arg(long, env = "GATEWAY_PRESENCE_TOKEN", default_value = "", hide_env_values = true)]
    presence_token: String,
    /// Keeps a lease of the gateway itself.
    #[arg(long, env = "GATEWAY_LEASE", default_value_t = true, action = ArgAction::Set)]
    lease: bool,
    /// Id of this gateway's lease, new at every start; empty: the host's name and a random part.
    #[arg(long, env = "GATEWAY_ID", default_value = "")]
    gateway_id: String,
    /// Interval of the heartbeats of an open socket: what the service's PRESENCE_HEARTBEAT_INTERVAL says.
    #[arg(long, env = "GATEWAY_HEARTBEAT_INTERVAL", default_value = "15s", value_parser = humantime::parse_duration)]
    heartbeat_interval: Duration,
    /// Interval of the pings to a socket. One that sent nothing from one ping to the next is lost.
    #[arg(long, env = "GATEWAY_PING_INTERVAL", default_value = "20s", value_parser = humantime::parse_duration)]
    ping_interval: Duration,
    /// How many sockets may be open at a time; more are answered with 503. The limit of open files has to be higher.
    #[arg(long, env = "GATEWAY_MAX_SOCKETS", default_value_t = 20_000)]
    max_sockets: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let args = Args::parse();
    let sockets = Arc::new(Sockets::new(args.max_sockets));
    let endpoint = endpoint(&args)?;
    let presence = endpoint.clone().map(|endpoint| notifier(&args, endpoint, Arc::clone(&sockets))).transpose()?;
    let presence = presence.map(Arc::new);
    let watcher = endpoint.map(Watcher::start).transpose()?;
    let gateway = Gateway::new(presence.clone(), watcher, Arc::clone(&sockets), args.ping_interval);
    let listener = TcpListener::bind(args.bind).await?;
    let gateway_id = presence.as_ref().and_then(|presence| presence.gateway_id());
    tracing::info!(address = %listener.local_addr()?, gateway_id = gateway_id.as_ref().map(GatewayId::as_str), "listening");
    tokio::select! {
        () = accept(listener, gateway) => {}
        () = signalled(SignalKind::terminate()) => {}
        () = signalled(SignalKind::interrupt()) => {}
    }

    // The players come back through another gateway: they are moving, and their friends need not notice. The notifier learns
    // of that before the sockets close, so that it need not report each of them.
    let drained = async {
        match &presence {
            Some(presence) => presence.drain(Reason::Moving, DRAIN_TIMEOUT).await,
            None => Ok(()),
        }
    };
    let closed = timeout(CLOSE_ALL_TIMEOUT, sockets.close_all(close_code::RESTART));
    let (drained, closed) = tokio::join!(biased; drained, closed);
    let stats = presence.map(|presence| presence.stats());
    tracing::info!(?stats, ?drained, ?closed, "stopped");
    Ok(())
}

/// The presence service; `None` without a URL.
fn endpoint(args: &Args) -> Result<Option<Endpoint>, InvalidEndpoint> {
    if args.presence_url.is_empty() {
        return Ok(None);
    }
    let endpoint = Endpoint::parse(&args.presence_url)?;
    if args.presence_token.is_empty() {
        return Ok(Some(endpoint));
    }
    endpoint.with_token(&args.presence_token).map(Some)
}

/// A notifier that has the sockets closed whose players were signed out.
fn notifier(args: &Args, endpoint: Endpoint, sockets: Arc<Sockets>) -> Result<HttpNotifier, Box<dyn Error>> {
    let on_closed = move |_: &PlayerId, connection: &ConnectionId| sockets.close(connection, close_code::POLICY);
    let builder = HttpNotifier::builder(endpoint).heartbeat_interval(args.heartbeat_interval).on_closed(on_closed);
    let builder = match &*args.gateway_id {
        _ if !args.lease => builder.without_gateway_lease(),
        "" => builder,
        id => builder.gateway_id(GatewayId::parse(id)?),
    };
    Ok(builder.start()?)
}

/// Waits for a signal.
async fn signalled(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => _ = signals.recv().await,
        Err(_) => pending().await,
    }
}
