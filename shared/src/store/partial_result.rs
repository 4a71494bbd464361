//! Partial result of a read from several nodes.

use crate::redis::StoreError;

/// The values from the nodes that answered, and an error of one that did not.
#[derive(Debug)]
pub(crate) struct PartialResult<T> {
    pub(crate) found: Vec<T>,
    pub(crate) failure: Option<StoreError>,
}

impl<T> PartialResult<T> {
    /// Collects the values, and the last error.
    pub(crate) fn collect(results: impl Iterator<Item = Result<Option<T>, StoreError>>) -> Self {
        let mut partial = Self {
            found: Vec::new(),
            failure: None,
        };
        for result in results {
            match result {
                Ok(found) => partial.found.extend(found),
                Err(error) => partial.failure = Some(error),
            }
        }
        partial
    }
}
