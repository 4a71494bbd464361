//! Per-route middleware: access, metrics, tracing, timeout, panic recovery.
//!
//! One wrapper does all of these. Tower layers would cost each call two boxes per layer and some
//! moves of the request.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::StatusCode,
    response::Response,
    routing::{MethodRouter, get},
};
use futures_util::FutureExt as _;
use metrics::{Counter, Histogram};
use presence::{
    http::Problem,
    telemetry::{
        RequestSpan,
        metrics::{CALL_DURATION, CALLS, CALLS_REFUSED},
    },
};
use tokio::time::{Instant, timeout_at};
use tracing::Instrument as _;

use crate::{
    access::{Access, AccessPolicy},
    call::{refuse, respond},
    refusals::{Refusal, Refused},
};

/// Time limit for one request, a slow client's body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Only routes with this prefix are traced: not metrics, health or the console.
const TRACED_PREFIX: &str = "/presence/";

/// Builder of the middleware of routes.
pub(crate) struct Middleware {
    policy: AccessPolicy,
}

/// The middleware of one route.
///
/// It belongs to the route, not to the router: an unknown path is a 404, and a wrong method a 405,
/// for every caller.
pub(crate) struct RouteMiddleware {
    path: &'static str,
    policy: AccessPolicy,
    /// The metrics of the route. `None` for probes: their failures do not count as failed calls.
    metrics: Option<RouteMetrics>,
}

/// The metrics of a route's calls.
struct RouteMetrics {
    path: &'static str,
    /// Looked up once, by the first call: a lookup takes longer than counting.
    duration: OnceLock<Histogram>,
    succeeded: OnceLock<Counter>,
}

/// A handler behind its route's middleware.
#[derive(Clone)]
pub(crate) struct WithMiddleware<H> {
    middleware: Arc<RouteMiddleware>,
    access: Access,
    handler: H,
}

impl Middleware {
    pub(crate) fn new(policy: AccessPolicy) -> Self {
        Self { policy }
    }

    /// The middleware of calls at `path`.
    pub(crate) fn calls(&self, path: &'static str) -> Arc<RouteMiddleware> {
        self.route(path, Some(RouteMetrics::new(path)))
    }

    /// The middleware of probes at `path`.
    pub(crate) fn probes(&self, path: &'static str) -> Arc<RouteMiddleware> {
        self.route(path, None)
    }

    fn route(&self, path: &'static str, metrics: Option<RouteMetrics>) -> Arc<RouteMiddleware> {
        Arc::new(RouteMiddleware {
            path,
            policy: self.policy.clone(),
            metrics,
        })
    }
}

impl RouteMiddleware {
    /// Puts a handler of this route behind the middleware.
    pub(crate) fn wrap<H>(self: &Arc<Self>, access: Access, handler: H) -> WithMiddleware<H> {
        WithMiddleware {
            middleware: Arc::clone(self),
            access,
            handler,
        }
    }

    /// Builds the routes of a GET on this path, with and without a slash at its end.
    pub(crate) fn get<H, F, S>(self: &Arc<Self>, access: Access, handler: H) -> Router<S>
    where
        WithMiddleware<H>: Handler<F, S>,
        F: 'static,
        S: Clone + Send + Sync + 'static,
    {
        self.routes(get(self.wrap(access, handler)))
    }

    /// Builds the route of a GET on this exact path.
    pub(crate) fn get_exactly<H, F, S>(self: &Arc<Self>, access: Access, handler: H) -> Router<S>
    where
        WithMiddleware<H>: Handler<F, S>,
        F: 'static,
        S: Clone + Send + Sync + 'static,
    {
        self.exact_route(get(self.wrap(access, handler)))
    }

    /// Builds the routes of this path, with and without a slash at its end.
    pub(crate) fn routes<S>(&self, methods: MethodRouter<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        let with_slash = format!("{}/", self.path);
        self.exact_route(methods.clone())
            .route(&with_slash, methods)
    }

    /// Builds the route of this exact path.
    fn exact_route<S>(&self, methods: MethodRouter<S>) -> Router<S>
    where
        S: Clone + Send + Sync + 'static,
    {
        Router::new().route(self.path, methods)
    }

    /// Starts the span of a request, if its route is traced.
    fn trace(&self, request: &mut Request) -> RequestSpan {
        if !self.path.starts_with(TRACED_PREFIX) {
            return RequestSpan::none();
        }
        RequestSpan::start_for_route(self.path, request)
    }

    /// Counts a refusal, and builds its response.
    async fn refuse(&self, request: Request, refusal: Refusal) -> Response {
        let reason = refusal.reason();
        metrics::counter!(CALLS_REFUSED, "reason" => reason).increment(1);
        let mut response = refuse(request, refusal.into()).await;
        response.extensions_mut().insert(Refused {
            call: self.path,
            reason,
        });
        response
    }
}

impl RouteMetrics {
    fn new(path: &'static str) -> Self {
        Self {
            path,
            duration: OnceLock::new(),
            succeeded: OnceLock::new(),
        }
    }

    /// Counts a call by its route and status, and records its duration.
    fn record(&self, status: StatusCode, duration: Duration) {
        let find_counter = || metrics::counter!(CALLS, "call" => self.path, "status" => status.as_u16().to_string());
        match status {
            StatusCode::OK => self.succeeded.get_or_init(find_counter).increment(1),
            _ => find_counter().increment(1),
        }
        let find_histogram = || metrics::histogram!(CALL_DURATION, "call" => self.path);
        self.duration
            .get_or_init(find_histogram)
            .record(duration.as_secs_f64());
    }
}

impl<H, F, S> Handler<F, S> for WithMiddleware<H>
where
    H: FnOnce(Request, S) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response> + Send + 'static,
    S: Send + 'static,
{
    type Future = Pin<Box<dyn Future<Output = Response> + Send>>;

    fn call(self, mut request: Request, state: S) -> Self::Future {
        let start = Instant::now();
        let Self {
            middleware,
            access,
            handler,
        } = self;
        let span = middleware.trace(&mut request);
        Box::pin(async move {
            let checked = async {
                match middleware.policy.check(access, &request) {
                    Ok(()) => handler(request, state).await,
                    Err(refusal) => middleware.refuse(request, refusal).await,
                }
            };
            // Unwind safe: after a panic, nothing of the call is used again.
            let guarded = AssertUnwindSafe(checked.instrument(span.log_span())).catch_unwind();
            let response = match timeout_at(start + REQUEST_TIMEOUT, guarded).await {
                Ok(Ok(response)) => response,
                Ok(Err(_)) => respond(Err(Problem::internal())), // the panic itself is in the log
                Err(_) => respond(Err(Problem::timed_out(REQUEST_TIMEOUT))),
            };
            if let Some(metrics) = &middleware.metrics {
                metrics.record(response.status(), start.elapsed());
            }
            span.finish(response.status());
            response
        })
    }
}
