//! One Redis server: a lazy connection that its callers share, healed by itself.

use std::time::Duration;

use redis::{
    Client, Cmd, ConnectionInfo, Pipeline, RedisError, Value,
    aio::{ConnectionLike as _, ConnectionManager, ConnectionManagerConfig},
    io::tcp::TcpSettings,
};

use super::{StoreError, reply, tokens::Tokens};
use crate::aws::CacheToken;

/// How many commands may wait to be written to a connection before their callers do.
const WRITE_QUEUE: usize = 1_024;

/// After this time without the peer's ack the kernel gives a connection up; without it a black hole would hold it for
/// a quarter of an hour.
const UNACKED_LIMIT: Duration = Duration::from_secs(1);

/// A Redis server.
#[derive(Clone)]
pub(super) struct Node(ConnectionManager);

/// How a server stands to the slots of the commands that it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slots {
    /// It holds them.
    Held,
    /// They are on their way to it: each command needs an `ASKING` before it.
    Importing,
}

/// Whether the server's clock is read before the commands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    Unread,
    Read,
}

/// What a server said to commands that were sent together.
pub(super) struct Answers {
    /// One for each command, in order; errors among them.
    values: Vec<Value>,
    /// The server's clock in Unix milliseconds, where it was read; otherwise 0.
    now: u64,
}

/// A value, and the clock of the node that gave it in Unix milliseconds.
pub(super) type Timed = (Value, u64);

impl Node {
    /// Prepares the connection. Nothing is sent before the first command. Needs a tokio runtime.
    /// Shows tokens instead of the URL's password, where there is something that makes them.
    pub(super) fn new(info: ConnectionInfo, tokens: Option<&CacheToken>, limit: Duration) -> Result<Self, RedisError> {
        let tcp = TcpSettings::default().set_nodelay(true).set_user_timeout(UNACKED_LIMIT);
        let config = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(limit))
            .set_response_timeout(None) // callers have their own, which also covers connecting
            .set_number_of_retries(0) // each call may start an attempt of its own, so none waits out another's back-off
            .set_pipeline_buffer_size(WRITE_QUEUE);
        let config = match tokens {
            Some(tokens) => config.set_credentials_provider(Tokens(tokens.clone())),
            None => config,
        };
        let client = Client::open(info.set_tcp_settings(tcp))?;
        Ok(Self(ConnectionManager::new_lazy_with_config(client, config)?))
    }

    /// Sends one command and waits for its answer. Calls made at the same time share a round trip.
    pub(super) async fn query(&self, command: &Cmd) -> Result<Value, RedisError> {
        self.0.clone().req_packed_command(command).await?.extract_error()
    }

    /// The same; a command that met a dead socket is sent once more.
    pub(super) async fn query_twice(&self, command: &Cmd) -> Result<Value, RedisError> {
        match self.query(command).await {
            Err(error) if is_dead_socket(&error) => self.query(command).await,
            result => result,
        }
    }

    /// Sends commands in one go and waits for all answers.
    pub(super) async fn query_all(
        &self,
        clock: Clock,
        slots: Slots,
        commands: impl ExactSizeIterator<Item = &Cmd>,
    ) -> Result<Answers, StoreError> {
        let mut pipeline = Pipeline::with_capacity(2 * commands.len() + 1);
        if let Clock::Read = clock {
            pipeline.cmd("TIME");
        }
        for command in commands {
            if let Slots::Importing = slots {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(command.clone());
        }
        let values = self.0.clone().req_packed_commands(&pipeline, 0, pipeline.len()).await?;
        let mut values = values.into_iter();
        let now = match clock {
            Clock::Read => reply::time(&values.next().unwrap_or(Value::Nil).extract_error()?)?,
            Clock::Unread => 0,
        };
        let values = match slots {
            Slots::Held => values.collect(),
            Slots::Importing => values.skip(1).step_by(2).collect(),
        };
        Ok(Answers { values, now })
    }
}

impl Answers {
    /// Each command's answer with the server's clock.
    pub(super) fn timed(self) -> impl Iterator<Item = Result<Timed, StoreError>> {
        let now = self.now;
        self.values.into_iter().map(move |value| Ok((value.extract_error()?, now)))
    }
}

/// The time limit is the caller's own: a time-out from below is an attempt to connect that a caller who gave up, or a
/// freeze of the process, left behind.
pub(super) fn is_dead_socket(error: &RedisError) -> bool {
    error.is_unrecoverable_error() || error.is_io_error()
}
