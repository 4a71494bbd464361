//! Whether Redis can do what presence needs.

use futures_util::future::try_join;

use super::{Repository, StoreError, scripts};

impl Repository {
    /// Pings Redis and runs a script.
    ///
    /// # Errors
    /// [`StoreError`] where either fails.
    pub(crate) async fn probe(&self) -> Result<(), StoreError> {
        let ping = redis::cmd("PING");
        let script = self.run(&scripts::PROBE, |command| {
            command.arg(0);
        });
        try_join(self.connection.query(&ping), script).await?;
        Ok(())
    }
}
