//! What every call passes: it is counted, timed and traced, ended where it takes too long, and answered also where its
//! handler panics.
//!
//! One layer for all of these, and none that has nothing to do: each costs every call a box and a move of the request.

use std::{
    convert::Infallible,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{extract::Request, middleware::from_fn_with_state, response::Response, routing::MethodRouter};
use futures_util::FutureExt as _;
use presence::{config::Secret, http::Problem, trace::RequestSpan};
use tokio::time::timeout;
use tower::{Layer, Service};
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

/// A route behind its gate.
#[derive(Clone)]
struct Gated<S> {
    gate: Gate,
    route: S,
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
        route.route_layer(gate)
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

impl<S> Layer<S> for Gate {
    type Service = Gated<S>;

    fn layer(&self, route: S) -> Gated<S> {
        Gated { gate: self.clone(), route }
    }
}

impl<S> Service<Request> for Gated<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.route.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let start = Instant::now();
        let span = self.gate.trace(&mut request);
        let answering = self.route.call(request).instrument(span.of_log());
        let measure = Arc::clone(&self.gate.measure);
        Box::pin(async move {
            let response = match timeout(REQUEST_LIMIT, AssertUnwindSafe(answering).catch_unwind()).await {
                Ok(Ok(answered)) => answered?,
                Ok(Err(_)) => respond(Err(Problem::internal())), // the panic itself is in the log
                Err(_) => respond(Err(Problem::timed_out(REQUEST_LIMIT))),
            };
            measure.note(response.status(), start.elapsed());
            span.answered(response.status());
            Ok(response)
        })
    }
}
