//! Spans of requests, scripts, publishing and the sweep, named by OpenTelemetry's semantic
//! conventions.

use std::sync::OnceLock;

use http::{Method, Request, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    trace::{
        Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};

use super::TraceContext;

/// The tracer. Set at the start of the program, if spans are recorded.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

/// The span of an operation. It ends when it is dropped.
#[must_use = "a span ends when it is dropped"]
pub(crate) struct Span<'a> {
    parent: &'a TraceContext,
    active: Option<ActiveSpan>,
}

/// The span of a request, from its headers to its response.
#[must_use = "a span ends when it is dropped"]
pub struct RequestSpan {
    span: Option<SdkSpan>,
}

/// The span of a sweep's pass, which starts a trace.
#[must_use = "a span ends when it is dropped"]
pub(crate) struct SweepSpan {
    active: Option<ActiveSpan>,
}

/// A span that is recorded, and the context that its children continue.
struct ActiveSpan {
    span: SdkSpan,
    context: TraceContext,
}

/// Starts recording spans, for the life of the process.
pub(super) fn record_with(tracer: SdkTracer) {
    let _ = TRACER.set(tracer);
}

/// Whether spans are recorded.
pub(crate) fn is_on() -> bool {
    TRACER.get().is_some()
}

impl<'a> Span<'a> {
    /// Starts the span of a script call with `entries` in its list.
    pub(crate) fn script(parent: &'a TraceContext, script: &'static str, entries: usize) -> Self {
        Self::child(parent, SpanKind::Client, || {
            let mut attributes = vec![
                KeyValue::new("db.system.name", "redis"),
                KeyValue::new("db.operation.name", "EVALSHA"),
                KeyValue::new("db.stored_procedure.name", script),
            ];
            if entries > 1 {
                attributes.push(KeyValue::new("db.operation.batch.size", entries as i64));
            }
            (format!("EVALSHA {script}"), attributes)
        })
    }

    /// Starts the span of publishing `messages` of one trace to `subject`, up to JetStream's
    /// acknowledgment.
    pub(crate) fn publish(parent: &'a TraceContext, subject: &str, messages: usize) -> Self {
        Self::child(parent, SpanKind::Producer, || {
            let attributes = vec![
                KeyValue::new("messaging.system", "nats"),
                KeyValue::new("messaging.operation.type", "send"),
                KeyValue::new("messaging.operation.name", "publish"),
                KeyValue::new("messaging.destination.name", subject.to_owned()),
                KeyValue::new("messaging.batch.message_count", messages as i64),
            ];
            (format!("publish {subject}"), attributes)
        })
    }

    fn child(
        parent: &'a TraceContext,
        kind: SpanKind,
        describe: impl FnOnce() -> (String, Vec<KeyValue>),
    ) -> Self {
        let active = TRACER.get().map(|tracer| {
            let (name, attributes) = describe();
            ActiveSpan::start(tracer, name, kind, attributes, Some(parent))
        });
        Self { parent, active }
    }

    /// The context that children of the span continue.
    pub(crate) fn context(&self) -> &TraceContext {
        self.active
            .as_ref()
            .map_or(self.parent, |active| &active.context)
    }

    /// Ends the span, and records the kind of a failure. The error's message stays in the log: it
    /// may hold data that spans do not record.
    pub(crate) fn end(mut self, error_type: Option<&'static str>) {
        if let (Some(active), Some(error_type)) = (&mut self.active, error_type) {
            active
                .span
                .set_attribute(KeyValue::new("error.type", error_type));
            active.span.set_status(Status::error(""));
        }
    }
}

impl SweepSpan {
    /// Starts the span of a pass that has work to do. It has no caller, and so no parent.
    pub(crate) fn start() -> Self {
        let start = |tracer| {
            let name = "sweep".to_owned();
            ActiveSpan::start(tracer, name, SpanKind::Internal, Vec::new(), None)
        };
        Self {
            active: TRACER.get().map(start),
        }
    }

    /// The context that the events of the pass continue.
    pub(crate) fn context(&self) -> TraceContext {
        self.active
            .as_ref()
            .map_or_else(TraceContext::new_root, |active| active.context.clone())
    }

    /// Records the counts of the pass, and ends the span.
    pub(crate) fn finish(self, expired: u64, rescheduled: u64) {
        let Some(mut active) = self.active else {
            return;
        };
        active
            .span
            .set_attribute(KeyValue::new("presence.swept.expired", expired as i64));
        active.span.set_attribute(KeyValue::new(
            "presence.swept.rescheduled",
            rescheduled as i64,
        ));
    }
}

impl RequestSpan {
    /// A request that is not traced.
    pub fn none() -> Self {
        Self { span: None }
    }

    /// Starts the span of a request to `route`, a path with placeholders. It continues the caller's
    /// trace. Handlers continue the span: see [`TraceContext::of_request`].
    pub fn start_for_route<B>(route: &str, request: &mut Request<B>) -> Self {
        Self::start(request, |method| {
            let attributes = vec![
                method_attribute(method),
                KeyValue::new("http.route", route.to_owned()),
            ];
            (format!("{} {route}", method_name(method)), attributes)
        })
    }

    /// Starts the span of a request to an AWS Lambda function, whose route is not known. It
    /// continues the caller's trace. Handlers continue the span: see [`TraceContext::of_request`].
    pub fn start_for_function<B>(function: &str, request: &mut Request<B>) -> Self {
        Self::start(request, |method| {
            let attributes = vec![
                method_attribute(method),
                KeyValue::new("faas.trigger", "http"),
            ];
            (function.to_owned(), attributes)
        })
    }

    fn start<B>(
        request: &mut Request<B>,
        describe: impl FnOnce(&Method) -> (String, Vec<KeyValue>),
    ) -> Self {
        let Some(tracer) = TRACER.get() else {
            return Self::none();
        };
        let (name, attributes) = describe(request.method());
        let parent = TraceContext::extract(request.headers());
        let ActiveSpan { span, context } =
            ActiveSpan::start(tracer, name, SpanKind::Server, attributes, parent.as_ref());
        request.extensions_mut().insert(context);
        Self { span: Some(span) }
    }

    /// The log's span of the request. It adds the trace id to each line, which links log and trace.
    pub fn log_span(&self) -> tracing::Span {
        match &self.span {
            Some(span) => {
                tracing::info_span!("request", trace_id = %span.span_context().trace_id())
            }
            None => tracing::Span::none(),
        }
    }

    /// Records the status of the response, and ends the span.
    pub fn finish(mut self, status: StatusCode) {
        let Some(span) = &mut self.span else { return };
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status.as_u16()),
        ));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
    }
}

impl ActiveSpan {
    fn start(
        tracer: &SdkTracer,
        name: String,
        kind: SpanKind,
        attributes: Vec<KeyValue>,
        parent: Option<&TraceContext>,
    ) -> Self {
        let parent_context = match parent.and_then(to_otel) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_attributes(attributes);
        let span = tracer.build_with_context(builder, &parent_context);
        let context = from_otel(
            span.span_context(),
            parent.map(TraceContext::tracestate).unwrap_or_default(),
        );
        Self { span, context }
    }
}

/// Converts a context to OpenTelemetry's type.
fn to_otel(context: &TraceContext) -> Option<SpanContext> {
    // The fields after the version: trace id, span id, flags.
    let mut fields = context.traceparent().split('-').skip(1);
    let trace_id = u128::from_str_radix(fields.next()?, 16).ok()?.into();
    let span_id = u64::from_str_radix(fields.next()?, 16).ok()?.into();
    let flags = opentelemetry::TraceFlags::new(u8::from_str_radix(fields.next()?, 16).ok()?);
    Some(SpanContext::new(
        trace_id,
        span_id,
        flags,
        true,
        Default::default(),
    ))
}

/// Converts OpenTelemetry's context of a span, with its parent's `tracestate`.
fn from_otel(span: &SpanContext, tracestate: &str) -> TraceContext {
    let flags = span.trace_flags().to_u8();
    let traceparent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    TraceContext::from_parts(traceparent, tracestate.to_owned())
}

/// The method in a span's name. Methods beyond those of RFC 9110 are grouped, so that the number of
/// names is bounded.
fn method_name(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "PATCH" => "PATCH",
        "OPTIONS" => "OPTIONS",
        _ => "HTTP",
    }
}

fn method_attribute(method: &Method) -> KeyValue {
    let name = method_name(method);
    KeyValue::new(
        "http.request.method",
        if name == "HTTP" { "_OTHER" } else { name },
    )
}
