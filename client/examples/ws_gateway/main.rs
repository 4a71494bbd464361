//! A WebSocket gateway that reports its sockets to the presence service.
//!
//!     cargo run -p presence-client --example ws_gateway -- --bind 127.0.0.1:9001 --presence-url http://127.0.0.1:8080
//!
//! Then open <http://127.0.0.1:9001/> in a browser: log in as a player, add friends, and see them
//! change. That page, like any client, opens `ws://127.0.0.1:9001/ws?player=alice` and sends
//! `{"state":"IN_MATCH"}`, `{"activity":{"details":"Ranked","joinable":true}}` or
//! `{"watch":["bob"]}`. Without a presence URL, the gateway works the same and reports nothing. Its
//! counters are at `/stats`. A real gateway authenticates its players; this one does not.
//!
//! - `main`: arguments, start and stop.
//! - `http`: accepts connections and upgrades them to WebSockets.
//! - `sockets`: the open sockets, which can be closed from anywhere.
//! - `conversation`: one socket, from its opening to its end.
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
use presence_client::{
    ConnectionId, Endpoint, GatewayId, HttpNotifier, InvalidEndpoint, PlayerId, Reason, Watcher,
};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
    time::timeout,
};

pub(crate) use self::{
    http::{Gateway, accept},
    sockets::Sockets,
};

/// Time limit for the sockets to close when the gateway stops.
const CLOSE_ALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Time limit for the presence service to end the leases when the gateway stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(8);

#[derive(Parser)]
struct Args {
    /// Address that players connect to.
    #[arg(long, env = "GATEWAY_BIND", default_value = "127.0.0.1:9001")]
    bind: SocketAddr,
    /// URL of the presence service, such as http://127.0.0.1:8080. Without it, nothing is reported.
    #[arg(long, env = "GATEWAY_PRESENCE_URL", default_value = "")]
    presence_url: String,
    /// Bearer token for the presence service.
    #[arg(
        long,
        env = "GATEWAY_PRESENCE_TOKEN",
        default_value = "",
        hide_env_values = true
    )]
    presence_token: String,
    /// Whether to keep a lease of the gateway itself.
    #[arg(long, env = "GATEWAY_LEASE", default_value_t = true, action = ArgAction::Set)]
    lease: bool,
    /// Id of this gateway's lease, which must be new at every start. If empty, it is the host's
    /// name and a random part.
    #[arg(long, env = "GATEWAY_ID", default_value = "")]
    gateway_id: String,
    /// Interval of the heartbeats of an open socket, until the service reports its
    /// PRESENCE_HEARTBEAT_INTERVAL.
    #[arg(long, env = "GATEWAY_HEARTBEAT_INTERVAL", default_value = "15s", value_parser = humantime::parse_duration)]
    heartbeat_interval: Duration,
    /// Interval of the pings to a socket. A socket that sends nothing between two pings is lost.
    #[arg(long, env = "GATEWAY_PING_INTERVAL", default_value = "20s", value_parser = humantime::parse_duration)]
    ping_interval: Duration,
    /// The most sockets at a time; further ones receive a 503. The limit of open files must be
    /// higher.
    #[arg(long, env = "GATEWAY_MAX_SOCKETS", default_value_t = 20_000)]
    max_sockets: usize,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().init();
    let args = Args::parse();
    let sockets = Arc::new(Sockets::new(args.max_sockets));
    let endpoint = endpoint(&args)?;
    let start = |endpoint| start_notifier(&args, endpoint, Arc::clone(&sockets)).map(Arc::new);
    let presence = endpoint.clone().map(start).transpose()?;
    let watcher = endpoint.map(Watcher::start).transpose()?;
    let gateway = Gateway::new(
        presence.clone(),
        watcher,
        Arc::clone(&sockets),
        args.ping_interval,
    );
    let listener = TcpListener::bind(args.bind).await?;
    let gateway_id = presence.as_ref().and_then(|presence| presence.gateway_id());
    tracing::info!(address = %listener.local_addr()?, gateway_id = gateway_id.as_ref().map(GatewayId::as_str), "listening");
    tokio::select! {
        () = accept(listener, gateway) => {}
        () = signaled(SignalKind::terminate()) => {}
        () = signaled(SignalKind::interrupt()) => {}
    }

    // The players reconnect through another gateway: they are moving, and their friends need not
    // notice. The drain begins before the sockets close, so that the notifier does not report each
    // of them.
    let drain = async {
        match &presence {
            Some(presence) => presence.drain(Reason::Moving, DRAIN_TIMEOUT).await,
            None => Ok(()),
        }
    };
    let close_all = timeout(CLOSE_ALL_TIMEOUT, sockets.close_all(close_code::RESTART));
    let (drained, closed) = tokio::join!(biased; drain, close_all);
    let stats = presence.map(|presence| presence.stats());
    tracing::info!(?stats, ?drained, ?closed, "stopped");
    Ok(())
}

/// The endpoint of the presence service; `None` without a URL.
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

/// Starts a notifier that closes the sockets of players who were signed out.
fn start_notifier(
    args: &Args,
    endpoint: Endpoint,
    sockets: Arc<Sockets>,
) -> Result<HttpNotifier, Box<dyn Error>> {
    let on_closed = move |_: &PlayerId, connection: &ConnectionId| {
        sockets.close(connection, close_code::POLICY)
    };
    let defaults = HttpNotifier::builder(endpoint)
        .heartbeat_interval(args.heartbeat_interval)
        .on_closed(on_closed);
    let builder = match &*args.gateway_id {
        _ if !args.lease => defaults.without_gateway_lease(),
        "" => defaults,
        id => defaults.gateway_id(GatewayId::parse(id)?),
    };
    Ok(builder.start()?)
}

/// Waits for a signal of this kind.
async fn signaled(kind: SignalKind) {
    match signal(kind) {
        Ok(mut signals) => _ = signals.recv().await,
        Err(_) => pending().await,
    }
}
