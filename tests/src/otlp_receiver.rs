//! An OTLP receiver: takes spans over HTTP as a collector does, and decodes them with the
//! protocol's own definitions. <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use std::collections::BTreeMap;

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode},
    routing::post,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::status::StatusCode as SpanStatus,
};
use prost::Message as _;
use tokio::sync::watch;

use crate::serve;

/// A receiver on a free port.
#[derive(Debug)]
pub struct OtlpReceiver {
    url: String,
    spans: watch::Receiver<Vec<Span>>,
    headers: watch::Receiver<HeaderMap>,
}

#[derive(Clone)]
struct Received {
    spans: watch::Sender<Vec<Span>>,
    headers: watch::Sender<HeaderMap>,
}

/// A span, as it was received.
#[derive(Debug, Clone)]
pub struct Span {
    /// The name of the operation.
    pub name: String,
    /// `server`, `client`, `producer` or `internal`.
    pub kind: String,
    /// In hexadecimal digits, as in a `traceparent`.
    pub trace_id: String,
    /// In hexadecimal digits, as in a `traceparent`.
    pub span_id: String,
    /// The parent's `span_id`; empty for the beginning of a trace.
    pub parent_id: String,
    /// Whether it failed.
    pub is_error: bool,
    /// Its attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Those of the program.
    pub resource: BTreeMap<String, String>,
}

impl OtlpReceiver {
    /// Starts a receiver.
    pub async fn start() -> Self {
        let received = Received {
            spans: watch::Sender::default(),
            headers: watch::Sender::default(),
        };
        let spans = received.spans.subscribe();
        let headers = received.headers.subscribe();
        let routes = Router::new()
            .route("/v1/traces", post(export))
            .with_state(received);
        Self {
            url: serve(routes).await,
            spans,
            headers,
        }
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` is set to.
    pub fn url(&self) -> String {
        self.url.clone()
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.spans.borrow().clone()
    }

    /// The headers of the latest export.
    pub fn headers(&self) -> HeaderMap {
        self.headers.borrow().clone()
    }

    /// Waits until a span of this name has come; the test's own time limit is the only one.
    pub async fn await_span(&self, name: &str) -> Span {
        let mut receiver = self.spans.clone();
        let spans = receiver
            .wait_for(|spans| spans.iter().any(|span| span.name == name))
            .await
            .expect("a receiver");
        spans
            .iter()
            .find(|span| span.name == name)
            .cloned()
            .expect("a span")
    }
}

impl Span {
    /// The `traceparent` by which others continue it.
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace_id, self.span_id)
    }
}

async fn export(
    State(received): State<Received>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    let new = request.resource_spans.into_iter().flat_map(|of_program| {
        let resource = texts(
            of_program
                .resource
                .map(|resource| resource.attributes)
                .unwrap_or_default(),
        );
        let of_scopes = of_program
            .scope_spans
            .into_iter()
            .flat_map(|scope| scope.spans);
        of_scopes.map(move |span| Span {
            kind: span
                .kind()
                .as_str_name()
                .trim_start_matches("SPAN_KIND_")
                .to_lowercase(),
            trace_id: hex(&span.trace_id),
            span_id: hex(&span.span_id),
            parent_id: hex(&span.parent_span_id),
            is_error: span
                .status
                .is_some_and(|status| status.code() == SpanStatus::Error),
            attributes: texts(span.attributes),
            resource: resource.clone(),
            name: span.name,
        })
    });
    let new: Vec<_> = new.collect();
    received.headers.send_replace(headers);
    received.spans.send_modify(|spans| spans.extend(new));
    (
        StatusCode::OK,
        ExportTraceServiceResponse::default().encode_to_vec(),
    )
}

fn hex(id: &[u8]) -> String {
    id.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let to_text = |attribute: KeyValue| match attribute.value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => (attribute.key, text),
        Some(Value::IntValue(number)) => (attribute.key, number.to_string()),
        other => (attribute.key, format!("{other:?}")),
    };
    attributes.into_iter().map(to_text).collect()
}
