//! The service that the flags or the environment name.

use std::{error::Error, ffi::OsString, fmt};

use presence_client::{Endpoint, InvalidEndpoint};

use crate::{
    args::Target,
    failure::{Failure, Status, root_cause},
};

const DEFAULT_URL: &str = "http://127.0.0.1:8080";

impl Target {
    /// The service and whether there is a token for it. Flags come before variables, and an empty variable is an unset one.
    pub(crate) fn endpoint(self, variable: impl Fn(&str) -> Option<OsString>) -> Result<(Endpoint, bool), Failure> {
        let (url, url_name) = either(self.url, "--url", "PRESENCE_URL", &variable)
            .unwrap_or_else(|| (DEFAULT_URL.to_owned(), "the default URL"));
        let endpoint = Endpoint::parse(&url).map_err(|error| invalid(url_name, &error))?;
        match either(self.token, "--token", "PRESENCE_TOKEN", &variable) {
            // An empty flag is how to send no token although the variable is set.
            Some((token, _)) if token.is_empty() => Ok((endpoint, false)),
            Some((token, name)) => {
                let endpoint = endpoint.with_token(&token).map_err(|error| invalid(name, &error))?;
                Ok((endpoint, true))
            }
            None => Ok((endpoint, false)),
        }
    }
}

/// The value of a flag, else of a variable that is set and not empty, with the name of where it stands.
fn either(
    given: Option<String>,
    flag: &'static str,
    name: &'static str,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Option<(String, &'static str)> {
    let from_flag = given.map(|value| (value, flag));
    from_flag.or_else(|| {
        // A value that is not Unicode is as invalid as what it becomes here.
        let value = variable(name)?.to_string_lossy().into_owned();
        (!value.is_empty()).then_some((value, name))
    })
}

/// Names the flag or variable, but not its value: that may hold a secret.
fn invalid(name: impl fmt::Display, error: &InvalidEndpoint) -> Failure {
    Failure::new(Status::Usage, format!("{name} is {error}"))
}

/// Why the clients for an endpoint cannot be made.
pub(crate) fn unusable(error: &InvalidEndpoint) -> Failure {
    let cause = error.source().map(|_| format!(": {}", root_cause(error))).unwrap_or_default();
    Failure::new(Status::Usage, format!("{error}{cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of two flags and two variables; empty ones of these are set.
    fn resolved(flags: [Option<&str>; 2], variables: [Option<&str>; 2]) -> Result<(String, bool), String> {
        let [url, token] = flags.map(|flag| flag.map(str::to_owned));
        let variable = |name: &str| match name {
            "PRESENCE_URL" => variables[0].map(OsString::from),
            "PRESENCE_TOKEN" => variables[1].map(OsString::from),
            _ => None,
        };
        let endpoint = Target { url, token }.endpoint(variable);
        endpoint.map(|(endpoint, has_token)| (endpoint.to_string(), has_token)).map_err(|error| format!("{error:?}"))
    }

    #[test]
    fn an_empty_variable_is_an_unset_one() {
        for variables in [[None, None], [Some(""), Some("")]] {
            assert_eq!(resolved([None, None], variables).unwrap(), (DEFAULT_URL.to_owned(), false));
        }
    }

    #[test]
    fn a_flag_comes_before_a_variable_also_before_a_bad_one() {
        let bad = [Some("htp:/presence"), Some("no token")];
        let (url, has_token) = resolved([Some("http://other"), Some("hunter2")], bad).unwrap();
        assert_eq!((&*url, has_token), ("http://other", true));
        assert!(!resolved([Some("http://other"), Some("")], bad).unwrap().1);
        let set = [Some("http://variable"), Some("hunter2")];
        assert_eq!(resolved([None, None], set).unwrap(), ("http://variable".to_owned(), true));
    }

    #[test]
    fn a_bad_value_is_named_by_where_it_stands_and_not_shown() {
        let good = [Some("http://presence"), Some("hunter2")];
        for (flags, variables, expected) in [
            ([Some("x:secret@y"), None], good, "--url is not the URL"),
            ([Some(""), None], good, "--url is not the URL"),
            ([None, None], [Some("x:secret@y"), None], "PRESENCE_URL is not the URL"),
            ([None, Some("se cret")], good, "--token is not a token"),
            ([None, None], [None, Some("se cret\n")], "PRESENCE_TOKEN is not a token"),
        ] {
            let error = resolved(flags, variables).unwrap_err();
            assert!(error.contains(expected) && error.contains("Usage"), "{error}");
            assert!(!error.contains("cret"), "{error}");
        }
    }
}
