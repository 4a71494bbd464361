//! Whether Redis can do what presence needs.

use super::{Repository, StoreError, scripts};

impl Repository {
    /// Pings Redis and runs a script.
    ///
    /// # Errors
    /// [`StoreError`] where either fails.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        self.connection.query(&redis::cmd("PING")).await?;
        self.run(&scripts::PROBE, |command| {
            command.arg(0);
        })
        .await?;
        Ok(())
    }
}
