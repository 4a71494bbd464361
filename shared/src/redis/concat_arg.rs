//! Arguments of commands that are made of several slices.

use std::{fmt, io::Write as _};

use redis::{RedisWrite, ToRedisArgs};

/// A string argument made of several slices, written to the command buffer without an intermediate
/// allocation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConcatArg<'a, const N: usize = 4>(pub(crate) [&'a str; N]);

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
