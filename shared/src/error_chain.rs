//! Causes of errors.

use std::error::Error;

/// The messages of an error and of its causes, outermost first, in one string.
pub(crate) fn error_chain(error: &(dyn Error + 'static)) -> String {
    let chain = std::iter::successors(Some(error), |error| (*error).source());
    let messages: Vec<_> = chain.map(ToString::to_string).collect();
    messages.join(": ")
}
