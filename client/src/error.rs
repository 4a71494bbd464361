//! Error of a call.

use std::{error::Error, fmt, io, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, header};
use presence_types::ProblemBody;
use serde::Deserialize;

/// Why a call to the presence service failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The service responded with an error.
    #[error("the presence service refused the call: {0}")]
    Problem(Problem),
    /// The service could not be reached, or the connection broke. Whether the call took effect is
    /// unknown.
    #[error("the presence service could not be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The service did not respond within the request's timeout. Whether the call took effect is
    /// unknown.
    #[error("the presence service did not respond in time")]
    TimedOut,
    /// The request was not sent, because it could not be signed. Only with the feature `sigv4`; the
    /// source is a `SignError`.
    #[error("the call could not be signed")]
    NotSigned(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The response is not the presence service's: something else responds at its address.
    #[error("the response is not the presence service's")]
    Garbled(#[source] serde_json::Error),
}

/// Displays an error with its sources. A `dyn Error` in a log line loses them if the application
/// logs in JSON.
pub(crate) struct ErrorChain<'a>(pub(crate) &'a (dyn Error + 'static));

impl fmt::Display for ErrorChain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, error) in chain(self.0).enumerate() {
            let separator = if position == 0 { "" } else { ": " };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

/// An error and its sources, outermost first.
fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| (*error).source())
}

/// An error of the service: RFC 9457 problem details.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The kind of error, such as `transition-rejected`: the [slug of a
    /// kind](crate::ProblemKind::slug), or one that only a newer service has. `about:blank` if the
    /// response does not name one.
    pub slug: String,
    /// What was wrong, in a sentence.
    pub detail: String,
    /// The `message` in the response of a proxy or of API Gateway, such as `Forbidden`.
    pub message: Option<String>,
    /// Whether the response came through API Gateway, as its headers show.
    pub is_via_api_gateway: bool,
    /// What part of the call was wrong, such as `connections[3].player_id`.
    pub field: Option<String>,
    /// How long the service asks to wait before the next call.
    pub retry_after: Option<Duration>,
}

impl From<Problem> for CallError {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl CallError {
    /// Whether the same call may succeed later. Do not repeat a state that a newer
    /// call has replaced; every other call may be repeated.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Problem(problem) => matches!(problem.status, 408 | 429 | 500..),
            Self::Unreachable(_) | Self::TimedOut | Self::NotSigned(_) | Self::Garbled(_) => true,
        }
    }

    /// Whether the TLS certificate of what responds was refused, such as one of an authority that
    /// this machine does not trust.
    pub fn is_certificate_refused(&self) -> bool {
        let Self::Unreachable(cause) = self else {
            return false;
        };
        chain(&**cause).any(is_invalid_certificate)
    }

    /// How long the service asks to wait before the next call.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Problem(problem) => problem.retry_after,
            _ => None,
        }
    }
}

/// An I/O error does not name the error inside it as its source.
fn is_invalid_certificate(error: &(dyn Error + 'static)) -> bool {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error
            .get_ref()
            .is_some_and(|inside| is_invalid_certificate(inside)),
        None => matches!(
            error.downcast_ref(),
            Some(rustls::Error::InvalidCertificate(_))
        ),
    }
}

impl Problem {
    /// Reads the response to a call that failed. A response of a load balancer, for example, has no
    /// problem details.
    pub(crate) fn from_response(response: &Response<Bytes>) -> Self {
        let body: ProblemBody<'_> = serde_json::from_slice(response.body()).unwrap_or_default();
        let Refusal { message } = serde_json::from_slice(response.body()).unwrap_or_default();
        let message = message.as_deref().map(first_line);
        let status = response.status().as_u16();
        let is_via_api_gateway = API_GATEWAY_HEADERS
            .iter()
            .any(|name| response.headers().contains_key(*name));
        let retry_after = retry_after(response.headers());
        let mut problem = Self {
            status,
            is_via_api_gateway,
            retry_after,
            ..Self::from(&body)
        };
        if let Some(message) = message.filter(|_| body.detail.is_empty()) {
            problem.detail = if is_via_api_gateway {
                explain(status, message)
            } else {
                message.to_owned()
            };
        }
        problem.message = message.map(str::to_owned);
        problem
    }
}

impl From<&ProblemBody<'_>> for Problem {
    fn from(body: &ProblemBody<'_>) -> Self {
        let detail = if body.detail.is_empty() {
            "no details were given"
        } else {
            &*body.detail
        };
        Self {
            status: body.status,
            slug: body.slug().to_owned(),
            detail: detail.to_owned(),
            message: None,
            is_via_api_gateway: false,
            field: body.field.as_deref().map(str::to_owned),
            retry_after: None,
        }
    }
}

/// Headers that every response of API Gateway has one of: those of HTTP APIs, and of REST APIs.
const API_GATEWAY_HEADERS: [&str; 3] = ["apigw-requestid", "x-amzn-requestid", "x-amzn-errortype"];

/// The body of a response of a proxy or of API Gateway.
#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(alias = "Message")]
    message: Option<String>,
}

/// The first line of a `message`. After a wrong signature, the next ones repeat the request with
/// its session token, which must not get into logs.
fn first_line(message: &str) -> &str {
    let line = message.lines().next().unwrap_or_default();
    line.split("The Canonical String")
        .next()
        .unwrap_or_default()
        .trim_end()
}

/// Explains a `message` of API Gateway, which does not give its reasons.
fn explain(status: u16, message: &str) -> String {
    let meaning = match (status, message.to_ascii_lowercase().as_str()) {
        (403, "missing authentication token") => {
            "API Gateway requires a signed request (AWS SigV4), or does not have this path"
        }
        (403, "forbidden") => {
            "API Gateway requires a signed request (AWS SigV4) from an identity that may invoke it, or its authorizer refused \
             the call"
        }
        (401, "unauthorized") => "API Gateway requires a token that its authorizer accepts",
        _ => return message.to_owned(),
    };
    format!("{meaning} ({message:?})")
}

/// In whole seconds: the service does not use the form with a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers
        .get(header::RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()
        .map(Duration::from_secs)
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): {}", self.slug, self.status, self.detail)?;
        self.field
            .as_ref()
            .map_or(Ok(()), |field| write!(f, " [{field}]"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The problem in a response of API Gateway.
    fn problem(status: u16, body: &'static str) -> Problem {
        let response = Response::builder()
            .status(status)
            .header("Apigw-Requestid", "JKJaXmPLvHcESHA=");
        Problem::from_response(&response.body(Bytes::from_static(body.as_bytes())).unwrap())
    }

    #[test]
    fn an_error_is_displayed_with_its_sources() {
        let error = CallError::Unreachable(io::Error::other("no route").into());
        let displayed = ErrorChain(&error).to_string();
        assert_eq!(
            displayed,
            "the presence service could not be reached: no route"
        );
    }

    #[test]
    fn refusals_by_api_gateway_are_explained() {
        for (status, body, expected) in [
            (
                403,
                r#"{"message":"Missing Authentication Token"}"#,
                "requires a signed request (AWS SigV4), or",
            ),
            (
                403,
                r#"{"message":"Forbidden"}"#,
                "requires a signed request (AWS SigV4) from an identity",
            ),
            (
                403,
                r#"{"Message":"Forbidden"}"#,
                "requires a signed request (AWS SigV4) from an identity",
            ),
            (401, r#"{"message":"Unauthorized"}"#, "requires a token"),
            (
                403,
                r#"{"message":"Signature expired: 20260102T030405Z"}"#,
                "Signature expired: 20260102T030405Z",
            ),
            (502, "<html>", "no details were given"),
        ] {
            let problem = problem(status, body);
            assert!(
                problem.detail.contains(expected),
                "{body}: {}",
                problem.detail
            );
            assert_eq!(problem.slug, "about:blank");
            let message = problem.message.as_deref();
            assert!(
                message.is_none_or(|message| problem.detail.contains(message)),
                "what it said is shown: {body}"
            );
        }
    }

    #[test]
    fn only_a_response_with_a_header_of_api_gateway_is_taken_for_one() {
        let with = |name: &str| {
            let response = Response::builder().status(403).header(name, "1");
            Problem::from_response(
                &response
                    .body(Bytes::from_static(br#"{"message":"Forbidden"}"#))
                    .unwrap(),
            )
        };
        for header in ["apigw-requestid", "x-amzn-RequestId", "x-amzn-ErrorType"] {
            let problem = with(header);
            assert!(
                problem.is_via_api_gateway && problem.detail.contains("API Gateway requires"),
                "{problem:?}"
            );
        }
        for header in ["server", "x-request-id", "x-amzn-trace-id"] {
            let problem = with(header);
            assert!(!problem.is_via_api_gateway, "{problem:?}");
            assert_eq!(
                (&*problem.detail, problem.message.as_deref()),
                ("Forbidden", Some("Forbidden"))
            );
        }
    }

    #[test]
    fn a_session_token_in_a_refusal_is_not_repeated() {
        for separator in [r"\n\n", " "] {
            let refusal =
                "The request signature we calculated does not match the signature you provided.";
            let request = r"The Canonical String for this request should have been\n'GET\n/\nx-amz-security-token:SECRET'";
            let body = format!(r#"{{"message":"{refusal}{separator}{request}"}}"#);
            let problem = problem(403, Box::leak(body.into_boxed_str()));
            assert_eq!(
                (&*problem.detail, problem.message.as_deref()),
                (refusal, Some(refusal))
            );
        }
    }

    #[test]
    fn the_service_explains_its_own_problems() {
        let body = r#"{"type":"urn:presence:forbidden","detail":"a read token changes nothing","message":"Forbidden"}"#;
        assert_eq!(problem(403, body).detail, "a read token changes nothing");
    }
}
