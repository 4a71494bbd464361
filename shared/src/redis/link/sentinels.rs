//! Discovery of the primary by Sentinels.
//!
//! The redis crate's own support (its feature `sentinel`) connects to the primary by itself, with
//! sockets of its own and without a timeout.

use std::{
    collections::{HashMap, HashSet},
    pin::pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{
    StreamExt as _,
    future::{BoxFuture, Either, select},
};
use redis::{
    Cmd, ConnectionInfo, ErrorKind, Pipeline, RedisConnectionInfo, RedisError, ServerErrorKind,
    Value, aio::MultiplexedConnection,
};

use super::address::{Address, config, reached_like, tcp};
use crate::{
    redis::{StoreError, StoreFailure, hedged::hedged},
    socket,
};

/// The Sentinels that watch one primary.
pub(super) struct Sentinels {
    /// The primary's name in the configuration of its Sentinels.
    name: String,
    /// The Sentinels' URLs. Nodes are reached with the same TLS, and with the user, password and
    /// database of the first URL.
    urls: Vec<ConnectionInfo>,
    /// Counts the questions. Each one begins with another Sentinel, so that an outdated one does
    /// not decide every time.
    turn: AtomicUsize,
}

/// An attempt to connect to the primary.
struct Attempt<'a, C> {
    sentinels: &'a Sentinels,
    /// Connects to a node.
    connect: C,
    /// The nodes that were named so far.
    tried: Mutex<HashSet<Address>>,
}

/// How far an attempt to connect by a Sentinel got before it failed. Failures of later stages say
/// more about the cause.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// No question was asked, or another Sentinel named the same node before.
    Unknown,
    /// The Sentinel could not be reached.
    Unreached,
    /// The Sentinel did not name a node.
    Unnamed,
    /// The node that the Sentinel named is not a primary that serves.
    Unusable,
}

impl Sentinels {
    pub(super) fn new(urls: Vec<ConnectionInfo>, name: String) -> Result<Self, RedisError> {
        if urls.is_empty() {
            return Err((ErrorKind::EmptySentinelList, "no Sentinel URL").into());
        }
        let turn = AtomicUsize::new(rand::random_range(0..urls.len()));
        Ok(Self { name, urls, turn })
    }

    /// Returns the first success of `connect` among the nodes that the Sentinels name. Tries each
    /// node once.
    ///
    /// # Errors
    /// The failure of the latest [`Stage`], if no node that a Sentinel names can be used.
    pub(super) async fn connect<'a, T: Send + 'a>(
        &'a self,
        connect: impl Fn(ConnectionInfo) -> BoxFuture<'a, Result<T, StoreError>> + Sync,
    ) -> Result<T, StoreError> {
        let attempt = Attempt {
            sentinels: self,
            connect,
            tried: Mutex::default(),
        };
        let attempts = self
            .rotated()
            .map(|sentinel| attempt.connect_by(sentinel))
            .collect();
        let mut outcomes = pin!(hedged(attempts));
        let mut failure = (Stage::Unknown, NOT_ASKED);
        while let Some(outcome) = outcomes.next().await {
            match outcome {
                Ok(connected) => return Ok(connected),
                Err(other) if other.0 > failure.0 => failure = other,
                Err(_) => {}
            }
        }
        Err(failure.1)
    }

    /// Whether more than half of the Sentinels name the same other node than `current`. If the
    /// first one to respond names `current`, no other is asked. Sentinels that do not respond count
    /// for `current`.
    pub(super) async fn agree_on_another(&self, current: &Address) -> bool {
        let mut votes = HashMap::<Address, usize>::new();
        let questions = self.rotated().map(|sentinel| self.ask(sentinel)).collect();
        let mut replies = pin!(hedged(questions));
        while let Some(reply) = replies.next().await {
            let Ok(address) = reply else { continue };
            if address == *current {
                if votes.is_empty() {
                    return false;
                }
                continue;
            }
            let count = votes.entry(address).or_default();
            *count += 1;
            if *count > self.urls.len() / 2 {
                return true;
            }
        }
        false
    }

    /// All Sentinels, beginning with another one at each call.
    fn rotated(&self) -> impl Iterator<Item = &ConnectionInfo> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % self.urls.len();
        let (later, earlier) = self.urls.split_at(first);
        earlier.iter().chain(later)
    }

    /// The URL of the node at an address.
    fn node(&self, address: &Address) -> ConnectionInfo {
        let first = &self.urls[0];
        first.clone().set_addr(reached_like(first.addr(), address))
    }

    /// Asks a Sentinel for the primary's address, over a connection for this question alone.
    async fn ask(&self, sentinel: &ConnectionInfo) -> Result<Address, StoreError> {
        let (host, port, is_encrypted) = tcp(sentinel.addr())?;
        let stream = socket::connect(host, port, is_encrypted)
            .await
            .map_err(RedisError::from)?;
        let anonymous = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (connection, driver) =
            MultiplexedConnection::new_with_config(&anonymous, stream, config()).await?;
        let reply = match select(pin!(self.exchange(connection)), pin!(driver)).await {
            Either::Left((reply, _)) => reply?,
            Either::Right(((), reply)) => reply.await?, // the Sentinel closed the connection
        };
        address(&reply.extract_error()?).ok_or_else(|| self.unknown_name())
    }

    /// Asks for the primary's address. The user and password are those of the nodes, so they are
    /// sent only to a Sentinel that requires them.
    async fn exchange(&self, mut connection: MultiplexedConnection) -> Result<Value, RedisError> {
        let mut question = redis::cmd("SENTINEL");
        question.arg("GET-MASTER-ADDR-BY-NAME").arg(&self.name);
        let reply = connection.send_packed_command(&question).await?;
        match self.authentication() {
            Some(authentication) if requires_authentication(&reply) => {
                let mut both = Pipeline::with_capacity(2);
                both.add_command(authentication).add_command(question);
                let replies = connection.send_packed_commands(&both, 0, 2).await?;
                // If AUTH was refused, report that, and not the refusal of the question which
                // follows from it.
                let values: Result<Vec<_>, _> =
                    replies.into_iter().map(Value::extract_error).collect();
                Ok(values?.pop().unwrap_or(Value::Nil))
            }
            _ => Ok(reply),
        }
    }

    fn authentication(&self) -> Option<Cmd> {
        let settings = self.urls[0].redis_settings();
        let mut command = redis::cmd("AUTH");
        command.arg(settings.username()).arg(settings.password()?);
        Some(command)
    }

    fn unknown_name(&self) -> StoreError {
        let message = "no Sentinel that responds knows the name in PRESENCE_REDIS_SENTINEL_NAME";
        RedisError::from((
            ErrorKind::MasterNameNotFoundBySentinel,
            message,
            self.name.clone(),
        ))
        .into()
    }
}

impl<'a, T, C: Fn(ConnectionInfo) -> BoxFuture<'a, Result<T, StoreError>>> Attempt<'a, C> {
    /// Connects to the node that a Sentinel names.
    async fn connect_by(&self, sentinel: &ConnectionInfo) -> Result<T, (Stage, StoreError)> {
        let named = self.sentinels.ask(sentinel).await;
        let address = named.map_err(|error| (Stage::of_sentinel(&error), error))?;
        if !self
            .tried
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(address.clone())
        {
            return Err((Stage::Unknown, NOT_ASKED));
        }
        let node = self.sentinels.node(&address);
        (self.connect)(node)
            .await
            .map_err(|error| (Stage::Unusable, error))
    }
}

impl Stage {
    fn of_sentinel(error: &StoreError) -> Self {
        match error.failure() {
            StoreFailure::Unreachable if !is_unknown_name(error) => Self::Unreached,
            _ => Self::Unnamed,
        }
    }
}

const NOT_ASKED: StoreError = StoreError::Unexpected("no Sentinel was asked");

fn is_unknown_name(error: &StoreError) -> bool {
    matches!(error, StoreError::Redis(error) if error.kind() == ErrorKind::MasterNameNotFoundBySentinel)
}

/// Whether the Sentinel refuses an anonymous question: its default user has a password, is off, or
/// lacks the permission.
fn requires_authentication(reply: &Value) -> bool {
    let Value::ServerError(error) = reply else {
        return false;
    };
    error.code() == "NOAUTH" || error.kind() == Some(ServerErrorKind::NoPerm)
}

/// The host and port in a Sentinel's reply. `None` if it does not know the primary's name.
fn address(reply: &Value) -> Option<Address> {
    let Value::Array(parts) = reply else {
        return None;
    };
    let [host, port] = parts.as_slice() else {
        return None;
    };
    let host = redis::from_redis_value_ref::<String>(host)
        .ok()
        .filter(|host| !host.is_empty())?;
    let port = redis::from_redis_value_ref::<u16>(port)
        .ok()
        .filter(|port| *port != 0)?;
    Some((host, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(text: &str) -> Value {
        redis::parse_redis_value(text.replace(' ', "\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        let parse_address = |text| address(&reply(text));
        assert_eq!(
            parse_address("*2 $9 127.0.0.1 $4 6379 "),
            Some(("127.0.0.1".to_owned(), 6_379))
        );
        assert_eq!(
            parse_address("*2 $5 redis $4 6380 "),
            Some(("redis".to_owned(), 6_380))
        );
        assert_eq!(
            parse_address("*2 $3 ::1 $4 6380 "),
            Some(("::1".to_owned(), 6_380))
        );
        for text in [
            "*-1 ",
            "$-1 ",
            "*0 ",
            "*2 $0  $4 6379 ",
            "*2 $1 a $1 0 ",
            "*2 $1 a $5 65536 ",
            "*1 $1 a ",
            ":1 ",
        ] {
            assert_eq!(parse_address(text), None, "{text}");
        }
    }

    #[test]
    fn credentials_are_for_sentinels_that_require_them() {
        let is_required = |text: &str| {
            requires_authentication(&redis::parse_redis_value(text.as_bytes()).unwrap())
        };
        assert!(is_required("-NOAUTH Authentication required.\r\n"));
        assert!(is_required(
            "-NOPERM this user has no permissions to run the 'sentinel' command\r\n"
        ));
        assert!(!is_required("-ERR unknown command 'SENTINEL'\r\n"));
        assert!(!is_required("*-1\r\n"));
    }

    #[test]
    fn each_question_goes_to_another_sentinel_first() {
        let urls = ["redis://a", "redis://b", "redis://c"]
            .map(|url| redis::IntoConnectionInfo::into_connection_info(url).unwrap());
        let sentinels = Sentinels::new(urls.into(), "mymaster".to_owned()).unwrap();
        let mut first = HashSet::new();
        for _ in 0..3 {
            let order: Vec<_> = sentinels
                .rotated()
                .map(|url| url.addr().to_string())
                .collect();
            assert_eq!(order.iter().collect::<HashSet<_>>().len(), 3);
            first.insert(order[0].clone());
        }
        assert_eq!(first.len(), 3);
    }
}
