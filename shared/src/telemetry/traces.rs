//! Export of spans to an OTLP receiver.

use std::{sync::OnceLock, time::Duration};

use opentelemetry::{KeyValue, trace::TracerProvider as _};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider},
};

use super::{collector::Collector, span};
use crate::config::TracesConfig;

/// The exporter. Set at the start of the program, if a receiver is configured.
static PROVIDER: OnceLock<SdkTracerProvider> = OnceLock::new();

/// Starts recording spans for the life of the process. It connects with the first export. Must be
/// called in a tokio runtime.
///
/// The SDK reads the process's environment as well. `config` overrides it, as values from secrets
/// are not in the environment.
///
/// # Errors
/// If the root certificates for an `https` endpoint are missing, or the SDK refuses its own
/// variables.
pub fn start(config: &TracesConfig) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let exporter = SpanExporter::builder()
        .with_http()
        .with_http_client(Collector::new(
            &config.endpoint,
            config.headers.clone(),
            config.timeout,
        )?)
        .with_endpoint(config.endpoint.to_string())
        .with_timeout(config.timeout)
        .build()?;
    let attributes = config
        .attributes
        .iter()
        .map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    let mut resource = Resource::builder()
        .with_attribute(KeyValue::new("service.version", crate::VERSION))
        .with_attributes(attributes);
    if let Some(name) = &config.service_name {
        resource = resource.with_service_name(name.clone());
    }
    let batch = BatchConfigBuilder::default()
        .with_scheduled_delay(config.batch.interval)
        .with_max_queue_size(config.batch.max_queue)
        .with_max_export_batch_size(config.batch.max_export);
    let processor = BatchSpanProcessor::builder(exporter)
        .with_batch_config(batch.build())
        .build();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_span_limits(config.limits)
        .with_sampler(config.sampler.clone())
        .with_resource(resource.build())
        .build();
    span::record_with(provider.tracer("presence"));
    let _ = PROVIDER.set(provider); // the first start of a process is the one that counts
    Ok(())
}

/// Sends all ended spans, and waits up to `timeout` for that. Call it before the process ends or is
/// frozen.
pub async fn flush(timeout: Duration) {
    let Some(provider) = PROVIDER.get() else {
        return;
    };
    // The SDK's wait blocks its thread; the requests themselves run in the runtime.
    let flushing = tokio::task::spawn_blocking(|| provider.force_flush());
    if tokio::time::timeout(timeout, flushing).await.is_err() {
        tracing::warn!(?timeout, "spans not exported in time");
    }
}
