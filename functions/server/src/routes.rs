//! Paths, and what answers them. Checks come in the order 404, 405, 401, 413, 415, 400.

use std::{pin::Pin, sync::Arc};

use axum::{
    Router,
    extract::{Request, State},
    response::Response,
    routing::get,
};
use metrics_exporter_prometheus::PrometheusHandle;
use presence::{
    PresenceService, REVISION, VERSION,
    http::{self, Answer, Problem, json, ready},
    runtime::App,
};
use serde_json::json;
use tokio::sync::watch;

use crate::{
    body::{refuse, respond, with_body},
    console,
    gate::Gates,
    load::Load,
    openapi,
    statistics::Counts,
};

type Shared = State<Arc<PresenceService>>;
type Answering = Pin<Box<dyn Future<Output = Response> + Send>>;

/// All routes; what serves the calls of players is left open. Streams of the console end when the sender of `closing` is
/// gone.
pub(crate) fn routes(
    app: &App,
    gates: &Gates,
    prometheus: PrometheusHandle,
    closing: watch::Receiver<()>,
) -> Router<Arc<PresenceService>> {
    // GET on the path of a call reads the player of that name.
    let load = &gates.load;
    let player = || get(call(get_state::handle, load));
    let calls = [
        ("/presence/connect", player().post(call(connect::handle, load))),
        ("/presence/heartbeat", player().post(call(heartbeat::handle, load))),
        ("/presence/disconnect", player().post(call(disconnect::handle, load))),
        ("/presence/state", player().post(call(set_state::handle, load))),
        ("/presence/friends", player().post(call(friends::handle, load))),
        ("/presence/{player_id}", player()),
    ];
    let counts = Counts::new(app.insight());
    let operators = [
        ("/presence", get(async move || counts.answer().await)),
        ("/metrics", get(async move || prometheus.render())),
        ("/openapi.json", get(openapi::describe)),
    ];
    let routes = calls.into_iter().chain(operators);
    let routes = routes.fold(Router::new(), |routes, (path, route)| routes.route(path, gates.private(path, route)));
    let probe = app.health_probe();
    routes
        .merge(console::routes(app, gates, closing))
        .route("/health/live", get(live))
        .route("/health/ready", get(async move || respond(Ok(ready(&probe.check().await)))))
        .fallback(async |request| refuse(request, Problem::not_found()).await)
        .method_not_allowed_fallback(async |request| refuse(request, Problem::wrong_method()).await)
}

/// Runs a handler on a request with its whole body, where there is room for both.
fn call<F>(
    handler: fn(Arc<PresenceService>, http::Request) -> F,
    load: &Load,
) -> impl Fn(Shared, Request) -> Answering + Clone + Send + Sync + 'static
where
    F: Future<Output = Answer> + Send + 'static,
{
    let load = load.clone();
    move |State(presence), request| {
        let load = load.clone();
        Box::pin(async move {
            let answer = async {
                let (request, _room) = with_body(request, &load).await?;
                let _call = load.begin()?;
                handler(presence, request).await
            };
            respond(answer.await)
        })
    }
}

async fn live() -> Response {
    respond(Ok(json(&json!({"status": "ok", "version": VERSION, "revision": REVISION}))))
}
