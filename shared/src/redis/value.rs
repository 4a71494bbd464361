//! Values in replies of Redis.

use redis::Value;

use super::StoreError;

/// Parses the reply of `TIME`. Returns Unix milliseconds.
pub(crate) fn time(value: &Value) -> Result<u64, StoreError> {
    let parse = |part: &Value| match part {
        Value::BulkString(digits) => str::from_utf8(digits).ok()?.parse::<u64>().ok(),
        Value::Int(number) => u64::try_from(*number).ok(),
        _ => None,
    };
    match value {
        Value::Array(parts) => match parts.as_slice() {
            [seconds, micros] => parse(seconds)
                .zip(parse(micros))
                .map(|(seconds, micros)| seconds * 1_000 + micros / 1_000),
            _ => None,
        },
        _ => None,
    }
    .ok_or(StoreError::Unexpected("malformed reply of TIME"))
}

/// The bytes of a string. `None` if the key is missing.
pub(crate) fn text(value: &Value) -> Result<Option<&[u8]>, StoreError> {
    match value {
        Value::Nil => Ok(None),
        Value::BulkString(text) => Ok(Some(text)),
        _ => Err(StoreError::Unexpected("a value that is not a string")),
    }
}
