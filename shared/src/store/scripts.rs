//! The Lua scripts, assembled from `lua/` once, and called by their hash.

use std::{iter, sync::LazyLock};

use redis::{Cmd, ErrorKind, RedisWrite as _, ServerErrorKind, Value};

use crate::{
    model::{Connection, GatewayId},
    redis::{ConcatArg, Policy, RedisClient, Shard, StoreError},
};

/// A script with its hash.
#[derive(Debug)]
pub(crate) struct Script {
    /// The name of the script in traces.
    pub(crate) name: &'static str,
    /// The policy of its calls.
    pub(super) policy: Policy,
    source: String,
    hash: String,
}

macro_rules! script {
    ($name:literal) => {
        script!($name, Policy::CALL)
    };
    ($name:literal, $policy:expr) => {
        LazyLock::new(|| {
            Script::new(
                $name,
                $policy,
                include_str!(concat!("../../../lua/", $name, ".lua")),
            )
        })
    };
}

pub(crate) static CONNECT: LazyLock<Script> = script!("connect");
pub(crate) static HEARTBEAT: LazyLock<Script> = script!("heartbeat", Policy::RENEWAL);
pub(crate) static RENEW_KNOWN: LazyLock<Script> = script!("renew_known", Policy::RENEWAL);
pub(crate) static DISCONNECT: LazyLock<Script> = script!("disconnect");
/// The script that sets a state. It must not be repeated: a late repetition would override a newer
/// state, and a repeated sign-out would close a connection that was opened meanwhile.
pub(crate) static SET_STATE: LazyLock<Script> = script!("set_state", Policy::UNREPEATED);
pub(crate) static PROBE: LazyLock<Script> = script!("probe", Policy::UPKEEP);
pub(crate) static TURN: LazyLock<Script> = script!("turn", Policy::TURN);
pub(crate) static RENEW_GATEWAY: LazyLock<Script> = script!("renew_gateway", Policy::RENEWAL);
pub(crate) static LEAVE_GATEWAY: LazyLock<Script> = script!("leave_gateway");
pub(crate) static LOST_GATEWAYS: LazyLock<Script> = script!("lost_gateways", Policy::TURN);
pub(crate) static END_LEASES: LazyLock<Script> = script!("end_leases");
pub(crate) static EXPIRE: LazyLock<Script> = script!("expire");

/// The initial capacity of a command: the arguments and bytes of a call for one player.
const CAPACITY: (usize, usize) = (14, 512);

/// The most keys and arguments that a call itself has.
const MAX_CALL_ARGUMENTS: usize = 8;

/// The most keys and arguments that each entry adds to a call.
const MAX_ENTRY_ARGUMENTS: usize = 4;

/// The usual length of a key or argument.
const ARGUMENT_BYTES: usize = 32;

/// The libraries that scripts include by `-- @include <name>`.
const LIBRARY: [(&str, &str); 13] = [
    ("call", include_str!("../../../lua/lib/call.lua")),
    ("clock", include_str!("../../../lua/lib/clock.lua")),
    ("types", include_str!("../../../lua/lib/types.lua")),
    ("formats", include_str!("../../../lua/lib/formats.lua")),
    ("codec", include_str!("../../../lua/lib/codec.lua")),
    ("events", include_str!("../../../lua/lib/events.lua")),
    ("owners", include_str!("../../../lua/lib/owners.lua")),
    ("player", include_str!("../../../lua/lib/player.lua")),
    ("closed", include_str!("../../../lua/lib/closed.lua")),
    ("known", include_str!("../../../lua/lib/known.lua")),
    ("renew", include_str!("../../../lua/lib/renew.lua")),
    ("end", include_str!("../../../lua/lib/end.lua")),
    ("reply", include_str!("../../../lua/lib/reply.lua")),
];

impl Script {
    fn new(name: &'static str, policy: Policy, text: &str) -> Self {
        let mut source = String::new();
        assemble(text, &mut source);
        let hash = redis::Script::new(&source).get_hash().to_owned();
        Self {
            name,
            policy,
            source,
            hash,
        }
    }

    /// Calls the script on the node of a shard. `complete` appends keys and arguments.
    pub(super) async fn run(
        &self,
        redis: &RedisClient,
        shard: Shard,
        complete: impl Fn(&mut Cmd),
    ) -> Result<Value, StoreError> {
        let query = async |call: Cmd| redis.query_with(self.policy, shard, &call).await;
        match query(self.call_by_hash(&complete)).await {
            // Redis has not executed the call, so any script may be sent again.
            Err(error) if is_unknown_script(&error) => query(self.call_by_source(&complete)).await,
            reply => reply,
        }
    }

    /// Builds the `EVALSHA`. Redis replies `NOSCRIPT` if the script is not cached. `complete`
    /// appends keys and arguments.
    pub(crate) fn call_by_hash(&self, complete: impl Fn(&mut Cmd)) -> Cmd {
        let mut command = Cmd::with_capacity(CAPACITY.0, CAPACITY.1);
        complete(command.arg("EVALSHA").arg(&self.hash));
        command
    }

    /// Builds the `EVAL`, which also makes Redis cache the script. `complete` appends keys and
    /// arguments.
    pub(crate) fn call_by_source(&self, complete: impl Fn(&mut Cmd)) -> Cmd {
        let mut command = redis::cmd("EVAL");
        complete(command.arg(&self.source));
        command
    }
}

/// Makes room for the keys and arguments of a call for this number of entries, so that the command
/// is not moved while it grows, unless ids are unusually long.
pub(super) fn reserve(command: &mut Cmd, entries: usize) {
    let arguments = MAX_CALL_ARGUMENTS + MAX_ENTRY_ARGUMENTS * entries;
    command.reserve_space_for_args(iter::repeat_n(ARGUMENT_BYTES, arguments));
}

/// Whether Redis does not have the script cached: it restarted, failed over, or its scripts were
/// flushed.
pub(super) fn is_unknown_script(error: &StoreError) -> bool {
    let no_script = ErrorKind::Server(ServerErrorKind::NoScript);
    matches!(error, StoreError::Redis(error) if error.kind() == no_script)
}

/// The argument for a connection, and the gateway that it belongs to: see `lua/lib/formats.lua`.
pub(super) fn claim<'a>(
    connection: &'a Connection,
    gateway: Option<&'a GatewayId>,
) -> ConcatArg<'a> {
    let connection = connection.connection_id.as_str();
    match gateway {
        Some(gateway) => ConcatArg([connection, "!", gateway.as_str()]),
        None => ConcatArg([connection, "", ""]),
    }
}

/// Appends a text to `source`, with the libraries that it includes. A library may include others.
fn assemble(text: &str, source: &mut String) {
    for line in text.lines() {
        match line.strip_prefix("-- @include ") {
            Some(name) => assemble(library(name), source),
            None => {
                source.push_str(line);
                source.push('\n');
            }
        }
    }
}

fn library(name: &str) -> &'static str {
    let found = LIBRARY.iter().find(|(library, _)| *library == name);
    found
        .map(|(_, source)| *source)
        .unwrap_or_else(|| panic!("lua/lib/{name}.lua is not in LIBRARY"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_include_is_resolved() {
        for script in [
            &CONNECT,
            &HEARTBEAT,
            &RENEW_KNOWN,
            &DISCONNECT,
            &SET_STATE,
            &EXPIRE,
            &END_LEASES,
            &RENEW_GATEWAY,
            &LEAVE_GATEWAY,
            &LOST_GATEWAYS,
            &PROBE,
            &TURN,
        ] {
            assert!(!script.source.contains("@include"));
            assert_eq!(script.hash.len(), 40);
        }
    }
}
