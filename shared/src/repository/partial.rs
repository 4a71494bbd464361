//! What was found where not every node answered.

use super::StoreError;

/// What the nodes found that answered, and why others did not.
#[derive(Debug)]
pub(crate) struct Partial<T> {
    pub(crate) found: Vec<T>,
    pub(crate) failure: Option<StoreError>,
}

impl<T> Partial<T> {
    /// Keeps what was found, and the last failure.
    pub(crate) fn collect(results: impl Iterator<Item = Result<Option<T>, StoreError>>) -> Self {
        let mut partial = Self { found: Vec::new(), failure: None };
        for result in results {
            match result {
                Ok(found) => partial.found.extend(found),
                Err(error) => partial.failure = Some(error),
            }
        }
        partial
    }
}
