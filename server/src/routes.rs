//! Routes: paths, and the handlers behind them. The checks are made in the order 404, 405, 401,
//! 403, 413, 415, 400.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::MethodFilter,
};
use metrics_exporter_prometheus::PrometheusHandle;
use presence::{
    PresenceService, REVISION, VERSION,
    http::{self, HandlerResult, Problem, json, ready},
    operator::{Gateways, Health, HealthMonitor, OperatorQueries},
    runtime::App,
    watch::Watch,
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    access::Access,
    call::{Admission, refuse, respond},
    connection::Lifecycle,
    console,
    middleware::{Middleware, RouteMiddleware},
    openapi,
    reports::CachedReport,
    watching::Watching,
};

/// How long the counts of players are cached.
const STATISTICS_TTL: Duration = Duration::from_secs(1);

/// The shortest time for which the list of gateways is cached.
const GATEWAYS_TTL: Duration = Duration::from_millis(500);

/// The handler of a call.
type Handler<F> = fn(Arc<PresenceService>, http::Request) -> F;

/// Components that the routes need beside the presence service.
pub(crate) struct Parts<'a> {
    pub(crate) app: &'a App,
    pub(crate) middleware: &'a Middleware,
    pub(crate) prometheus: PrometheusHandle,
    pub(crate) health: HealthMonitor,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) watching: Watch,
    /// Streams of watchers and of the console end when the sender is dropped.
    pub(crate) closing: watch::Receiver<()>,
}

/// Builds all routes. The presence service is their state, which each worker adds.
pub(crate) fn routes(parts: Parts<'_>) -> Router<Arc<PresenceService>> {
    let Parts {
        app,
        middleware,
        prometheus,
        health,
        lifecycle,
        watching,
        closing,
    } = parts;
    let admission = &Arc::new(Admission::new());
    // Heartbeats have bounds of their own: other calls must not crowd out those that keep leases
    // alive.
    let heartbeats = &Arc::new(Admission::new());
    let calls = Router::new()
        .merge(call(
            middleware,
            "/presence/connect",
            Access::Change,
            admission,
            connect::handle,
        ))
        .merge(call(
            middleware,
            "/presence/heartbeat",
            Access::Change,
            heartbeats,
            heartbeat::handle,
        ))
        .merge(call(
            middleware,
            "/presence/disconnect",
            Access::Change,
            admission,
            disconnect::handle,
        ))
        // Gateways share the bounds of heartbeats: an overload must not make them look dead.
        .merge(call(
            middleware,
            "/presence/gateway",
            Access::Change,
            heartbeats,
            gateway::handle,
        ))
        .merge(call(
            middleware,
            "/presence/state",
            Access::Change,
            admission,
            set_state::handle,
        ))
        .merge(call(
            middleware,
            "/presence/friends",
            Access::Read,
            admission,
            friends::handle,
        ))
        .merge(read(&middleware.calls("/presence/{player_id}"), admission));
    let statistics = CachedReport::new(app.operator_queries(), STATISTICS_TTL);
    let gateways = CachedReport::new(app.operator_queries(), GATEWAYS_TTL);
    let get_statistics = async move |_, _| {
        statistics
            .respond(async |operator_queries| operator_queries.statistics().await)
            .await
    };
    let get_gateways = async move |_, _| {
        let ttl_of = |operator_queries: &OperatorQueries, list: &Gateways| {
            operator_queries.gateways_ttl(list).max(GATEWAYS_TTL)
        };
        gateways
            .respond_for(ttl_of, async |operator_queries| {
                operator_queries.gateways().await
            })
            .await
    };
    // `/presence/` would be the path of a player without an id.
    let presence = middleware.calls("/presence");
    let metrics = middleware.calls("/metrics");
    let description = middleware.calls("/openapi.json");
    let operators = Router::new()
        .merge(presence.exactly_on(MethodFilter::GET, Access::Read, get_statistics))
        .merge(
            metrics.on(MethodFilter::GET, Access::Read, async move |_, _| {
                prometheus.render().into_response()
            }),
        )
        .merge(
            description.on(MethodFilter::GET, Access::Open, async |_, _| {
                openapi::describe()
            }),
        );
    let watching = Watching::new(watching, closing.clone());
    let open_watch = async move |request, _| watching.respond(request).await;
    calls
        .merge(operators)
        .merge(
            middleware
                .calls("/gateways")
                .on(MethodFilter::GET, Access::Read, get_gateways),
        )
        .merge(
            middleware
                .calls("/watch")
                .on(MethodFilter::GET, Access::Read, open_watch),
        )
        .merge(console::routes(app, middleware, closing))
        .merge(middleware.probes("/health/live").on(
            MethodFilter::GET,
            Access::Open,
            async |_, _| live(),
        ))
        .merge(middleware.probes("/health/ready").on(
            MethodFilter::GET,
            Access::Open,
            async move |_, _| respond(Ok(ready(&current(&health, &lifecycle).await))),
        ))
        .fallback(async |request| refuse(request, Problem::not_found()).await)
        .method_not_allowed_fallback(async |request| refuse(request, Problem::wrong_method()).await)
}

/// The health of the service. A server that is about to end is unavailable.
async fn current(health: &HealthMonitor, lifecycle: &Lifecycle) -> Health {
    let health = health.latest().await;
    if lifecycle.is_closing() {
        health.unavailable()
    } else {
        health
    }
}

/// Builds the routes of a call. A GET on its path, such as `/presence/friends`, reads the player
/// whose id is the last segment.
fn call<F>(
    middleware: &Middleware,
    path: &'static str,
    access: Access,
    admission: &Arc<Admission>,
    handler: Handler<F>,
) -> Router<Arc<PresenceService>>
where
    F: Future<Output = HandlerResult> + Send + 'static,
{
    let middleware = middleware.calls(path);
    read(&middleware, admission).merge(on(
        &middleware,
        MethodFilter::POST,
        access,
        admission,
        handler,
    ))
}

fn read(
    middleware: &Arc<RouteMiddleware>,
    admission: &Arc<Admission>,
) -> Router<Arc<PresenceService>> {
    on(
        middleware,
        MethodFilter::GET,
        Access::Read,
        admission,
        get_state::handle,
    )
}

fn on<F>(
    middleware: &Arc<RouteMiddleware>,
    method: MethodFilter,
    access: Access,
    admission: &Arc<Admission>,
    handler: Handler<F>,
) -> Router<Arc<PresenceService>>
where
    F: Future<Output = HandlerResult> + Send + 'static,
{
    let admission = Arc::clone(admission);
    middleware.on(method, access, async move |request, presence| {
        admission.run(request, presence, handler).await
    })
}

fn live() -> Response {
    respond(Ok(json(
        &json!({"status": "ok", "version": VERSION, "revision": REVISION}),
    )))
}
