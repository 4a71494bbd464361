//! Secrets from AWS: variables in Systems Manager Parameter Store or in Secrets Manager
//! (`PRESENCE_SECRETS`).

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::{
    api::{Api, ApiError, Service},
    signer::RequestSigner,
};
use crate::error_chain::error_chain;

const PARAMETER_STORE: Service = Service {
    name: "ssm",
    endpoint_variable: "AWS_ENDPOINT_URL_SSM",
};
const SECRETS_MANAGER: Service = Service {
    name: "secretsmanager",
    endpoint_variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
};

/// Time limit of all calls together. AWS Lambda gives a function ten seconds to start.
const FETCH_TIMEOUT: Duration = Duration::from_secs(8);

/// The most pages that are read. A page has ten parameters, and there are fewer variables than 200.
const MAX_PAGES: usize = 20;

/// The location of the secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsSource {
    /// `ssm:/presence/prod`: each parameter right below this path is a variable, named by its last
    /// path segment.
    Parameters(String),
    /// `secretsmanager:presence/prod`: a secret that is a JSON object of variables.
    Secret(String),
}

/// Error of reading the secrets. Its message is one line.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The value of `PRESENCE_SECRETS` is invalid.
    #[error("PRESENCE_SECRETS accepts ssm:/path/of/parameters or secretsmanager:id-of-a-secret")]
    BadSource,
    /// The AWS region is not configured.
    #[error("PRESENCE_SECRETS needs AWS_REGION, which is not set")]
    NoRegion,
    /// AWS could not be called, or refused the call.
    #[error("PRESENCE_SECRETS: {0} cannot be read: {1}")]
    Unreadable(SecretsSource, String),
    /// The calls took longer than their time limit.
    #[error("PRESENCE_SECRETS: {0} was not read within {1:?}")]
    TimedOut(SecretsSource, Duration),
    /// The path has no parameters.
    #[error("PRESENCE_SECRETS: there are no parameters right below {0}")]
    Empty(SecretsSource),
    /// The secret is not a JSON object of variables.
    #[error("PRESENCE_SECRETS: {0} must be a JSON object that maps variable names to strings")]
    Malformed(SecretsSource),
}

impl SecretsSource {
    /// Parses the value of `PRESENCE_SECRETS`.
    ///
    /// # Errors
    /// [`SecretsError::BadSource`].
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let is_valid = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
        match text.split_once(':') {
            Some(("ssm", path)) if path.starts_with('/') && is_valid(path) => {
                Ok(Self::Parameters(format!("/{}", path.trim_matches('/'))))
            }
            Some(("secretsmanager", id)) if is_valid(id) => Ok(Self::Secret(id.to_owned())),
            _ => Err(SecretsError::BadSource),
        }
    }

    /// Reads the variables from AWS. Each process does so once, at its start.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn fetch(
        &self,
        signer: &RequestSigner,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<HashMap<String, String>, SecretsError> {
        let fetch = async {
            match self {
                Self::Parameters(path) => self.parameters(path, signer, lookup).await,
                Self::Secret(id) => self.secret(id, signer, lookup).await,
            }
        };
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
        fetched.unwrap_or_else(|_| Err(SecretsError::TimedOut(self.clone(), FETCH_TIMEOUT)))
    }

    async fn parameters(
        &self,
        path: &str,
        signer: &RequestSigner,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<HashMap<String, String>, SecretsError> {
        let api = Api::new(signer, PARAMETER_STORE, lookup);
        let mut found = HashMap::new();
        let mut request = json!({"Path": path, "WithDecryption": true});
        for _ in 0..MAX_PAGES {
            let response = api.call("AmazonSSM.GetParametersByPath", &request).await;
            let page = response.map_err(|error| self.unreadable(&error))?;
            for parameter in page["Parameters"].as_array().into_iter().flatten() {
                let (Some(name), Some(value)) =
                    (parameter["Name"].as_str(), parameter["Value"].as_str())
                else {
                    continue;
                };
                // The last path segment is the variable's name.
                found.insert(
                    name.rsplit('/').next().unwrap_or(name).to_owned(),
                    value.to_owned(),
                );
            }
            match page["NextToken"].as_str() {
                Some(token) => request["NextToken"] = json!(token),
                None => break,
            }
        }
        if found.is_empty() {
            Err(SecretsError::Empty(self.clone()))
        } else {
            Ok(found)
        }
    }

    async fn secret(
        &self,
        id: &str,
        signer: &RequestSigner,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<HashMap<String, String>, SecretsError> {
        let api = Api::new(signer, SECRETS_MANAGER, lookup);
        let response = api
            .call("secretsmanager.GetSecretValue", &json!({"SecretId": id}))
            .await;
        let secret: Value = response.map_err(|error| self.unreadable(&error))?;
        let variables = secret["SecretString"]
            .as_str()
            .and_then(|text| serde_json::from_str(text).ok());
        variables.ok_or_else(|| SecretsError::Malformed(self.clone()))
    }

    /// Puts the error and its causes into one line: the log is not set up yet.
    fn unreadable(&self, error: &ApiError) -> SecretsError {
        let causes = error_chain(error).replace(['\r', '\n'], " ");
        SecretsError::Unreadable(self.clone(), causes)
    }
}

impl std::fmt::Display for SecretsSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Parameters(path) => write!(f, "ssm:{path}"),
            Self::Secret(id) => write!(f, "secretsmanager:{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_is_a_path_of_parameters_or_the_id_of_a_secret() {
        for (text, path) in [
            ("ssm:/presence/prod", "/presence/prod"),
            ("ssm:/presence/", "/presence"),
            ("ssm:/", "/"),
        ] {
            assert_eq!(
                SecretsSource::parse(text).unwrap(),
                SecretsSource::Parameters(path.to_owned())
            );
        }
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:presence-AbCdEf";
        let source = SecretsSource::parse(&format!("secretsmanager:{arn}")).unwrap();
        assert_eq!(source, SecretsSource::Secret(arn.to_owned()));
        for text in [
            "ssm:",
            "ssm:presence",
            "secretsmanager:",
            "secretsmanager:a b",
            "vault:/presence",
            "/presence",
        ] {
            assert!(SecretsSource::parse(text).is_err(), "{text}");
        }
    }
}
