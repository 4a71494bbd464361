//! The service that flags or environment variables name.

use std::{error::Error, ffi::OsString, fmt};

use presence_client::{Endpoint, InvalidEndpoint};

use crate::{
    args::Target,
    failure::{Failure, Status, root_cause},
};

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

/// How calls authenticate the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authentication {
    None,
    Token,
    /// An AWS signature; [`sign`] adds the signer to the endpoint.
    Signature,
}

impl Target {
    /// The service, and how calls to it authenticate. Flags take precedence over variables; an
    /// empty variable is unset.
    pub(crate) fn endpoint(
        self,
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Endpoint, Authentication), Failure> {
        let has_token_flag = self.token.is_some();
        let is_signed = self.sigv4 || (!has_token_flag && is_signed_by_variable(&variable)?);
        let (url, url_name) = either(self.url, "--url", "PRESENCE_URL", &variable)
            .unwrap_or_else(|| (DEFAULT_URL.to_owned(), "the default URL"));
        let endpoint = Endpoint::parse(&url).map_err(|error| invalid(url_name, &error))?;
        if self.sigv4 {
            return Ok((endpoint, Authentication::Signature));
        }
        match either(self.token, "--token", "PRESENCE_TOKEN", &variable) {
            // An empty flag sends no token, even if the variable is set.
            Some((token, _)) if token.is_empty() => Ok((endpoint, Authentication::None)),
            Some(_) if is_signed => Err(Failure::new(
                Status::Usage,
                "PRESENCE_TOKEN and PRESENCE_SIGV4 are both set: a call has a token or a signature",
            )
            .with_hint("--token '' or --sigv4 chooses one of the two.")),
            Some((token, name)) => {
                let endpoint = endpoint
                    .with_token(&token)
                    .map_err(|error| invalid(name, &error))?;
                Ok((endpoint, Authentication::Token))
            }
            None if is_signed => Ok((endpoint, Authentication::Signature)),
            None => Ok((endpoint, Authentication::None)),
        }
    }
}

fn is_signed_by_variable(variable: impl Fn(&str) -> Option<OsString>) -> Result<bool, Failure> {
    match variable("PRESENCE_SIGV4").unwrap_or_default().to_str() {
        Some("" | "false") => Ok(false),
        Some("true") => Ok(true),
        _ => Err(Failure::new(
            Status::Usage,
            "PRESENCE_SIGV4 accepts true or false",
        )),
    }
}

/// The service with a signer, which has the AWS credentials of the environment.
#[cfg(feature = "sigv4")]
pub(crate) async fn sign(endpoint: Endpoint) -> Result<Endpoint, Failure> {
    let signer = presence_client::AwsSigner::load(&endpoint).await.map_err(|error| {
        Failure::new(Status::Usage, format!("{error}: {}", root_cause(&error))).with_hint(
            "`aws sts get-caller-identity` has to work: set AWS_PROFILE, or log in (`aws sso login`). For a session of \
                 `aws login`, docs/cli.md shows a profile.",
        )
    })?;
    endpoint.with_signer(signer).map_err(|error| {
        Failure::new(Status::Usage, error.to_string()).with_hint("AWS_REGION names the region.")
    })
}

/// The service with a signer: not available without the feature.
#[cfg(not(feature = "sigv4"))]
pub(crate) async fn sign(_: Endpoint) -> Result<Endpoint, Failure> {
    Err(Failure::new(
        Status::Usage,
        "this program cannot sign calls: it was built without the feature sigv4",
    ))
}

/// The value of a flag, else of a variable that is set and not empty, with the name of the flag or
/// variable.
fn either(
    given: Option<String>,
    flag: &'static str,
    name: &'static str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<(String, &'static str)> {
    let from_flag = given.map(|value| (value, flag));
    from_flag.or_else(|| {
        // A value that is not Unicode becomes an invalid one.
        let value = variable(name)?.to_string_lossy().into_owned();
        (!value.is_empty()).then_some((value, name))
    })
}

/// Names the flag or variable, but not its value: that may hold a secret.
fn invalid(name: impl fmt::Display, error: &InvalidEndpoint) -> Failure {
    Failure::new(Status::Usage, format!("{name} is {error}"))
}

/// Why the clients for an endpoint cannot be created.
pub(crate) fn unusable(error: &InvalidEndpoint) -> Failure {
    let cause = error
        .source()
        .map(|_| format!(": {}", root_cause(error)))
        .unwrap_or_default();
    Failure::new(Status::Usage, format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The endpoint and authentication for two flags and two variables.
    fn resolved(
        flags: [Option<&str>; 2],
        variables: [Option<&str>; 2],
    ) -> Result<(String, Authentication), String> {
        let [url, token] = flags.map(|flag| flag.map(str::to_owned));
        let get_variable = |name: &str| match name {
            "PRESENCE_URL" => variables[0].map(OsString::from),
            "PRESENCE_TOKEN" => variables[1].map(OsString::from),
            _ => None,
        };
        let endpoint = Target {
            url,
            token,
            sigv4: false,
        }
        .endpoint(get_variable);
        endpoint
            .map(|(endpoint, authentication)| (endpoint.to_string(), authentication))
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        for variables in [[None, None], [Some(""), Some("")]] {
            assert_eq!(
                resolved([None, None], variables).unwrap(),
                (DEFAULT_URL.to_owned(), Authentication::None)
            );
        }
    }

    #[test]
    fn a_flag_overrides_a_variable_even_an_invalid_one() {
        let bad = [Some("htp:/presence"), Some("no token")];
        let (url, authentication) = resolved([Some("http://other"), Some("hunter2")], bad).unwrap();
        assert_eq!(
            (&*url, authentication),
            ("http://other", Authentication::Token)
        );
        assert_eq!(
            resolved([Some("http://other"), Some("")], bad).unwrap().1,
            Authentication::None
        );
        let set = [Some("http://variable"), Some("hunter2")];
        assert_eq!(
            resolved([None, None], set).unwrap(),
            ("http://variable".to_owned(), Authentication::Token)
        );
    }

    /// The result of the flag `--sigv4`, the flag `--token`, and the variables of the same names.
    fn authentication(
        sigv4: bool,
        token: Option<&str>,
        sigv4_variable: &str,
        token_variable: &str,
    ) -> Result<Authentication, String> {
        let get_variable = |name: &str| match name {
            "PRESENCE_SIGV4" => Some(OsString::from(sigv4_variable)),
            "PRESENCE_TOKEN" => Some(OsString::from(token_variable)),
            _ => None,
        };
        let endpoint = Target {
            url: None,
            token: token.map(str::to_owned),
            sigv4,
        }
        .endpoint(get_variable);
        endpoint
            .map(|(_, authentication)| authentication)
            .map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn calls_have_a_token_or_a_signature_and_never_both() {
        assert_eq!(
            authentication(true, None, "", "hunter2").unwrap(),
            Authentication::Signature,
            "a flag overrides a variable"
        );
        assert_eq!(
            authentication(true, None, "maybe", "hunter2").unwrap(),
            Authentication::Signature
        );
        assert_eq!(
            authentication(false, Some("hunter2"), "true", "").unwrap(),
            Authentication::Token
        );
        assert_eq!(
            authentication(false, None, "true", "").unwrap(),
            Authentication::Signature
        );
        assert_eq!(
            authentication(false, None, "false", "hunter2").unwrap(),
            Authentication::Token
        );
        assert_eq!(
            authentication(false, None, "false", "").unwrap(),
            Authentication::None
        );
        let both = authentication(false, None, "true", "hunter2").unwrap_err();
        assert!(
            both.contains("are both set") && !both.contains("hunter2"),
            "{both}"
        );
        assert!(
            authentication(false, None, "maybe", "")
                .unwrap_err()
                .contains("PRESENCE_SIGV4 accepts true or false")
        );
    }

    #[test]
    fn an_invalid_value_is_not_shown_but_its_flag_or_variable_is() {
        let good = [Some("http://presence"), Some("hunter2")];
        for (flags, variables, expected) in [
            ([Some("x:secret@y"), None], good, "--url is not the URL"),
            ([Some(""), None], good, "--url is not the URL"),
            (
                [None, None],
                [Some("x:secret@y"), None],
                "PRESENCE_URL is not the URL",
            ),
            ([None, Some("se cret")], good, "--token is not a token"),
            (
                [None, None],
                [None, Some("se cret\n")],
                "PRESENCE_TOKEN is not a token",
            ),
        ] {
            let error = resolved(flags, variables).unwrap_err();
            assert!(
                error.contains(expected) && error.contains("Usage"),
                "{error}"
            );
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
