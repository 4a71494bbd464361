//! Sources of variables: the process's environment, and secrets for variables that it leaves unset.

use std::collections::HashMap;

use super::variables::Variables;
use crate::aws::{RequestSigner, SecretsError, SecretsSource, credentials};

/// The variables of a process, read once.
#[derive(Default)]
pub struct Environment {
    secrets: HashMap<String, String>,
}

impl Environment {
    /// Reads the secrets that `PRESENCE_SECRETS` names, and blocks until AWS has responded. If it
    /// is unset, AWS is not called.
    ///
    /// # Errors
    /// [`SecretsError`].
    pub fn read() -> Result<Self, SecretsError> {
        let variables = Variables(&variable);
        let Some(source) = variables.text("PRESENCE_SECRETS") else {
            return Ok(Self::default());
        };
        let source = SecretsSource::parse(&source)?;
        let signer = RequestSigner::new(
            variables.region().ok_or(SecretsError::NoRegion)?,
            credentials(),
        );
        let lookup = |name| variables.text(name);
        // The program's own runtime is built later, from the configuration.
        let built = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime =
            built.map_err(|error| SecretsError::Unreadable(source.clone(), error.to_string()))?;
        Ok(Self {
            secrets: runtime.block_on(source.fetch(&signer, &lookup))?,
        })
    }

    /// Looks up a variable in the process's environment, then in the secrets. An empty variable
    /// counts as unset.
    pub fn lookup(&self, name: &'static str) -> Option<String> {
        variable(name)
            .filter(|value| !value.is_empty())
            .or_else(|| self.secrets.get(name).cloned())
    }
}

fn variable(name: &'static str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}
