//! Commutation: connects, heartbeats and disconnects, in any order and repeated any number of
//! times, end in the same connections.

use std::collections::BTreeSet;

use futures_util::future::try_join_all;
use presence::{
    PresenceError, PresenceService,
    model::{Connection, Reason, State},
    telemetry::TraceContext,
};
use presence_tests::{RedisServer, connection, leases, player, service};
use proptest::{collection::vec, prelude::*, sample::select, test_runner::TestCaseResult};
use redis::AsyncTypedCommands as _;
use serde_json::Value;

use super::{PLAYERS, hold, runtime, unexpected};

const CONNECTIONS: [&str; 5] = ["c", "cc", "leases", "a=/+b", "0"];

/// The first player is connected before, and plays.
const BEFORE: (usize, &str) = (0, "before");

/// One report about a player's connection.
type Call = (Verb, usize, &'static str);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Connect,
    Heartbeat,
    Disconnect,
}

#[derive(Debug, Clone, Copy)]
enum Manner {
    OneByOne,
    AtTheSameTime,
    /// Neighbors of the same verb go together.
    InBatches,
}

/// The connections being few, many calls are said twice, and some come after their disconnect.
fn calls() -> impl Strategy<Value = Vec<Call>> {
    let verb = select(&[Verb::Connect, Verb::Heartbeat, Verb::Disconnect][..]);
    vec((verb, 0..PLAYERS.len(), select(&CONNECTIONS[..])), 1..30)
}

fn manner() -> impl Strategy<Value = Manner> {
    select(&[Manner::OneByOne, Manner::AtTheSameTime, Manner::InBatches][..])
}

async fn make(
    service: &PresenceService,
    manner: Manner,
    calls: &[Call],
) -> Result<(), PresenceError> {
    match manner {
        Manner::OneByOne => {
            for call in calls {
                make_one(service, call).await?;
            }
        }
        Manner::AtTheSameTime => {
            try_join_all(calls.iter().map(|call| make_one(service, call))).await?;
        }
        Manner::InBatches => {
            for calls in calls.chunk_by(|one, other| one.0 == other.0) {
                make_batch(service, calls).await?;
            }
        }
    }
    Ok(())
}

async fn make_one(service: &PresenceService, call: &Call) -> Result<(), PresenceError> {
    let connection = subject(call);
    let trace = TraceContext::new_root();
    let result = match call.0 {
        Verb::Connect => service.connect(&connection, &trace).await,
        Verb::Heartbeat => service.heartbeat(&connection, &trace).await,
        Verb::Disconnect => service.disconnect(&connection, Reason::Quit, &trace).await,
    };
    match result {
        Ok(_) | Err(PresenceError::ConnectionClosed) => Ok(()),
        Err(error) => Err(error),
    }
}

async fn make_batch(service: &PresenceService, calls: &[Call]) -> Result<(), PresenceError> {
    let connections = calls.iter().map(subject).collect();
    let trace = TraceContext::new_root();
    match calls[0].0 {
        Verb::Connect => service.connect_batch(connections, &trace).await,
        Verb::Heartbeat => service.heartbeat_batch(connections, &trace).await,
        Verb::Disconnect => {
            service
                .disconnect_batch(connections, Reason::Quit, &trace)
                .await
        }
    }
    .map(|_| ())
}

fn subject((_, at, id): &Call) -> Connection {
    connection(PLAYERS[*at], id)
}

/// The connections that the calls leave open: those that were opened or renewed, and that nothing
/// closed.
fn left_open(calls: &[Call], at: usize) -> BTreeSet<&str> {
    let get_calls = || calls.iter().filter(move |call| call.1 == at);
    let closed: BTreeSet<_> = get_calls()
        .filter(|call| call.0 == Verb::Disconnect)
        .map(|call| call.2)
        .collect();
    let before = Some(BEFORE)
        .filter(|before| before.0 == at)
        .map(|before| before.1);
    before
        .into_iter()
        .chain(get_calls().map(|call| call.2))
        .filter(|id| !closed.contains(id))
        .collect()
}

async fn compare(redis: &RedisServer, service: &PresenceService, calls: &[Call]) -> TestCaseResult {
    for (at, name) in PLAYERS.into_iter().enumerate() {
        let expected = left_open(calls, at);
        let json = redis
            .connection()
            .await
            .get(format!("presence:{name}"))
            .await
            .unwrap();
        let record: Value = json.map_or(Value::Null, |json| serde_json::from_str(&json).unwrap());
        let past = redis
            .connection()
            .await
            .get(format!("{{presence:{name}}}:past"))
            .await
            .unwrap();
        let leases = leases(&past.unwrap_or_default(), 45_000);
        let open: BTreeSet<_> = leases.iter().map(|(id, _)| id.as_str()).collect();
        prop_assert_eq!(&open, &expected, "{}", record);

        let read = service
            .presences(&[player(name)], false)
            .await
            .map_err(unexpected)?
            .presences
            .remove(0);
        let state = match expected.is_empty() {
            true => State::Offline,
            false if at == BEFORE.0 => State::InMatch,
            false => State::Online,
        };
        prop_assert_eq!(
            (read.state, read.connection_count as usize),
            (state, expected.len())
        );
        prop_assert_eq!(record.is_null(), expected.is_empty());
    }
    Ok(())
}

#[test]
fn calls_end_in_the_same_connections_in_whatever_order_they_come() {
    let runtime = runtime();
    let redis = runtime.block_on(RedisServer::start());
    hold(&(calls(), manner()), |(calls, manner)| {
        runtime.block_on(async {
            redis::cmd("FLUSHALL")
                .exec_async(&mut redis.connection().await)
                .await
                .unwrap();
            let service = service(&redis, &[]);
            let trace = TraceContext::new_root();
            let before = connection(PLAYERS[BEFORE.0], BEFORE.1);
            service.connect(&before, &trace).await.map_err(unexpected)?;
            service
                .set_state(&before.player_id, State::InMatch, &trace)
                .await
                .map_err(unexpected)?;
            make(&service, manner, &calls).await.map_err(unexpected)?;
            compare(&redis, &service, &calls).await
        })
    });
}
