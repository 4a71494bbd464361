//! Routes: paths, and the handlers behind them. The checks are made in the order 404, 405, 401,
//! 403, 413, 415, 400.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, MethodRouter, on},
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
    access::Access::{self, Change, Open, Read},
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

/// The routes of calls about players.
struct Calls<'a> {
    middleware: &'a Middleware,
    router: Router<Arc<PresenceService>>,
}

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
    // Heartbeats have bounds of their own: other calls must not crowd out those that keep leases
    // alive.
    let heartbeats = &Arc::new(Admission::new());
    let others = &Arc::new(Admission::new());
    let calls = Calls::new(middleware)
        .post("/presence/connect", Change, others, connect::handle)
        .post("/presence/heartbeat", Change, heartbeats, heartbeat::handle)
        .post("/presence/disconnect", Change, others, disconnect::handle)
        // Gateways share the bounds of heartbeats: an overload must not make them look dead.
        .post("/presence/gateway", Change, heartbeats, gateway::handle)
        .post("/presence/state", Change, others, set_state::handle)
        .post("/presence/friends", Read, others, friends::handle);
    let player = middleware.calls("/presence/{player_id}");
    let get_player = read(&player, others);
    let statistics = CachedReport::new(app.operator_queries(), STATISTICS_TTL);
    let gateway_list = CachedReport::new(app.operator_queries(), GATEWAYS_TTL);
    let get_statistics = async move |_, _| {
        statistics
            .respond(async |operator_queries| operator_queries.statistics().await)
            .await
    };
    let get_gateways = async move |_, _| {
        let get_ttl = |operator_queries: &OperatorQueries, list: &Gateways| {
            operator_queries.gateways_ttl(list).max(GATEWAYS_TTL)
        };
        gateway_list
            .respond_for(get_ttl, async |operator_queries| {
                operator_queries.gateways().await
            })
            .await
    };
    let get_metrics = async move |_, _| prometheus.render().into_response();
    let describe = async |_, _| openapi::describe();
    let watching = Watching::new(watching, closing.clone());
    let open_watch = async move |request, _| watching.respond(request).await;
    let get_live = async |_, _| live();
    let get_ready = async move |_, _| respond(Ok(ready(&current(&health, &lifecycle).await)));
    let presence = middleware.calls("/presence");
    let gateways = middleware.calls("/gateways");
    let metrics = middleware.calls("/metrics");
    let description = middleware.calls("/openapi.json");
    let watch = middleware.calls("/watch");
    let liveness = middleware.probes("/health/live");
    let readiness = middleware.probes("/health/ready");
    calls
        .router
        .merge(player.routes(get_player))
        // `/presence/` would be the path of a player without an id.
        .merge(presence.get_exactly(Read, get_statistics))
        .merge(gateways.get(Read, get_gateways))
        .merge(metrics.get(Read, get_metrics))
        .merge(description.get(Open, describe))
        .merge(watch.get(Read, open_watch))
        .merge(console::routes(app, middleware, closing))
        .merge(liveness.get(Open, get_live))
        .merge(readiness.get(Open, get_ready))
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

impl<'a> Calls<'a> {
    fn new(middleware: &'a Middleware) -> Self {
        Self {
            middleware,
            router: Router::new(),
        }
    }

    /// Adds the routes of a call. A GET on its path, such as `/presence/friends`, reads the player
    /// whose id is the last segment.
    fn post<F>(
        mut self,
        path: &'static str,
        access: Access,
        admission: &Arc<Admission>,
        handler: Handler<F>,
    ) -> Self
    where
        F: Future<Output = HandlerResult> + Send + 'static,
    {
        let route = self.middleware.calls(path);
        let post = admitted(&route, MethodFilter::POST, access, admission, handler);
        let methods = read(&route, admission).merge(post);
        self.router = self.router.merge(route.routes(methods));
        self
    }
}

/// The handler of a GET that reads a player.
fn read(
    route: &Arc<RouteMiddleware>,
    admission: &Arc<Admission>,
) -> MethodRouter<Arc<PresenceService>> {
    let handler = get_state::handle;
    admitted(route, MethodFilter::GET, Read, admission, handler)
}

/// The handler of a call for one method, within the bounds of `admission`.
fn admitted<F>(
    route: &Arc<RouteMiddleware>,
    method: MethodFilter,
    access: Access,
    admission: &Arc<Admission>,
    handler: Handler<F>,
) -> MethodRouter<Arc<PresenceService>>
where
    F: Future<Output = HandlerResult> + Send + 'static,
{
    let admission = Arc::clone(admission);
    let run = async move |request, presence| admission.run(request, presence, handler).await;
    on(method, route.wrap(access, run))
}

fn live() -> Response {
    respond(Ok(json(
        &json!({"status": "ok", "version": VERSION, "revision": REVISION}),
    )))
}
