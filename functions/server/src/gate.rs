//! What every call passes: it is asked for a token, counted, timed and traced, ended where it takes too long, and answered
//! also where its handler panics.
//!
//! One handler around the other for all of these, and no layers: each layer costs every call two boxes and some moves of
//! the request.

use std::{panic::AssertUnwindSafe, pin::Pin, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    response::Response,
    routing::{MethodFilter, on},
};
use futures_util::FutureExt as _;
use presence::{config::Secret, http::Problem, trace::RequestSpan};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::{
    auth::{Tokens, authorize},
    body::{refuse, respond},
    measure::Measure,
};

/// How long one request may take, a slow client's body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What traces tell of; they do not of whoever scrapes metrics or looks at the console.
const TRACED: &str = "/presence/";

/// Makes the gates of routes.
pub(crate) struct Gates {
    tokens: Tokens,
}

/// A route's gate.
///
/// Of each route and not of the router: a path that is not there is a 404, and a wrong method a 405, for anybody.
pub(crate) struct Gate {
    path: &'static str,
    /// Who may pass; anybody where there are none.
    tokens: Tokens,
    measure: Measure,
}

/// A handler behind its route's gate.
#[derive(Clone)]
struct Gated<H> {
    gate: Arc<Gate>,
    handler: H,
}

impl Gates {
    /// Gates that let those pass who have one of `tokens`; anybody where there are none.
    pub(crate) fn new(tokens: Vec<Secret>) -> Self {
        Self { tokens: tokens.into() }
    }

    /// The gate of `path`, for those with a token.
    pub(crate) fn private(&self, path: &'static str) -> Arc<Gate> {
        Arc::new(Gate { path, tokens: Arc::clone(&self.tokens), measure: Measure::new(path) })
    }

    /// The gate of `path`, for anybody.
    pub(crate) fn public(&self, path: &'static str) -> Arc<Gate> {
        Arc::new(Gate { path, tokens: Arc::default(), measure: Measure::new(path) })
    }
}

impl Gate {
    /// The route of this gate's path on which `handler` answers a method.
    pub(crate) fn on<H, F, S>(self: &Arc<Self>, method: MethodFilter, handler: H) -> Router<S>
    where
        H: FnOnce(Request, S) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
        S: Clone + Send + Sync + 'static,
    {
        Router::new().route(self.path, on(method, Gated { gate: Arc::clone(self), handler }))
    }

    /// The span of a request, where traces are exported.
    fn trace(&self, request: &mut Request) -> RequestSpan {
        if !self.path.starts_with(TRACED) {
            return RequestSpan::none();
        }
        let method = request.method().clone();
        RequestSpan::of_route(&method, self.path, request.headers_mut())
    }
}

impl<H, F, S> Handler<F, S> for Gated<H>
where
    H: FnOnce(Request, S) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
    S: Send + 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, state: S) -> Self::Future {
        let start = Instant::now();
        let Self { gate, handler } = self;
        let span = gate.trace(&mut request);
        Box::pin(async move {
            let answering = async {
                match authorize(&gate.tokens, request.headers()) {
                    Ok(()) => handler(request, state).await,
                    Err(problem) => refuse(request, problem).await,
                }
            };
            let answering = AssertUnwindSafe(answering.instrument(span.of_log())).catch_unwind();
            let response = match timeout_at(start + REQUEST_LIMIT, answering).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => respond(Err(Problem::internal())), // the panic itself is in the log
                Err(_) => respond(Err(Problem::timed_out(REQUEST_LIMIT))),
            };
            gate.measure.note(response.status(), start.elapsed());
            span.answered(response.status());
            response
        })
    }
}
