//! Check that a node is a primary that serves.

use std::sync::{
    LazyLock,
    atomic::{AtomicBool, Ordering},
};

use redis::{Pipeline, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection};

use super::{
    Ask,
    live::{Live, Opened, now_ms},
};
use crate::redis::StoreError;

/// The role that a node must have to be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::redis) enum Role {
    /// The node must be a primary.
    Primary,
    /// The node may have any role: a replica knows a cluster's slot map, too.
    Any,
}

/// The commands of a check. `PING` detects a node that is loading, which replies to `ROLE`.
static QUESTIONS: LazyLock<Pipeline> = LazyLock::new(|| {
    let mut questions = Pipeline::with_capacity(2);
    questions.cmd("PING").cmd("ROLE");
    questions
});

/// Whether it was logged that a node does not report its role.
static IS_ROLE_HIDDEN: AtomicBool = AtomicBool::new(false);

/// A check, with the expected role.
pub(super) struct Check {
    role: Role,
    sent_at_ms: u64,
}

impl Check {
    /// Creates a check that is sent now.
    pub(super) fn of(role: Role) -> Self {
        Self {
            role,
            sent_at_ms: now_ms(),
        }
    }

    /// Checks a connection that has just been opened.
    pub(super) async fn pass(self, opened: Opened) -> Result<Live, StoreError> {
        let live = Live::new(opened, self.sent_at_ms);
        self.send(live.connection()).await??;
        Ok(live)
    }
}

impl Ask for Check {
    type Reply = Result<(), StoreError>;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<Self::Reply, RedisError> {
        let replies = connection
            .send_packed_commands(&QUESTIONS, 0, QUESTIONS.len())
            .await?;
        Ok(judge(replies, self.role))
    }

    fn is_refused(reply: &Self::Reply) -> bool {
        reply.is_err()
    }

    fn replied(&self, live: &Live) {
        live.checked(self.sent_at_ms);
    }
}

fn judge(replies: Vec<Value>, role: Role) -> Result<(), StoreError> {
    let Ok([ping, reply]) = <[Value; 2]>::try_from(replies) else {
        return Err(StoreError::Unexpected("wrong reply count"));
    };
    match ping.extract_error() {
        Err(error) if !is_withheld(&error) => return Err(error.into()),
        _ => {}
    }
    if role == Role::Any {
        return Ok(());
    }
    match reply.extract_error() {
        Ok(reply) if is_master(&reply) => Ok(()),
        Ok(_) => Err(StoreError::NotPrimary),
        Err(error) if is_withheld(&error) => {
            if !IS_ROLE_HIDDEN.swap(true, Ordering::Relaxed) {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(
                    error,
                    "Redis refuses ROLE: allow it, or a demoted primary may be read"
                );
            }
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

/// Whether the Redis user lacks the permission: `deploy/redis/users.acl` grants it, an older file
/// does not.
fn is_withheld(error: &RedisError) -> bool {
    use redis::ErrorKind::Server;
    let is_unknown = || {
        error
            .detail()
            .is_some_and(|detail| detail.contains("unknown command"))
    };
    match error.kind() {
        Server(ServerErrorKind::NoPerm) => true,
        Server(ServerErrorKind::ResponseError) => is_unknown(),
        _ => false,
    }
}

fn is_master(reply: &Value) -> bool {
    let Value::Array(parts) = reply else {
        return false;
    };
    matches!(parts.first(), Some(Value::BulkString(role)) if role == b"master")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(ping: &str, reply: &str, role: Role) -> Result<(), StoreError> {
        let parse = |reply: &str| redis::parse_redis_value(reply.as_bytes()).unwrap();
        judge(vec![parse(ping), parse(reply)], role)
    }

    const PONG: &str = "+PONG\r\n";
    const MASTER: &str = "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n";
    const REPLICA: &str =
        "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:0\r\n";

    #[test]
    fn a_primary_that_serves_passes() {
        assert!(verdict(PONG, MASTER, Role::Primary).is_ok());
    }

    #[test]
    fn a_replica_passes_only_if_any_role_will_do() {
        assert!(matches!(
            verdict(PONG, REPLICA, Role::Primary),
            Err(StoreError::NotPrimary)
        ));
        assert!(verdict(PONG, REPLICA, Role::Any).is_ok());
    }

    #[test]
    fn a_node_that_loads_or_lost_its_primary_does_not_pass() {
        for refusal in [
            "-LOADING Redis is loading the dataset\r\n",
            "-MASTERDOWN Link is down\r\n",
        ] {
            for role in [Role::Primary, Role::Any] {
                assert!(verdict(refusal, MASTER, role).is_err(), "{refusal}");
            }
        }
    }

    #[test]
    fn a_user_without_the_permission_is_served() {
        let denied = "-NOPERM this user has no permissions to run the 'role' command\r\n";
        assert!(verdict(denied, denied, Role::Primary).is_ok());
        assert!(
            verdict(
                PONG,
                "-ERR unknown command 'ROLE', with args beginning with: \r\n",
                Role::Primary
            )
            .is_ok()
        );
        assert!(
            verdict(
                "-NOAUTH Authentication required.\r\n",
                MASTER,
                Role::Primary
            )
            .is_err()
        );
    }
}
