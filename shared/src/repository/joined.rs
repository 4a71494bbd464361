//! Arguments in parts.

use std::{fmt, io::Write as _};

use redis::{RedisWrite, ToRedisArgs};

/// A text in parts, which goes into a command without being put together first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joined<'a, const N: usize = 4>(pub(super) [&'a str; N]);

impl<const N: usize> fmt::Display for Joined<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.into_iter().try_for_each(|part| f.write_str(part))
    }
}

impl<const N: usize> ToRedisArgs for Joined<'_, N> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        for part in self.0 {
            let _ = argument.write_all(part.as_bytes()); // memory takes it all
        }
    }
}
