//! OpenTelemetry's value formats, and those of its variables that these programs cannot honor.

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::percent_decode_str;

use super::variables::{ConfigError, Result, Variables};

/// Standard variables for traces that nothing here implements. A value would be ignored, so it is
/// refused.
const UNSUPPORTED: [(&str, &str); 13] = [
    (
        "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "no value: attributes are short and never cut",
    ),
    (
        "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        "no value: attributes are short and never cut",
    ),
    (
        "OTEL_CONFIG_FILE",
        "no value: the other variables configure traces",
    ),
    (
        "OTEL_EXPERIMENTAL_CONFIG_FILE",
        "no value: the other variables configure traces",
    ),
    ("OTEL_LOG_LEVEL", "no value: RUST_LOG sets all levels"),
    (
        "OTEL_EXPORTER_OTLP_INSECURE",
        "no value: the endpoint's http:// or https:// decides",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_INSECURE",
        "no value: the endpoint's http:// or https:// decides",
    ),
    (
        "OTEL_EXPORTER_OTLP_CERTIFICATE",
        "no value: SSL_CERT_FILE names the authorities' certificates",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE",
        "no value: SSL_CERT_FILE names the authorities' certificates",
    ),
    (
        "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE",
        "no value: there are no client certificates",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE",
        "no value: there are no client certificates",
    ),
    (
        "OTEL_EXPORTER_OTLP_CLIENT_KEY",
        "no value: there are no client certificates",
    ),
    (
        "OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY",
        "no value: there are no client certificates",
    ),
];

impl Variables<'_> {
    /// Refuses variables that would be ignored.
    pub(super) fn refuse_unsupported(&self) -> Result<()> {
        let mut set = UNSUPPORTED
            .iter()
            .filter(|(variable, _)| self.text(variable).is_some());
        set.next().map_or(Ok(()), |(variable, accepts)| {
            Err(ConfigError::new(variable, *accepts))
        })
    }

    /// Accepts a single value of a variable.
    pub(super) fn only(&self, variable: &'static str, value: &str) -> Result<()> {
        self.parse(variable, value, value, |text| (text == value).then_some(()))
    }

    /// Reads the headers for the receiver: `name=value,name=value`, with percent-encoded values.
    pub(super) fn headers(&self, variable: &'static str) -> Result<Option<HeaderMap>> {
        let accepts =
            "the receiver's headers: name=value, separated by commas, with percent-encoded values";
        self.parse(variable, "", accepts, |text| match text {
            "" => Some(None),
            _ => parse_headers(text).map(Some),
        })
    }

    /// Reads the attributes of the resource: `name=value,name=value`, with percent-encoded values.
    pub(super) fn attributes(&self, variable: &'static str) -> Result<Vec<(String, String)>> {
        let accepts = "attributes: name=value, separated by commas, each name once, with percent-encoded values";
        self.parse(variable, "", accepts, |text| {
            let attributes = parse_pairs(text)?;
            let is_repeated = |(at, (name, _)): (usize, &(String, String))| {
                attributes[..at].iter().any(|(earlier, _)| earlier == name)
            };
            (!attributes.iter().enumerate().any(is_repeated)).then(|| attributes.clone())
        })
    }
}

fn parse_headers(text: &str) -> Option<HeaderMap> {
    let mut headers = HeaderMap::new();
    for (name, value) in parse_pairs(text)? {
        let mut header = HeaderValue::from_str(&value).ok()?;
        header.set_sensitive(true); // usually an API key
        headers.append(HeaderName::try_from(name).ok()?, header);
    }
    Some(headers)
}

fn parse_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let pairs = text.split_terminator(',').map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim())
            .decode_utf8()
            .ok()?
            .into_owned();
        Some((name.trim().to_owned(), value)).filter(|(name, _)| !name.is_empty())
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::table;

    const HEADERS: &str = "OTEL_EXPORTER_OTLP_HEADERS";
    const ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

    fn headers(text: &str) -> Result<Option<HeaderMap>> {
        Variables(&table(&[(HEADERS, text)])).headers(HEADERS)
    }

    fn attributes(text: &str) -> Result<Vec<(String, String)>> {
        Variables(&table(&[(ATTRIBUTES, text)])).attributes(ATTRIBUTES)
    }

    #[test]
    fn pairs_are_separated_by_commas_and_percent_decoded() {
        let found = headers("api-key=a%3Db%2Cc, x-tenant = eu ,")
            .unwrap()
            .unwrap();
        assert_eq!(
            (&found["api-key"], &found["x-tenant"]),
            (&"a=b,c".parse().unwrap(), &"eu".parse().unwrap())
        );
        let to_pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            attributes("a=b=c,d=%C3%A9").unwrap(),
            [to_pair("a", "b=c"), to_pair("d", "é")]
        );
        assert!(attributes("").unwrap().is_empty() && headers("").unwrap().is_none());
    }

    #[test]
    fn what_is_not_a_pair_is_refused() {
        for text in ["api-key", "=value", "a b=c", "a=b,,c=d", "a=%ff", "a=b%0Ac"] {
            assert_eq!(headers(text).unwrap_err().variable, HEADERS, "{text}");
        }
        for text in ["eu", "=eu", "a=b,c", "a=%ff", "a=b,a=c"] {
            assert_eq!(attributes(text).unwrap_err().variable, ATTRIBUTES, "{text}");
        }
    }

    #[test]
    fn headers_are_never_shown() {
        assert!(!format!("{:?}", headers("api-key=hunter2")).contains("hunter2"));
    }

    #[test]
    fn a_variable_that_would_be_ignored_is_refused() {
        for (variable, _) in UNSUPPORTED {
            let error = Variables(&table(&[(variable, "1")]))
                .refuse_unsupported()
                .unwrap_err();
            assert_eq!(error.variable, variable);
            assert!(
                Variables(&table(&[(variable, "")]))
                    .refuse_unsupported()
                    .is_ok()
            );
        }
    }
}
