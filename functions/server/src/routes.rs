//! Paths, and what every request passes through. Checks come in the order 404, 405, 401, 413, 415, 400.

use std::{pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    error_handling::HandleErrorLayer,
    extract::{Request, State},
    middleware,
    response::Response,
    routing::{MethodRouter, get},
};
use metrics_exporter_prometheus::PrometheusHandle;
use presence::{
    PresenceService, REVISION, VERSION,
    config::Secret,
    events::RelaySignal,
    http::{self, Answer, Problem, json, ready},
    runtime::App,
};
use serde_json::json;
use tokio::sync::watch;
use tower::{
    BoxError, ServiceBuilder, limit::GlobalConcurrencyLimitLayer, load_shed::LoadShedLayer, timeout::TimeoutLayer,
    timeout::error::Elapsed,
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{
    auth::{Tokens, authorize},
    body::{refuse, respond, with_body},
    console,
    measure::measure,
    statistics::Counts,
};

/// The number of calls at a time; more of them are refused, before memory or latency runs away. Each may hold a body of
/// [`presence::http::MAX_BODY`].
const MAX_CALLS: usize = 512;

/// How long one request may take, a slow client's body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

type Shared = State<Arc<PresenceService>>;
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// All routes. Streams of the console end when the sender of `closing` is gone.
pub(crate) fn routes(
    app: &App,
    signal: RelaySignal,
    tokens: Vec<Secret>,
    prometheus: PrometheusHandle,
    closing: watch::Receiver<()>,
) -> Router {
    let tokens: Tokens = tokens.into();
    // On each route and not on the router: a path that is not there is a 404, and a wrong method a 405, for anybody.
    let private = |route: MethodRouter<Arc<PresenceService>>| {
        route.route_layer(middleware::from_fn_with_state(Arc::clone(&tokens), authorize))
    };
    // GET on the path of a call reads the player of that name.
    let player = || get(call(get_state::handle));
    let counts = Counts::new(app.insight());
    let calls = Router::new()
        .route("/presence", private(get(async move || counts.answer().await)))
        .route("/presence/connect", private(player().post(call(connect::handle))))
        .route("/presence/heartbeat", private(player().post(call(heartbeat::handle))))
        .route("/presence/disconnect", private(player().post(call(disconnect::handle))))
        .route("/presence/state", private(player().post(call(set_state::handle))))
        .route("/presence/friends", private(player().post(call(friends::handle))))
        .route("/presence/{player_id}", private(player()))
        .route("/metrics", private(get(async move || prometheus.render())))
        .merge(console::routes(app, private, closing))
        .layer(
            ServiceBuilder::new()
                .layer(middleware::from_fn(measure))
                .layer(HandleErrorLayer::new(refused))
                .layer(LoadShedLayer::new())
                .layer(GlobalConcurrencyLimitLayer::new(MAX_CALLS))
                .layer(TimeoutLayer::new(REQUEST_LIMIT))
                .layer(CatchPanicLayer::custom(|_| respond(Err(Problem::internal())))),
        );
    let probe = app.health_probe();
    let health = Router::new()
        .route("/health/live", get(live))
        .route("/health/ready", get(async move || respond(Ok(ready(&probe.check().await)))));
    calls
        .merge(health)
        .fallback(async |request| refuse(request, Problem::not_found()).await)
        .method_not_allowed_fallback(async |request| refuse(request, Problem::wrong_method()).await)
        .with_state(Arc::new(app.presence_with_relay(signal)))
}

/// Runs a handler on a request with its whole body.
fn call<F>(
    handler: fn(Arc<PresenceService>, http::Request) -> F,
) -> impl Fn(Shared, Request) -> Answering + Clone + Send + Sync + 'static
where
    F: Future<Output = Answer> + Send + 'static,
{
    move |State(presence), request| {
        Box::pin(async move {
            respond(match with_body(request).await {
                Ok(request) => handler(presence, request).await,
                Err(problem) => Err(problem),
            })
        })
    }
}

async fn refused(error: BoxError) -> Response {
    respond(Err(if error.is::<Elapsed>() { Problem::timed_out(REQUEST_LIMIT) } else { Problem::overloaded() }))
}

async fn live() -> Response {
    respond(Ok(json(&json!({"status": "ok", "version": VERSION, "revision": REVISION}))))
}
