//! Configuration of traces, by OpenTelemetry's standard variables.

use std::time::Duration;

use http::{HeaderMap, Uri};
use opentelemetry_sdk::trace::{Sampler, SpanLimits};

use super::variables::{ConfigError, Result, Variables, whole_number};

/// A day in milliseconds: the longest interval or time limit.
const DAY_MS: u32 = 86_400_000;

/// Configuration of the export of spans.
#[derive(Debug, Clone)]
pub struct TracesConfig {
    /// `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, or `OTEL_EXPORTER_OTLP_ENDPOINT` with `/v1/traces`
    /// appended.
    pub endpoint: Uri,
    /// `OTEL_EXPORTER_OTLP_TRACES_HEADERS` or `OTEL_EXPORTER_OTLP_HEADERS`: headers that the
    /// receiver requires, such as an API key.
    pub headers: HeaderMap,
    /// `OTEL_EXPORTER_OTLP_TRACES_TIMEOUT` or `OTEL_EXPORTER_OTLP_TIMEOUT` (`10000`, in
    /// milliseconds): time limit of one export. `OTEL_BSP_EXPORT_TIMEOUT` (`30000`) bounds it, too.
    pub timeout: Duration,
    /// Interval and bounds of the queue of spans.
    pub batch: SpanBatchConfig,
    /// `OTEL_TRACES_SAMPLER` (`parentbased_always_on`) and `OTEL_TRACES_SAMPLER_ARG` (`1`).
    pub sampler: Sampler,
    /// `OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT` and its siblings (`128` each).
    pub limits: SpanLimits,
    /// `OTEL_RESOURCE_ATTRIBUTES`: attributes of the process.
    pub attributes: Vec<(String, String)>,
    /// `OTEL_SERVICE_NAME`, or the function's name, or `presence-server`; `None` if
    /// `OTEL_RESOURCE_ATTRIBUTES` has it.
    pub service_name: Option<String>,
}

/// Configuration of the queue in which spans wait for their export.
#[derive(Debug, Clone, Copy)]
pub struct SpanBatchConfig {
    /// `OTEL_BSP_SCHEDULE_DELAY` (`5000`, in milliseconds): how often spans are exported.
    pub interval: Duration,
    /// `OTEL_BSP_MAX_QUEUE_SIZE` (`2048`): spans that wait.
    pub max_queue: usize,
    /// `OTEL_BSP_MAX_EXPORT_BATCH_SIZE` (`512`): spans per export. Not more than can wait.
    pub max_export: usize,
}

impl TracesConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Option<Self>> {
        variables.refuse_unsupported()?;
        let is_disabled =
            variables.parse("OTEL_SDK_DISABLED", "false", "true or false", |text| {
                text.to_ascii_lowercase().parse::<bool>().ok()
            })?;
        let is_exported = variables.parse(
            "OTEL_TRACES_EXPORTER",
            "otlp",
            "otlp or none",
            |text| match text {
                "otlp" => Some(true),
                "none" => Some(false),
                _ => None,
            },
        )?;
        for (variable, value) in [
            ("OTEL_PROPAGATORS", "tracecontext"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "none"),
            ("OTEL_EXPORTER_OTLP_TRACES_COMPRESSION", "none"),
        ] {
            variables.only(variable, value)?;
        }
        // All variables are read even if traces are off, so that an invalid value is always
        // reported.
        let endpoint = endpoint(variables)?;
        let attributes = variables.attributes("OTEL_RESOURCE_ATTRIBUTES")?;
        let config = Self {
            endpoint: endpoint.clone().unwrap_or_default(),
            headers: headers(variables)?,
            timeout: export_timeout(variables)?,
            batch: SpanBatchConfig::from(variables)?,
            sampler: sampler(variables)?,
            limits: limits(variables)?,
            service_name: service_name(variables, &attributes),
            attributes,
        };
        Ok((endpoint.is_some() && is_exported && !is_disabled).then_some(config))
    }
}

impl SpanBatchConfig {
    fn from(variables: &Variables<'_>) -> Result<Self> {
        let interval = variables.number("OTEL_BSP_SCHEDULE_DELAY", "5000", 1..=DAY_MS)?;
        let max_queue = variables.number("OTEL_BSP_MAX_QUEUE_SIZE", "2048", 1..=1_000_000)?;
        let default = max_queue.min(512).to_string();
        let accepts = "a whole number from 1 to OTEL_BSP_MAX_QUEUE_SIZE";
        let max_export = variables.parse(
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
            &default,
            accepts,
            |text| whole_number::<u32>(text).filter(|number| (1..=max_queue).contains(number)),
        )?;
        Ok(Self {
            interval: Duration::from_millis(interval.into()),
            max_queue: max_queue as usize,
            max_export: max_export as usize,
        })
    }
}

fn headers(variables: &Variables<'_>) -> Result<HeaderMap> {
    let for_all = variables.headers("OTEL_EXPORTER_OTLP_HEADERS")?;
    let for_traces = variables.headers("OTEL_EXPORTER_OTLP_TRACES_HEADERS")?;
    Ok(for_traces.or(for_all).unwrap_or_default())
}

fn export_timeout(variables: &Variables<'_>) -> Result<Duration> {
    let for_all = variables.number("OTEL_EXPORTER_OTLP_TIMEOUT", "10000", 1..=DAY_MS)?;
    let for_traces = variables.number(
        "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
        &for_all.to_string(),
        1..=DAY_MS,
    )?;
    let of_batch = variables.number("OTEL_BSP_EXPORT_TIMEOUT", "30000", 1..=DAY_MS)?;
    Ok(Duration::from_millis(for_traces.min(of_batch).into()))
}

fn limits(variables: &Variables<'_>) -> Result<SpanLimits> {
    let read =
        |variable, default: u32| variables.number(variable, &default.to_string(), 0..=u32::MAX);
    // The general limit is the default of the specific ones.
    let attributes = read("OTEL_ATTRIBUTE_COUNT_LIMIT", 128)?;
    Ok(SpanLimits {
        max_attributes_per_span: read("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", attributes)?,
        max_events_per_span: read("OTEL_SPAN_EVENT_COUNT_LIMIT", 128)?,
        max_links_per_span: read("OTEL_SPAN_LINK_COUNT_LIMIT", 128)?,
        max_attributes_per_event: read("OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", attributes)?,
        max_attributes_per_link: read("OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", attributes)?,
    })
}

fn endpoint(variables: &Variables<'_>) -> Result<Option<Uri>> {
    let accepts = "a URL without a user: http://host:port or https://host:port";
    let parse_for_traces = |text: &str| match text {
        "" => Some(None),
        _ => parse_url(text).map(Some),
    };
    // The endpoint for all signals is a base URL: each signal appends its path, so a query cannot
    // follow.
    let parse_for_all = |text: &str| match text {
        "" => Some(None),
        _ if text.contains('?') => None,
        _ => parse_url(&format!("{}/v1/traces", text.trim_end_matches('/'))).map(Some),
    };
    let for_traces = variables.parse(
        "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        "",
        accepts,
        parse_for_traces,
    )?;
    let for_all = variables.parse("OTEL_EXPORTER_OTLP_ENDPOINT", "", accepts, parse_for_all)?;
    Ok(for_traces.or(for_all))
}

/// Parses a URL. Refuses a user and a fragment: neither would be sent.
fn parse_url(text: &str) -> Option<Uri> {
    let uri: Uri = text.parse().ok().filter(|_| !text.contains('#'))?;
    let has_host = uri
        .authority()
        .is_some_and(|authority| !authority.host().is_empty() && !authority.as_str().contains('@'));
    (has_host && matches!(uri.scheme_str(), Some("http" | "https"))).then_some(uri)
}

fn sampler(variables: &Variables<'_>) -> Result<Sampler> {
    const ARGUMENT: &str = "OTEL_TRACES_SAMPLER_ARG";
    let accepts =
        "a ratio from 0 to 1, such as 0.01, and only if OTEL_TRACES_SAMPLER is a traceidratio";
    let ratio = variables.parse(ARGUMENT, "1", accepts, |text| {
        text.parse::<f64>()
            .ok()
            .filter(|ratio| (0.0..=1.0).contains(ratio))
    })?;
    let names = "always_on, always_off, traceidratio, parentbased_always_on, parentbased_always_off or \
                 parentbased_traceidratio";
    let (is_parent_based, root) = variables.parse(
        "OTEL_TRACES_SAMPLER",
        "parentbased_always_on",
        names,
        |text| {
            let (is_parent_based, name) = match text.strip_prefix("parentbased_") {
                Some(name) => (true, name),
                None => (false, text),
            };
            let root = match name {
                "always_on" => Sampler::AlwaysOn,
                "always_off" => Sampler::AlwaysOff,
                "traceidratio" => Sampler::TraceIdRatioBased(ratio),
                _ => return None,
            };
            Some((is_parent_based, root))
        },
    )?;
    if variables.text(ARGUMENT).is_some() && !matches!(root, Sampler::TraceIdRatioBased(_)) {
        return Err(ConfigError::new(ARGUMENT, accepts));
    }
    Ok(if is_parent_based {
        Sampler::ParentBased(Box::new(root))
    } else {
        root
    })
}

fn service_name(variables: &Variables<'_>, attributes: &[(String, String)]) -> Option<String> {
    if let Some(name) = variables.text("OTEL_SERVICE_NAME") {
        return Some(name);
    }
    let is_attribute = attributes.iter().any(|(name, _)| name == "service.name");
    let read_function = || variables.text("AWS_LAMBDA_FUNCTION_NAME");
    (!is_attribute).then(|| read_function().unwrap_or_else(|| "presence-server".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigError, variables::table};

    fn config(
        variables: &[(&'static str, &str)],
    ) -> std::result::Result<Option<TracesConfig>, ConfigError> {
        TracesConfig::from(&Variables(&table(variables)))
    }

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/");

    #[test]
    fn without_an_endpoint_or_switched_off_there_are_no_traces() {
        assert!(config(&[]).unwrap().is_none());
        for (variable, value) in [
            ("OTEL_SDK_DISABLED", "true"),
            ("OTEL_TRACES_EXPORTER", "none"),
        ] {
            assert!(
                config(&[ENDPOINT, (variable, value)]).unwrap().is_none(),
                "{variable}"
            );
        }
    }

    #[test]
    fn the_endpoint_of_all_signals_is_completed_and_that_of_traces_is_not() {
        let of_all = config(&[ENDPOINT]).unwrap().unwrap();
        assert_eq!(of_all.endpoint, "http://127.0.0.1:4318/v1/traces");
        let of_traces = (
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
            "https://collector/custom",
        );
        assert_eq!(
            config(&[ENDPOINT, of_traces]).unwrap().unwrap().endpoint,
            "https://collector/custom"
        );
    }

    #[test]
    fn a_service_has_the_most_specific_name() {
        let parse_name = |more: &[(&'static str, &str)]| {
            config(&[&[ENDPOINT], more].concat())
                .unwrap()
                .unwrap()
                .service_name
        };
        let function = ("AWS_LAMBDA_FUNCTION_NAME", "connect");
        assert_eq!(parse_name(&[]).as_deref(), Some("presence-server"));
        assert_eq!(parse_name(&[function]).as_deref(), Some("connect"));
        assert_eq!(
            parse_name(&[
                function,
                ("OTEL_RESOURCE_ATTRIBUTES", "a=b, service.name=eu")
            ]),
            None
        );
        assert_eq!(
            parse_name(&[function, ("OTEL_SERVICE_NAME", "eu")]).as_deref(),
            Some("eu")
        );
    }

    #[test]
    fn a_bad_value_names_its_variable() {
        for (variable, value) in [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "127.0.0.1:4318"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "grpc://127.0.0.1:4317",
            ),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_SAMPLER", "sometimes"),
            ("OTEL_TRACES_SAMPLER_ARG", "2"),
            ("OTEL_TRACES_SAMPLER_ARG", "NaN"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.01"), // without a sampler that takes it
            (
                "OTEL_EXPORTER_OTLP_ENDPOINT",
                "http://user:secret@collector:4318",
            ),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318?a=b"),
            (
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                "http://collector:4318#a",
            ),
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a b=c"),
            ("OTEL_RESOURCE_ATTRIBUTES", "eu"),
            ("OTEL_PROPAGATORS", "b3"),
            ("OTEL_BSP_SCHEDULE_DELAY", "5s"),
            ("OTEL_BSP_SCHEDULE_DELAY", "0"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2049"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "soon"),
            ("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "-1"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/etc/ca.pem"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_SDK_DISABLED", "yes"),
        ] {
            assert_eq!(
                config(&[(variable, value), ENDPOINT]).unwrap_err().variable,
                variable,
                "{value}"
            );
            assert_eq!(
                config(&[(variable, value)]).unwrap_err().variable,
                variable,
                "{value}, without an endpoint"
            );
        }
    }

    #[test]
    fn every_variable_has_its_effect() {
        let config = config(&[
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=all"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "api-key=traces"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2000"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "1000"),
            ("OTEL_BSP_SCHEDULE_DELAY", "10"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=eu"),
            ("OTEL_ATTRIBUTE_COUNT_LIMIT", "7"),
            ("OTEL_SPAN_LINK_COUNT_LIMIT", "3"),
        ])
        .unwrap()
        .unwrap();
        assert_eq!(config.headers["api-key"], "traces");
        assert_eq!(config.timeout, Duration::from_secs(1));
        let SpanBatchConfig {
            interval,
            max_queue,
            max_export,
        } = config.batch;
        assert_eq!(
            (interval, max_queue, max_export),
            (Duration::from_millis(10), 100, 100)
        );
        assert_eq!(
            config.attributes,
            [("deployment.environment.name".to_owned(), "eu".to_owned())]
        );
        assert_eq!(
            (
                config.limits.max_attributes_per_span,
                config.limits.max_links_per_span
            ),
            (7, 3)
        );
    }

    #[test]
    fn a_ratio_is_for_a_sampler_that_takes_one() {
        for sampler in ["traceidratio", "parentbased_traceidratio"] {
            let variables = [
                ENDPOINT,
                ("OTEL_TRACES_SAMPLER", sampler),
                ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ];
            assert!(
                format!("{:?}", config(&variables).unwrap().unwrap().sampler).contains("0.25"),
                "{sampler}"
            );
        }
    }
}
