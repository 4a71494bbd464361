//! Clients of the service, and messages for calls that failed.

use presence_client::{
    CallError, Endpoint, HttpNotifier, HttpNotifierBuilder, PresenceClient, Problem, Watcher,
    operator::OperatorClient,
};

use crate::{
    failure::{Failure, Status, root_cause},
    target::{Authentication, unusable},
};

/// The service that the command line names.
#[derive(Debug)]
pub(crate) struct Service {
    /// Queries players, and sets their states.
    pub(crate) players: PresenceClient,
    /// Queries that only a server supports.
    pub(crate) operator: OperatorClient,
    endpoint: Endpoint,
    url: String,
    authentication: Authentication,
}

impl Service {
    /// Prepares the clients. They connect at their first call.
    pub(crate) fn new(endpoint: Endpoint, authentication: Authentication) -> Result<Self, Failure> {
        Ok(Self {
            url: endpoint.to_string(),
            players: PresenceClient::new(endpoint.clone()).map_err(|error| unusable(&error))?,
            operator: OperatorClient::new(endpoint.clone()).map_err(|error| unusable(&error))?,
            endpoint,
            authentication,
        })
    }

    /// Starts a watcher of players.
    pub(crate) fn watcher(&self) -> Result<Watcher, Failure> {
        Watcher::start(self.endpoint.clone()).map_err(|error| unusable(&error))
    }

    /// Prepares the notifier of a gateway.
    pub(crate) fn notifier(&self) -> HttpNotifierBuilder {
        HttpNotifier::builder(self.endpoint.clone())
    }

    /// The address of the service.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The failure of a call.
    pub(crate) fn failure(&self, error: &CallError) -> Failure {
        let url = &self.url;
        match error {
            CallError::Problem(problem) => self.refusal(problem),
            CallError::Unreachable(cause) => {
                let hint = match error.is_certificate_refused() {
                    true => {
                        "SSL_CERT_FILE names a file with the certificates of the authorities that are trusted."
                    }
                    false => "Is it running there? --url or PRESENCE_URL names another address.",
                };
                Failure::new(
                    Status::Failed,
                    format!("{url} cannot be reached: {}", root_cause(&**cause)),
                )
                .with_hint(hint)
            }
            CallError::NotSigned(cause) => Failure::new(
                Status::Failed,
                format!(
                    "the call to {url} could not be signed: {}",
                    root_cause(&**cause)
                ),
            ),
            CallError::TimedOut => {
                Failure::new(Status::Failed, format!("{url} did not respond in time"))
            }
            CallError::Garbled(error) => Failure::new(
                Status::Failed,
                format!("{url} is not a presence service: {error}"),
            )
            .with_hint("--url or PRESENCE_URL names another address."),
        }
    }

    /// The failure of a call that only a `presence-server` supports.
    pub(crate) fn server_failure(&self, error: &CallError) -> Failure {
        match error {
            // API Gateway checks the caller before it looks for the route.
            CallError::Problem(problem) if problem.status == 403 && is_refused_caller(problem) => {
                self.failure(error)
            }
            // REST APIs of API Gateway respond with 403 for a path that they do not have.
            CallError::Problem(Problem {
                status: 403..=405,
                slug,
                ..
            }) if !is_of_the_service(slug) => self.not_offered(),
            CallError::Problem(Problem { status: 404, .. }) => self.not_offered(),
            error => self.failure(error),
        }
    }

    /// The failure of the call for events.
    pub(crate) fn events_failure(&self, error: &CallError) -> Failure {
        match error {
            CallError::Problem(Problem {
                status: 404, slug, ..
            }) if is_of_the_service(slug) => Failure::new(
                Status::NotOffered,
                format!("{} publishes no events", self.url),
            )
            .with_hint("It does if its PRESENCE_NATS_URL is set."),
            error => self.server_failure(error),
        }
    }

    fn not_offered(&self) -> Failure {
        Failure::new(Status::NotOffered, format!("{} does not support this command", self.url)).with_hint(
            "Only a presence-server does, the functions do not. --url or PRESENCE_URL names one; it may share its Redis \
             with them.",
        )
    }

    fn refusal(&self, problem: &Problem) -> Failure {
        let Problem {
            status,
            slug,
            detail,
            field,
            message,
            ..
        } = problem;
        let url = &self.url;
        if matches!(status, 401 | 403) && !is_of_the_service(slug) && message.is_some() {
            let hint = if problem.is_via_api_gateway {
                self.authentication.hint()
            } else {
                PROXY_HINT
            };
            return Failure::new(Status::Refused, format!("{url} refused the call: {detail}"))
                .with_hint(hint);
        }
        if *status == 401 || (*status == 403 && !is_of_the_service(slug)) {
            let what = if self.authentication == Authentication::Token {
                "does not accept the token"
            } else {
                "requires a token"
            };
            return Failure::new(Status::Refused, format!("{url} {what}"))
                .with_hint("PRESENCE_TOKEN, or --token, gives one of those in the service's PRESENCE_AUTH_TOKENS.");
        }
        let kind = if *status < 500 {
            Status::Refused
        } else {
            Status::Failed
        };
        if !is_of_the_service(slug) {
            return Failure::new(
                kind,
                format!("{url} responded with status {status}, but not like a presence service"),
            )
            .with_hint("Calls go to …/presence/… below that address.");
        }
        let field = field
            .as_ref()
            .map(|field| format!(" [{field}]"))
            .unwrap_or_default();
        Failure::new(kind, format!("{detail}{field} ({slug}, {status})"))
    }
}

/// Advice for a caller that a proxy refused.
const PROXY_HINT: &str = "A proxy in front of the service sent this response. PRESENCE_TOKEN, or --token, sets a token if the \
                          proxy requires one.";

impl Authentication {
    /// Advice for a caller that API Gateway refused.
    fn hint(self) -> &'static str {
        match self {
            Self::None => {
                "The call had neither a signature nor a token. --sigv4 signs it with AWS credentials; PRESENCE_TOKEN, or \
                 --token, sets a token."
            }
            Self::Token => {
                "The call had a token and no signature. An API with AWS_IAM requires --sigv4; another one requires a token \
                 that its authorizer accepts."
            }
            Self::Signature => {
                "The call was signed. Its identity (`aws sts get-caller-identity`) needs execute-api:Invoke on the API, the \
                 region must be the API's, and this machine's clock must be right to five minutes."
            }
        }
    }
}

/// Whether API Gateway refused the caller. A REST API's message for an unknown path is not counted.
fn is_refused_caller(problem: &Problem) -> bool {
    let message = problem.message.as_deref();
    message.is_some_and(|message| !message.eq_ignore_ascii_case("Missing Authentication Token"))
}

/// Whether a problem comes from the service, not from a proxy or gateway in front of it.
fn is_of_the_service(slug: &str) -> bool {
    slug != "about:blank"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(authentication: Authentication) -> Service {
        Service::new(
            Endpoint::parse("http://presence:8080").unwrap(),
            authentication,
        )
        .unwrap()
    }

    fn problem(status: u16, slug: &str) -> CallError {
        let slug = slug.to_owned();
        let detail = "no details were given".to_owned();
        let is_via_api_gateway = false;
        Problem {
            status,
            slug,
            detail,
            message: None,
            is_via_api_gateway,
            field: None,
            retry_after: None,
        }
        .into()
    }

    #[test]
    fn a_failed_call_and_a_refused_call_differ_in_the_exit_status() {
        let service = service(Authentication::None);
        for (status, expected) in [
            (400, Status::Refused),
            (409, Status::Refused),
            (503, Status::Failed),
        ] {
            assert_eq!(
                service.failure(&problem(status, "some-kind")).status,
                expected,
                "{status}"
            );
        }
        assert_eq!(service.failure(&CallError::TimedOut).status, Status::Failed);
    }

    #[test]
    fn a_missing_token_and_a_wrong_token_have_different_messages() {
        let unauthorized = problem(401, "unauthorized");
        assert!(
            format!("{:?}", service(Authentication::None).failure(&unauthorized))
                .contains("requires a token")
        );
        let wrong = format!(
            "{:?}",
            service(Authentication::Token).failure(&unauthorized)
        );
        assert!(
            wrong.contains("does not accept the token") && !wrong.contains("hunter2"),
            "{wrong}"
        );
    }

    #[test]
    fn a_path_that_an_api_gateway_does_not_have_is_not_supported() {
        for (status, slug) in [
            (404, "about:blank"),
            (403, "about:blank"),
            (404, "not-found"),
        ] {
            let failure = service(Authentication::None).server_failure(&problem(status, slug));
            assert_eq!(failure.status, Status::NotOffered, "{status} {slug}");
        }
        assert_eq!(
            service(Authentication::None)
                .server_failure(&problem(401, "unauthorized"))
                .status,
            Status::Refused
        );
    }

    /// A refusal by API Gateway, or by another proxy.
    fn refusal(status: u16, message: &str, is_via_api_gateway: bool) -> CallError {
        let detail = format!("it says {message}");
        let slug = "about:blank".to_owned();
        let message = Some(message.to_owned());
        Problem {
            status,
            slug,
            detail,
            message,
            is_via_api_gateway,
            field: None,
            retry_after: None,
        }
        .into()
    }

    fn gateway(status: u16, message: &str) -> CallError {
        refusal(status, message, true)
    }

    #[test]
    fn a_refusal_by_another_proxy_is_repeated_without_advice_about_api_gateway() {
        for authentication in [
            Authentication::None,
            Authentication::Token,
            Authentication::Signature,
        ] {
            let failure = service(authentication).failure(&refusal(403, "Forbidden", false));
            assert_eq!(failure.status, Status::Refused);
            let text = format!("{failure:?}");
            assert!(
                text.contains("it says Forbidden") && text.contains("A proxy in front"),
                "{text}"
            );
            assert!(
                !text.contains("AWS") && !text.contains("execute-api"),
                "{text}"
            );
        }
    }

    #[test]
    fn a_refusal_by_api_gateway_says_so_and_what_the_call_lacked() {
        for (authentication, expected) in [
            (Authentication::None, "neither a signature nor a token"),
            (Authentication::Token, "a token and no signature"),
            (Authentication::Signature, "needs execute-api:Invoke"),
        ] {
            for error in [gateway(403, "Forbidden"), gateway(401, "Unauthorized")] {
                let failure = service(authentication).failure(&error);
                assert_eq!(failure.status, Status::Refused);
                let text = format!("{failure:?}");
                assert!(
                    text.contains(expected) && text.contains("it says"),
                    "{text}"
                );
                assert!(
                    !text.contains("PRESENCE_AUTH_TOKENS"),
                    "they are a server's: {text}"
                );
            }
        }
    }

    #[test]
    fn a_refused_caller_differs_from_a_missing_call() {
        let service = service(Authentication::None);
        assert_eq!(
            service.server_failure(&gateway(403, "Forbidden")).status,
            Status::Refused
        );
        let of_rest = gateway(403, "Missing Authentication Token");
        assert_eq!(service.server_failure(&of_rest).status, Status::NotOffered);
    }
}
