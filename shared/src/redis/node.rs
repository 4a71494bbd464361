//! Client of one Redis server.

use std::time::Duration;

use redis::{
    Cmd, ErrorKind, Pipeline, RedisError, ServerErrorKind, Value, aio::MultiplexedConnection,
};
use tokio::time::Instant;

use super::{
    StoreError,
    in_flight::InFlightLimit,
    link::{Ask, Endpoint, Link, Repeat, Role},
    value,
};

/// A Redis server.
#[derive(Clone)]
pub(super) struct Node {
    link: Link,
    /// Callers wait for its permit before they send commands.
    pub(super) in_flight: InFlightLimit,
}

/// The server's relation to the slots of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Slots {
    /// The server holds the slots.
    Held,
    /// The slots are being moved to the server. Each command needs an `ASKING` before it.
    Importing,
}

/// Whether the server's clock is read before the commands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Clock {
    Unread,
    Read,
}

/// The way in which commands are sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sending {
    pub(super) clock: Clock,
    pub(super) slots: Slots,
    pub(super) repeat: Repeat,
    /// The time until which replies are awaited.
    pub(super) deadline: Instant,
}

/// The replies to commands that were sent together.
pub(super) struct Replies {
    /// One value per command, in order, including errors.
    values: Vec<Value>,
    /// The server's clock in Unix milliseconds; 0 if it was not read.
    now: u64,
}

/// A value, and the clock of its node in Unix milliseconds.
pub(crate) type Timed = (Value, u64);

/// One command.
struct One<'a>(&'a Cmd);

/// Commands that are sent together.
struct Many(Pipeline);

impl Node {
    /// Prepares a connection to a node of this role, whose callers wait for `timeout`. Nothing is
    /// sent before the first command. Must be called in a tokio runtime.
    pub(super) fn new(endpoint: Endpoint, role: Role, timeout: Duration) -> Self {
        Self {
            link: Link::new(endpoint, role, timeout),
            in_flight: InFlightLimit::new(timeout),
        }
    }

    /// Sends one command and waits for its reply. Calls made at the same time share a round trip.
    pub(super) async fn query(
        &self,
        command: &Cmd,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let value = self.request(command, repeat, deadline).await?;
        self.outcome(value)
    }

    /// Sends one command that may be repeated. If the node refuses it, as its user lacks the
    /// permission, that does not count as a failure of the node.
    pub(super) async fn query_optional(
        &self,
        command: &Cmd,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        Ok(self
            .request(command, Repeat::Allowed, deadline)
            .await?
            .extract_error()?)
    }

    /// Sends commands in one pipeline, and waits for all replies.
    pub(super) async fn query_all(
        &self,
        sending: &Sending,
        commands: impl ExactSizeIterator<Item = Cmd>,
    ) -> Result<Replies, StoreError> {
        let ask = Many::of(sending, commands);
        let mut replies = self.request_all(sending, &ask).await?;
        let refused: Vec<_> = (0..replies.values.len())
            .filter(|position| is_refusal(&replies.values[*position]))
            .collect();
        // Refused commands were not executed, so all of them may be sent again.
        if !refused.is_empty() {
            let mut refusals = replies.values.iter().map(is_refusal);
            let refused_commands: Vec<_> = ask
                .commands(sending)
                .filter(|_| refusals.next().unwrap_or(false))
                .cloned()
                .collect();
            let repeated = Many::of(sending, refused_commands.into_iter());
            let again = Box::pin(self.request_all(sending, &repeated)).await?;
            replies.now = replies.now.min(again.now);
            for (position, value) in refused.into_iter().zip(again.values) {
                replies.values[position] = value;
            }
        }
        Ok(replies)
    }

    /// The replies of [`query_all`](Self::query_all), each with the server's clock.
    pub(super) fn timed(
        &self,
        replies: Replies,
    ) -> impl Iterator<Item = Result<Timed, StoreError>> {
        let Replies { values, now } = replies;
        values
            .into_iter()
            .map(move |value| Ok((self.outcome(value)?, now)))
    }

    async fn request(
        &self,
        command: &Cmd,
        repeat: Repeat,
        deadline: Instant,
    ) -> Result<Value, StoreError> {
        let ask = One(command);
        let value = self.link.request(&ask, repeat, deadline).await?;
        if is_refusal(&value) {
            // A refused command was not executed, so any may be sent once more, on a new
            // connection.
            return Box::pin(self.link.request(&ask, repeat, deadline)).await;
        }
        Ok(value)
    }

    async fn request_all(&self, sending: &Sending, ask: &Many) -> Result<Replies, StoreError> {
        let mut received = self
            .link
            .request(ask, sending.repeat, sending.deadline)
            .await?
            .into_iter();
        let now = match sending.clock {
            Clock::Read => value::time(&received.next().unwrap_or(Value::Nil).extract_error()?)?,
            Clock::Unread => 0,
        };
        let values = match sending.slots {
            Slots::Held => received.collect(),
            Slots::Importing => received.skip(1).step_by(2).collect(),
        };
        Ok(Replies { values, now })
    }

    /// A command's value, or the error that the server returned.
    fn outcome(&self, value: Value) -> Result<Value, StoreError> {
        let outcome = value.extract_error().map_err(StoreError::from);
        if let Err(StoreError::Redis(error)) = &outcome
            && !is_redirection(error)
        {
            self.link.record(&outcome);
        }
        outcome
    }
}

impl Many {
    fn of(sending: &Sending, commands: impl ExactSizeIterator<Item = Cmd>) -> Self {
        let mut pipeline = Pipeline::with_capacity(2 * commands.len() + 1);
        if let Clock::Read = sending.clock {
            pipeline.cmd("TIME");
        }
        for command in commands {
            if let Slots::Importing = sending.slots {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(command);
        }
        Self(pipeline)
    }

    /// The commands without those that [`of`](Self::of) added.
    fn commands(&self, sending: &Sending) -> impl Iterator<Item = &Cmd> {
        let (first, step) = match (sending.clock, sending.slots) {
            (Clock::Unread, Slots::Held) => (0, 1),
            (Clock::Read, Slots::Held) => (1, 1),
            (Clock::Unread, Slots::Importing) => (1, 2),
            (Clock::Read, Slots::Importing) => (2, 2),
        };
        self.0.cmd_iter().skip(first).step_by(step)
    }
}

impl Ask for One<'_> {
    type Reply = Value;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<Value, RedisError> {
        connection.send_packed_command(self.0).await
    }

    fn is_refused(reply: &Value) -> bool {
        is_refusal(reply)
    }
}

impl Ask for Many {
    type Reply = Vec<Value>;

    async fn send(&self, mut connection: MultiplexedConnection) -> Result<Vec<Value>, RedisError> {
        connection
            .send_packed_commands(&self.0, 0, self.0.len())
            .await
    }

    fn is_refused(reply: &Vec<Value>) -> bool {
        reply.iter().any(is_refusal)
    }
}

/// Whether the server refused a command because it is not a primary, or is loading its data. The
/// command was not executed.
fn is_refusal(value: &Value) -> bool {
    use ServerErrorKind::{BusyLoading, MasterDown, ReadOnly};
    matches!(value, Value::ServerError(error) if matches!(error.kind(), Some(ReadOnly | BusyLoading | MasterDown)))
}

/// Whether the error says how to continue: at another node, later, or with the script's source.
fn is_redirection(error: &RedisError) -> bool {
    use ServerErrorKind::{Ask, Moved, NoScript, TryAgain};
    matches!(
        error.kind(),
        ErrorKind::Server(Ask | Moved | NoScript | TryAgain)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_a_pipeline_are_those_that_it_was_built_from() {
        let commands = ["a", "b", "c"].map(|key| redis::cmd("GET").arg(key).to_owned());
        for clock in [Clock::Unread, Clock::Read] {
            for slots in [Slots::Held, Slots::Importing] {
                let sending = Sending {
                    clock,
                    slots,
                    repeat: Repeat::Allowed,
                    deadline: Instant::now(),
                };
                let many = Many::of(&sending, commands.clone().into_iter());
                let packed = many.commands(&sending).map(Cmd::get_packed_command);
                let expected = commands.iter().map(Cmd::get_packed_command);
                assert!(packed.eq(expected), "{clock:?}, {slots:?}");
            }
        }
    }
}
