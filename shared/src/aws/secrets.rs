//! `PRESENCE_SECRETS`: variables that stand in Systems Manager's Parameter Store, or in Secrets Manager.

use std::{collections::HashMap, time::Duration};

use serde_json::{Value, json};

use super::{
    api::{Api, ApiError, Service},
    identity::Identity,
};

const PARAMETER_STORE: Service = Service { name: "ssm", endpoint_variable: "AWS_ENDPOINT_URL_SSM" };
const SECRETS_MANAGER: Service =
    Service { name: "secretsmanager", endpoint_variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER" };

/// All calls together: AWS Lambda gives a function ten seconds to start.
const LIMIT: Duration = Duration::from_secs(8);

/// A page has ten parameters; nobody has more pages.
const MAX_PAGES: usize = 20;

/// Where the secrets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretsSource {
    /// `ssm:/presence/prod`: each parameter right below this path is a variable, by its last name.
    Parameters(String),
    /// `secretsmanager:presence/prod`: a secret that is a JSON object of variables.
    Secret(String),
}

/// Why there are no secrets. Its message is one line.
#[derive(Debug, thiserror::Error)]
pub enum SecretsError {
    /// The value of the variable.
    #[error("PRESENCE_SECRETS accepts ssm:/path/of/parameters or secretsmanager:id-of-a-secret")]
    BadSource,
    /// Nobody said where.
    #[error("PRESENCE_SECRETS needs AWS_REGION, which is not set")]
    NoRegion,
    /// AWS could not be asked, or said no.
    #[error("PRESENCE_SECRETS: {0} cannot be read: {1}")]
    Unreadable(SecretsSource, String),
    /// AWS took too long.
    #[error("PRESENCE_SECRETS: {0} was not read within {1:?}")]
    TimedOut(SecretsSource, Duration),
    /// A path without parameters.
    #[error("PRESENCE_SECRETS: there are no parameters right below {0}")]
    Empty(SecretsSource),
    /// A secret that is something else.
    #[error("PRESENCE_SECRETS: {0} is no JSON object of texts by the names of variables")]
    Malformed(SecretsSource),
}

impl SecretsSource {
    /// Reads the value of `PRESENCE_SECRETS`.
    ///
    /// # Errors
    /// [`SecretsError::BadSource`].
    pub fn parse(text: &str) -> Result<Self, SecretsError> {
        let is_good = |id: &str| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_graphic());
        match text.split_once(':') {
            Some(("ssm", path)) if path.starts_with('/') && is_good(path) => {
                Ok(Self::Parameters(format!("/{}", path.trim_matches('/'))))
            }
            Some(("secretsmanager", id)) if is_good(id) => Ok(Self::Secret(id.to_owned())),
            _ => Err(SecretsError::BadSource),
        }
    }

    /// Asks AWS for the variables; once a process.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub async fn fetch(
        &self,
        identity: &Identity,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<HashMap<String, String>, SecretsError> {
        let fetch = async {
            match self {
                Self::Parameters(path) => self.parameters(path, identity, lookup).await,
                Self::Secret(id) => self.secret(id, identity, lookup).await,
            }
        };
        tokio::time::timeout(LIMIT, fetch).await.unwrap_or_else(|_| Err(SecretsError::TimedOut(self.clone(), LIMIT)))
    }

    async fn parameters(
        &self,
        path: &str,
        identity: &Identity,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<HashMap<String, String>, SecretsError> {
        let api = Api::new(identity, PARAMETER_STORE, lookup);
        let mut found = HashMap::new();
        let mut request = json!({"Path": path, "WithDecryption": true});
        for _ in 0..MAX_PAGES {
            let page = api.call("AmazonSSM.GetParametersByPath", &request).await;
            let page = page.map_err(|error| self.unreadable(&error))?;
            for parameter in page["Parameters"].as_array().into_iter().flatten() {
                let (Some(name), Some(value)) = (parameter["Name"].as_str(), parameter["Value"].as_str()) else {
                    continue;
                };
                found.insert(name.rsplit('/').next().unwrap_or(name).to_owned(), value.to_owned());
            }
            match page["NextToken"].as_str() {
                Some(token) => request["NextToken"] = json!(token),
                None => break,
            }
        }
        if found.is_empty() { Err(SecretsError::Empty(self.clone())) } else { Ok(found) }
    }

    async fn secret(
        &self,
        id: &str,
        identity: &Identity,
        lookup: &dyn Fn(&'static str) -> Option<String>,
    ) -> Result<HashMap<String, String>, SecretsError> {
        let api = Api::new(identity, SECRETS_MANAGER, lookup);
        let answer = api.call("secretsmanager.GetSecretValue", &json!({"SecretId": id})).await;
        let answer: Value = answer.map_err(|error| self.unreadable(&error))?;
        let variables = answer["SecretString"].as_str().and_then(|text| serde_json::from_str(text).ok());
        variables.ok_or_else(|| SecretsError::Malformed(self.clone()))
    }

    /// The causes are part of the one line: there is no log yet.
    fn unreadable(&self, error: &ApiError) -> SecretsError {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |cause| (*cause).source());
        let causes: Vec<_> = causes.map(|cause| cause.to_string().replace(['\r', '\n'], " ")).collect();
        SecretsError::Unreadable(self.clone(), causes.join(": "))
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
        for (text, path) in [("ssm:/presence/prod", "/presence/prod"), ("ssm:/presence/", "/presence"), ("ssm:/", "/")]
        {
            assert_eq!(SecretsSource::parse(text).unwrap(), SecretsSource::Parameters(path.to_owned()));
        }
        let arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:presence-AbCdEf";
        let source = SecretsSource::parse(&format!("secretsmanager:{arn}")).unwrap();
        assert_eq!(source, SecretsSource::Secret(arn.to_owned()));
        for text in ["ssm:", "ssm:presence", "secretsmanager:", "secretsmanager:a b", "vault:/presence", "/presence"] {
            assert!(SecretsSource::parse(text).is_err(), "{text}");
        }
    }
}
