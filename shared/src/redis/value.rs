//! Values in commands and in replies of Redis.

use std::{fmt, io::Write as _};

use redis::{RedisWrite, ToRedisArgs, Value};

use super::StoreError;

/// A string argument made of several slices, written to the command buffer without an intermediate
/// allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConcatArg<'a, const N: usize = 3>(pub(crate) [&'a str; N]);

impl<const N: usize> fmt::Display for ConcatArg<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl<const N: usize> ToRedisArgs for ConcatArg<'_, N> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        for part in self.0 {
            let _ = argument.write_all(part.as_bytes()); // writing to memory does not fail
        }
    }
}

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
