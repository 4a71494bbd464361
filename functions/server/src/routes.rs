//! Paths, and what answers them. Checks come in the order 404, 405, 401, 413, 415, 400.

use std::{pin::Pin, sync::Arc};

use axum::{Router, extract::Request, handler::Handler, response::Response, routing::get};
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

/// A handler of calls, on a request with its whole body, where there is room for both.
#[derive(Clone)]
struct Call<H> {
    handler: H,
    load: Load,
}

/// All routes; what serves the calls of players is left open. Streams of the console end when the sender of `closing` is
/// gone.
pub(crate) fn routes(
    app: &App,
    gates: &Gates,
    prometheus: PrometheusHandle,
    closing: watch::Receiver<()>,
) -> Router<Arc<PresenceService>> {
    let load = &gates.load;
    let calls = Router::new()
        .merge(call(&gates.private("/presence/connect"), load, connect::handle))
        .merge(call(&gates.private("/presence/heartbeat"), load, heartbeat::handle))
        .merge(call(&gates.private("/presence/disconnect"), load, disconnect::handle))
        .merge(call(&gates.private("/presence/state"), load, set_state::handle))
        .merge(call(&gates.private("/presence/friends"), load, friends::handle))
        .merge(read(&gates.private("/presence/{player_id}"), load));
    let counts = Counts::new(app.insight());
    let operators = Router::new()
        .merge(gates.private("/presence").get(async move || counts.answer().await))
        .merge(gates.private("/metrics").get(async move || prometheus.render()))
        .merge(gates.private("/openapi.json").get(openapi::describe));
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
fn call<H, F>(gate: &Gate, load: &Load, handler: H) -> Router<Arc<PresenceService>>
where
    Call<H>: Handler<F, Arc<PresenceService>>,
    F: 'static,
{
    read(gate, load).merge(gate.post(Call { handler, load: load.clone() }))
}

fn read(gate: &Gate, load: &Load) -> Router<Arc<PresenceService>> {
    gate.get(Call { handler: get_state::handle, load: load.clone() })
}

impl<H, F> Handler<F, Arc<PresenceService>> for Call<H>
where
    H: Fn(Arc<PresenceService>, http::Request) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Answer> + Send + 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, request: Request, presence: Arc<PresenceService>) -> Self::Future {
        Box::pin(async move {
            let answer = async {
                let (request, _room) = with_body(request, &self.load).await?;
                let _call = self.load.begin()?;
                (self.handler)(presence, request).await
            };
            respond(answer.await)
        })
    }
}

async fn live() -> Response {
    respond(Ok(json(&json!({"status": "ok", "version": VERSION, "revision": REVISION}))))
}
