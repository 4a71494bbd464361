//! Partial result of a read from several nodes.

use crate::redis::StoreError;

/// The values from the nodes that responded, and an error of one that did not.
#[derive(Debug)]
pub(crate) struct PartialResult<T> {
    pub(crate) values: Vec<T>,
    pub(crate) error: Option<StoreError>,
}

impl<T> PartialResult<T> {
    /// Collects the values, and the last error.
    pub(crate) fn collect(results: impl Iterator<Item = Result<Option<T>, StoreError>>) -> Self {
        let mut partial = Self {
            values: Vec::new(),
            error: None,
        };
        for result in results {
            match result {
                Ok(value) => partial.values.extend(value),
                Err(error) => partial.error = Some(error),
            }
        }
        partial
    }
}
