//! Spans: a request, a script, a publish, a pass of the sweep; named as OpenTelemetry's semantic conventions have it.

use http::{HeaderMap, HeaderValue, Method, StatusCode};
use opentelemetry::{
    Context, KeyValue,
    trace::{Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _},
};
use opentelemetry_sdk::trace::Span as SdkSpan;

use super::TraceContext;
use crate::telemetry::traces::{is_on, tracer};

/// Something that takes time, until this is dropped.
#[must_use = "a span ends when it is dropped"]
pub(crate) struct Span<'a> {
    parent: &'a TraceContext,
    own: Option<Own>,
}

/// A request, from its headers to its answer.
#[must_use = "a span ends when it is dropped"]
pub struct RequestSpan {
    span: Option<SdkSpan>,
}

/// A pass of the sweep: where a trace begins.
#[must_use = "a span ends when it is dropped"]
pub(crate) struct SweepSpan {
    own: Option<Own>,
}

struct Own {
    span: SdkSpan,
    context: TraceContext,
}

impl<'a> Span<'a> {
    /// A call of a script, for `entries` of its list.
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

    /// The publishing of `messages` of one trace to `subject`, up to JetStream's acknowledgement.
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

    fn child(parent: &'a TraceContext, kind: SpanKind, describe: impl FnOnce() -> (String, Vec<KeyValue>)) -> Self {
        let start = || {
            let (name, attributes) = describe();
            Own::start(name, kind, attributes, Some(parent))
        };
        Self { parent, own: is_on().then(start).flatten() }
    }

    /// What continues from here.
    pub(crate) fn context(&self) -> &TraceContext {
        self.own.as_ref().map_or(self.parent, |own| &own.context)
    }

    /// Notes a failure by its kind, and ends. The error's own words stay in the log: they may hold what spans do not
    /// record.
    pub(crate) fn end(mut self, error_type: Option<&'static str>) {
        if let (Some(own), Some(error_type)) = (&mut self.own, error_type) {
            own.span.set_attribute(KeyValue::new("error.type", error_type));
            own.span.set_status(Status::error(""));
        }
    }
}

impl SweepSpan {
    /// A pass that has something to do, and no caller.
    pub(crate) fn start() -> Self {
        Self { own: Own::start("sweep".to_owned(), SpanKind::Internal, Vec::new(), None) }
    }

    /// What the events of the pass continue.
    pub(crate) fn context(&self) -> TraceContext {
        self.own.as_ref().map_or_else(TraceContext::new_root, |own| own.context.clone())
    }

    /// Notes what was done, and ends.
    pub(crate) fn swept(self, expired: u64, refiled: u64) {
        let Some(mut own) = self.own else { return };
        own.span.set_attribute(KeyValue::new("presence.swept.expired", expired as i64));
        own.span.set_attribute(KeyValue::new("presence.swept.refiled", refiled as i64));
    }
}

impl RequestSpan {
    /// A request that traces do not tell of.
    pub fn none() -> Self {
        Self { span: None }
    }

    /// A request to `route`, a path with placeholders. It continues the caller's trace, and whatever reads the headers
    /// afterwards continues from it.
    pub fn of_route(method: &Method, route: &str, headers: &mut HeaderMap) -> Self {
        Self::start(headers, || {
            let attributes = vec![method_attribute(method), KeyValue::new("http.route", route.to_owned())];
            (format!("{} {route}", method_name(method)), attributes)
        })
    }

    /// The same where a function is what is known, and no route.
    pub fn of_function(method: &Method, function: &str, headers: &mut HeaderMap) -> Self {
        Self::start(headers, || {
            let attributes = vec![method_attribute(method), KeyValue::new("faas.trigger", "http")];
            (function.to_owned(), attributes)
        })
    }

    fn start(headers: &mut HeaderMap, describe: impl FnOnce() -> (String, Vec<KeyValue>)) -> Self {
        if !is_on() {
            return Self::none();
        }
        let (name, attributes) = describe();
        let parent = TraceContext::of_caller(headers);
        let Some(Own { span, context }) = Own::start(name, SpanKind::Server, attributes, parent.as_ref()) else {
            return Self::none();
        };
        if parent.is_none() {
            headers.remove("tracestate"); // of a trace that is not continued
        }
        if let Ok(traceparent) = HeaderValue::from_str(context.traceparent()) {
            headers.insert("traceparent", traceparent);
        }
        Self { span: Some(span) }
    }

    /// The log's span, by which a line of the log is found from the trace, and the trace from the line.
    pub fn of_log(&self) -> tracing::Span {
        match &self.span {
            Some(span) => tracing::info_span!("request", trace_id = %span.span_context().trace_id()),
            None => tracing::Span::none(),
        }
    }

    /// Notes the answer, and ends.
    pub fn answered(mut self, status: StatusCode) {
        let Some(span) = &mut self.span else { return };
        span.set_attribute(KeyValue::new("http.response.status_code", i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new("error.type", status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
    }
}

impl Own {
    fn start(name: String, kind: SpanKind, attributes: Vec<KeyValue>, parent: Option<&TraceContext>) -> Option<Self> {
        let tracer = tracer()?;
        let context = match parent.and_then(remote) {
            Some(parent) => Context::new().with_remote_span_context(parent),
            None => Context::new(),
        };
        let builder = SpanBuilder::from_name(name).with_kind(kind).with_attributes(attributes);
        let span = tracer.build_with_context(builder, &context);
        let context = of_span(span.span_context(), parent.map(TraceContext::tracestate).unwrap_or_default());
        Some(Self { span, context })
    }
}

/// A context as OpenTelemetry has it.
fn remote(context: &TraceContext) -> Option<SpanContext> {
    let mut fields = context.traceparent().split('-').skip(1);
    let (trace_id, span_id, flags) = (fields.next()?, fields.next()?, fields.next()?);
    let trace_id = u128::from_str_radix(trace_id, 16).ok()?.into();
    let span_id = u64::from_str_radix(span_id, 16).ok()?.into();
    let flags = opentelemetry::TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    Some(SpanContext::new(trace_id, span_id, flags, true, Default::default()))
}

fn of_span(span: &SpanContext, tracestate: &str) -> TraceContext {
    let flags = span.trace_flags().to_u8();
    let traceparent = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    TraceContext::from_parts(traceparent, tracestate.to_owned())
}

/// A caller may send any method; spans know those of RFC 9110, as metrics and names are to be few.
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
    KeyValue::new("http.request.method", if name == "HTTP" { "_OTHER" } else { name })
}
