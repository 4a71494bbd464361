//! Secrets from AWS: variables in Systems Manager Parameter Store or in Secrets Manager
//! (`PRESENCE_SECRETS`).

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::{
    api::{Api, ApiError},
    signer::RequestSigner,
};
use crate::error_chain::error_chain;

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
        let find_endpoint = |variable| lookup(variable).or_else(|| lookup("AWS_ENDPOINT_URL"));
        let fetch = async {
            match self {
                Self::Parameters(path) => {
                    let api = Api::new(signer, "ssm", find_endpoint("AWS_ENDPOINT_URL_SSM"));
                    let variables = read_parameters(&api, path)
                        .await
                        .map_err(|error| self.unreadable(&error))?;
                    if variables.is_empty() {
                        return Err(SecretsError::Empty(self.clone()));
                    }
                    Ok(variables)
                }
                Self::Secret(id) => {
                    let endpoint = find_endpoint("AWS_ENDPOINT_URL_SECRETS_MANAGER");
                    let api = Api::new(signer, "secretsmanager", endpoint);
                    read_secret(&api, id)
                        .await
                        .map_err(|error| self.unreadable(&error))?
                        .ok_or_else(|| SecretsError::Malformed(self.clone()))
                }
            }
        };
        let fetched = tokio::time::timeout(FETCH_TIMEOUT, fetch).await;
        fetched.unwrap_or_else(|_| Err(SecretsError::TimedOut(self.clone(), FETCH_TIMEOUT)))
    }

    /// Puts the error and its causes into one line: the log is not set up yet.
    fn unreadable(&self, error: &ApiError) -> SecretsError {
        let causes = error_chain(error).replace(['\r', '\n'], " ");
        SecretsError::Unreadable(self.clone(), causes)
    }
}

/// Reads the parameters right below a path.
async fn read_parameters(api: &Api<'_>, path: &str) -> Result<HashMap<String, String>, ApiError> {
    let mut found = HashMap::new();
    let mut request = json!({"Path": path, "WithDecryption": true});
    for _ in 0..MAX_PAGES {
        let page = api.call("AmazonSSM.GetParametersByPath", &request).await?;
        let parameters = page["Parameters"].as_array().into_iter().flatten();
        found.extend(parameters.filter_map(variable));
        match page["NextToken"].as_str() {
            Some(token) => request["NextToken"] = token.into(),
            None => break,
        }
    }
    Ok(found)
}

/// The name and the value of the variable in a parameter.
fn variable(parameter: &Value) -> Option<(String, String)> {
    let name = parameter["Name"].as_str()?.rsplit('/').next()?;
    Some((name.to_owned(), parameter["Value"].as_str()?.to_owned()))
}

/// Reads the variables in a secret. `None` if it is not a JSON object of variables.
async fn read_secret(api: &Api<'_>, id: &str) -> Result<Option<HashMap<String, String>>, ApiError> {
    let request = json!({"SecretId": id});
    let secret = api.call("secretsmanager.GetSecretValue", &request).await?;
    let text = secret["SecretString"].as_str();
    Ok(text.and_then(|text| serde_json::from_str(text).ok()))
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
