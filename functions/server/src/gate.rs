//! What every call passes: it is counted, timed and traced, ended where it takes too long, and answered also where its
//! handler panics.
//!
//! One layer for all of these, and none that has nothing to do: each costs every call a box and a move of the request.

use std::{
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    extract::{Request, State},
    middleware::{Next, from_fn_with_state},
    response::Response,
    routing::MethodRouter,
};
use futures_util::FutureExt as _;
use presence::{config::Secret, http::Problem, trace::RequestSpan};
use tokio::time::timeout;
use tracing::Instrument as _;

use crate::{
    auth::{Tokens, authorize},
    body::respond,
    load::Load,
    measure::Measure,
};

/// How long one request may take, a slow client's body included.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What traces tell of; they do not of whoever scrapes metrics or looks at the console.
const TRACED: &str = "/presence/";

/// Puts routes behind a gate of their own each.
///
/// On each route and not on the router: a path that is not there is a 404, and a wrong method a 405, for anybody.
#[derive(Clone)]
pub(crate) struct Gates {
    tokens: Tokens,
    /// How much is taken on by all of them.
    pub(crate) load: Load,
}

/// A route's gate.
#[derive(Clone)]
struct Gate {
    path: &'static str,
    measure: Arc<Measure>,
}

impl Gates {
    /// Gates that let those pass who have one of `tokens`; anybody where there are none.
    pub(crate) fn new(tokens: Vec<Secret>) -> Self {
        Self { tokens: tokens.into(), load: Load::new() }
    }

    /// The route of `path`, for those with a token.
    pub(crate) fn private<S: Clone + Send + Sync + 'static>(
        &self,
        path: &'static str,
        route: MethodRouter<S>,
    ) -> MethodRouter<S> {
        let route = match self.tokens.is_empty() {
            true => route,
            false => route.route_layer(from_fn_with_state(Arc::clone(&self.tokens), authorize)),
        };
        self.public(path, route)
    }

    /// The route of `path`, for anybody.
    pub(crate) fn public<S: Clone + Send + Sync + 'static>(
        &self,
        path: &'static str,
        route: MethodRouter<S>,
    ) -> MethodRouter<S> {
        let gate = Gate { path, measure: Arc::new(Measure::new(path)) };
        route.route_layer(from_fn_with_state(gate, pass))
    }
}

impl Gate {
    /// The span of a request, where traces are exported.
    fn trace(&self, request: &mut Request) -> RequestSpan {
        if !self.path.starts_with(TRACED) {
            return RequestSpan::none();
        }
        let method = request.method().clone();
        RequestSpan::of_route(&method, self.path, request.headers_mut())
    }
}

async fn pass(State(gate): State<Gate>, mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let span = gate.trace(&mut request);
    let answering = next.run(request).instrument(span.of_log());
    let response = match timeout(REQUEST_LIMIT, AssertUnwindSafe(answering).catch_unwind()).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => respond(Err(Problem::internal())), // the panic itself is in the log
        Err(_) => respond(Err(Problem::timed_out(REQUEST_LIMIT))),
    };
    gate.measure.note(response.status(), start.elapsed());
    span.answered(response.status());
    response
}
