//! Whether Redis can do what presence needs.

use super::{Repository, StoreError, scripts};

impl Repository {
    /// Runs a script on every node, and returns why it failed on some of them.
    ///
    /// # Errors
    /// [`StoreError`] where it failed on all.
    pub(crate) async fn probe(&self) -> Result<Option<StoreError>, StoreError> {
        let script = scripts::PROBE.call_by_source(|command| {
            command.arg(0);
        });
        let mut failure = None;
        let mut is_up = false;
        for answer in self.connection.query_nodes(&script).await {
            match answer {
                Ok(_) => is_up = true,
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if !is_up => Err(error),
            failure => Ok(failure),
        }
    }
}
