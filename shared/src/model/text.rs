//! Reading a text into a type that is valid by construction.

use std::fmt;

use serde::de;

/// Parses a value straight from the text at hand, without a `String` between. What is no text is of the wrong type.
pub(super) struct Text<T, E>(pub(super) fn(&str) -> Result<T, E>);

impl<T, E: fmt::Display> de::Visitor<'_> for Text<T, E> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<D: de::Error>(self, text: &str) -> Result<T, D> {
        (self.0)(text).map_err(D::custom)
    }
}
