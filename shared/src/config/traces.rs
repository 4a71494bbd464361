//! Traces, by OpenTelemetry's own variables. Those that are not here (headers, resource attributes, `OTEL_BSP_…`) are read
//! by its SDK.

use std::time::Duration;

use http::Uri;
use opentelemetry_sdk::trace::Sampler;

use super::variables::{Result, Variables};

/// Where spans go, and which.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`; or `OTEL_EXPORTER_OTLP_ENDPOINT`, with `/v1/traces` behind it.
    pub endpoint: Uri,
    /// `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT` or `OTEL_EXPORTER_OTLP_TIMEOUT` (`10000`, in milliseconds): one export.
    pub timeout: Duration,
    /// `OTEL_TRACES_SAMPLER` (`parentbased_always_on`) and `OTEL_TRACES_SAMPLER_ARG` (`1`).
    pub sampler: Sampler,
    /// `OTEL_SERVICE_NAME`, or the function's name, or `presence-server`; `None` where `OTEL_RESOURCE_ATTRIBUTES` has it.
    pub service_name: Option<String>,
}

impl TracesConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Option<Self>> {
        let is_disabled = variables.parse("OTEL_SDK_DISABLED", "false", "true or false", |text| {
            text.to_ascii_lowercase().parse::<bool>().ok()
        })?;
        let is_exported = variables.parse("OTEL_TRACES_EXPORTER", "otlp", "otlp or none", |text| match text {
            "otlp" => Some(true),
            "none" => Some(false),
            _ => None,
        })?;
        let Some(endpoint) = endpoint(variables)? else { return Ok(None) };
        for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
            variables.parse(name, "http/protobuf", "http/protobuf", |text| (text == "http/protobuf").then_some(()))?;
        }
        for name in ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_EXPORTER_OTLP_TRACES_COMPRESSION"] {
            variables.parse(name, "none", "none", |text| (text == "none").then_some(()))?;
        }
        let timeout = variables.number("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", 1..=3_600_000)?;
        let timeout = variables.number("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", &timeout.to_string(), 1..=3_600_000)?;
        let config = Self {
            endpoint,
            timeout: Duration::from_millis(timeout.into()),
            sampler: sampler(variables)?,
            service_name: service_name(variables),
        };
        Ok((is_exported && !is_disabled).then_some(config))
    }
}

fn endpoint(variables: &Variables<'_>) -> Result<Option<Uri>> {
    let accepts = "a URL: http://host:port or https://host:port";
    let url = |text: &str| {
        let uri: Uri = text.parse().ok()?;
        matches!(uri.scheme_str(), Some("http" | "https")).then_some(uri)
    };
    let of_traces = |text: &str| if text.is_empty() { Some(None) } else { url(text).map(Some) };
    let of_all = |text: &str| match text {
        "" => Some(None),
        _ => url(&format!("{}/v1/traces", text.trim_end_matches('/'))).map(Some),
    };
    let of_traces = variables.parse("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "", accepts, of_traces)?;
    let of_all = variables.parse("OTEL_EXPORTER_OTLP_ENDPOINT", "", accepts, of_all)?;
    Ok(of_traces.or(of_all))
}

fn sampler(variables: &Variables<'_>) -> Result<Sampler> {
    let ratio = variables.parse("OTEL_TRACES_SAMPLER_ARG", "1", "a ratio from 0 to 1, such as 0.01", |text| {
        text.parse::<f64>().ok().filter(|ratio| (0.0..=1.0).contains(ratio))
    })?;
    let accepts = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
                   parentbased_traceidratio";
    variables.parse("OTEL_TRACES_SAMPLER", "parentbased_always_on", accepts, |text| {
        let (is_parent_based, root) = match text.strip_prefix("parentbased_") {
            Some(root) => (true, root),
            None => (false, text),
        };
        let root = match root {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(ratio),
            _ => return None,
        };
        Some(if is_parent_based { Sampler::ParentBased(Box::new(root)) } else { root })
    })
}

fn service_name(variables: &Variables<'_>) -> Option<String> {
    if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
        return Some(name);
    }
    let attributes = variables.text("OTEL_RESOURCE_ATTRIBUTES").unwrap_or_default();
    let is_attribute = attributes.split(',').any(|attribute| attribute.trim_start().starts_with("service.name="));
    let of_function = || variables.text("AWS_LAMBDA_FUNCTION_NAME");
    (!is_attribute).then(|| of_function().unwrap_or_else(|| "presence-server".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, variables::table};

    fn config(variables: &[(&'static str, &str)]) -> std::result::Result<Option<TracesConfig>, ConfigError> {
        TracesConfig::from(&Variables(&table(variables)))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    #[test]
    fn without_an_endpoint_or_switched_off_there_are_no_traces() {
        assert!(config(&[]).unwrap().is_none());
        for (variable, value) in [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none")] {
            assert!(config(&[ENDPOINT, (variable, value)]).unwrap().is_none(), "{variable}");
        }
    }

    #[test]
    fn the_endpoint_of_all_signals_is_completed_and_that_of_traces_is_not() {
        let of_all = config(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(of_all.endpoint, "http://127.0.0.1:4318/v1/traces");
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://collector/custom");
        assert_eq!(config(&[ENDPOINT, of_traces]).unwrap().unwrap().endpoint, "https://collector/custom");
    }

    #[test]
    fn a_service_is_named_by_whoever_knows_best() {
        let name = |more: &[(&'static str, &str)]| config(&[&[ENDPOINT], more].concat()).unwrap().unwrap().service_name;
        let function = ("AWS_LAMBDA_FUNCTION_NAME", "connect");
        assert_eq!(name(&[]).as_deref(), Some("presence-server"));
        assert_eq!(name(&[function]).as_deref(), Some("connect"));
        assert_eq!(name(&[function, ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=eu")]), None);
        assert_eq!(name(&[function, ("OTEL_SERVICE_NAME", "eu")]).as_deref(), Some("eu"));
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "grpc://127.0.0.1:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_SDK_DISABLED", "yes"),
        ] {
            assert_eq!(config(&[(variable, value), ENDPOINT]).unwrap_err().variable, variable);
        }
    }
}
