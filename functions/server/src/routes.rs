//! Paths, and what answers them. Checks come in the order 404, 405, 401, 413, 415, 400.

use std::sync::Arc;

use axum::{
    Router,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::{MethodFilter, get},
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
    gate::{Gate, Gates},
    load::Load,
    openapi,
    statistics::Counts,
};

/// What answers a call.
type Handler<F> = fn(Arc<PresenceService>, http::Request) -> F;

/// All routes; what serves the calls of players is left open. Streams of the console end when the sender of `closing` is
/// gone.
pub(crate) fn routes(
    app: &App,
    gates: &Gates,
    prometheus: PrometheusHandle,
    closing: watch::Receiver<()>,
) -> Router<Arc<PresenceService>> {
    let load = &Arc::new(Load::new());
    let calls = Router::new()
        .merge(call(&gates.private("/presence/connect"), load, connect::handle))
        .merge(call(&gates.private("/presence/heartbeat"), load, heartbeat::handle))
        .merge(call(&gates.private("/presence/disconnect"), load, disconnect::handle))
        .merge(call(&gates.private("/presence/state"), load, set_state::handle))
        .merge(call(&gates.private("/presence/friends"), load, friends::handle))
        .merge(read(&gates.private("/presence/{player_id}"), load));
    let counts = Counts::new(app.insight());
    let operators = Router::new()
        .merge(gates.private("/presence").on(MethodFilter::GET, async move |_, _| counts.answer().await))
        .merge(gates.private("/metrics").on(MethodFilter::GET, async move |_, _| prometheus.render().into_response()))
        .merge(gates.private("/openapi.json").on(MethodFilter::GET, async |_, _| openapi::describe()));
    let probe = app.health_probe();
    calls
        .merge(operators)
        .merge(console::routes(app, gates, closing))
        .route("/health/live", get(live))
        .route("/health/ready", get(async move || respond(Ok(ready(&probe.check().await)))))
        .fallback(async |request| refuse(request, Problem::not_found()).await)
        .method_not_allowed_fallback(async |request| refuse(request, Problem::wrong_method()).await)
}

/// A call's route. A GET on it reads the player of that name.
fn call<F>(gate: &Arc<Gate>, load: &Arc<Load>, handler: Handler<F>) -> Router<Arc<PresenceService>>
where
    F: Future<Output = Answer> + Send + 'static,
{
    read(gate, load).merge(on(MethodFilter::POST, gate, load, handler))
}

fn read(gate: &Arc<Gate>, load: &Arc<Load>) -> Router<Arc<PresenceService>> {
    on(MethodFilter::GET, gate, load, get_state::handle)
}

fn on<F>(method: MethodFilter, gate: &Arc<Gate>, load: &Arc<Load>, handler: Handler<F>) -> Router<Arc<PresenceService>>
where
    F: Future<Output = Answer> + Send + 'static,
{
    let load = Arc::clone(load);
    gate.on(method, async move |request, presence| answer(request, presence, handler, &load).await)
}

/// Runs a handler on a request with its whole body, where there is room for both.
async fn answer<F>(request: Request, presence: Arc<PresenceService>, handler: Handler<F>, load: &Load) -> Response
where
    F: Future<Output = Answer>,
{
    let answer = async {
        let (request, _room) = with_body(request, load).await?;
        let _call = load.begin()?;
        handler(presence, request).await
    };
    respond(answer.await)
}

async fn live() -> Response {
    respond(Ok(json(&json!({"status": "ok", "version": VERSION, "revision": REVISION}))))
}
