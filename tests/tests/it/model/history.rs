//! What happens to players, at random.

use presence::model::{DisconnectReason, PresenceState};
use presence_tests::RedisServer;
use proptest::prelude::*;

use super::{
    PLAYERS, hold, keys,
    reference::{Rules, SOCKETS},
    runtime,
    world::World,
};

const TTL: u64 = 45_000;
const RETENTION: u64 = 3_600_000;

/// Time goes by in whole multiples of this, so that whatever ends (a lease after 45 s, a closed connection after 90 s, a
/// grace after 20 s or 45 s, a past an hour after any of these) ends more than [`SLACK`] after the step before.
const LAP: u64 = 13_000;

/// How much real time, which goes by as well, a history may take, in milliseconds.
pub(super) const SLACK: u64 = 4_000;

/// One thing that happens, and how long after the one before, in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) after: u64,
    pub(super) call: Call,
}

/// Players and sockets by number. Late and doubled calls come by themselves, sockets being few.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Connect(Socket),
    Heartbeat(Socket),
    Disconnect(Socket, DisconnectReason),
    ConnectBatch(Vec<Socket>),
    HeartbeatBatch(Vec<Socket>),
    DisconnectBatch(Vec<Socket>, DisconnectReason),
    SetState(usize, PresenceState),
    /// Redis loses its data.
    Flush,
    /// Redis loses its scripts.
    ScriptFlush,
}

/// A player's number and a socket's.
pub(super) type Socket = (usize, usize);

fn step() -> impl Strategy<Value = Step> {
    (elapsed(), call()).prop_map(|(after, call)| Step { after, call })
}

/// At least a millisecond, so that no two leases run out at the same time and the first is known.
fn elapsed() -> impl Strategy<Value = u64> {
    prop_oneof![
        12 => Just(1),
        8 => Just(LAP),
        2 => Just(2 * LAP),
        1 => Just(4 * LAP), // past the TTL
        1 => Just(7 * LAP), // past twice the TTL
        1 => Just(277 * LAP), // past the retention
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        6 => socket().prop_map(Call::Connect),
        6 => socket().prop_map(Call::Heartbeat),
        4 => (socket(), reason()).prop_map(|(socket, reason)| Call::Disconnect(socket, reason)),
        1 => sockets().prop_map(Call::ConnectBatch),
        3 => sockets().prop_map(Call::HeartbeatBatch),
        1 => (sockets(), reason()).prop_map(|(sockets, reason)| Call::DisconnectBatch(sockets, reason)),
        6 => (0..PLAYERS.len(), proptest::sample::select(&PresenceState::ALL[..]))
            .prop_map(|(player, state)| Call::SetState(player, state)),
        1 => Just(Call::Flush),
        1 => Just(Call::ScriptFlush),
    ]
}

/// The first player has most of it, so that something happens.
fn socket() -> impl Strategy<Value = Socket> {
    (prop_oneof![3 => Just(0), 1 => 1..PLAYERS.len()], 0..SOCKETS)
}

fn sockets() -> impl Strategy<Value = Vec<Socket>> {
    proptest::collection::vec(socket(), 1..8)
}

fn reason() -> impl Strategy<Value = DisconnectReason> {
    prop_oneof![Just(DisconnectReason::Quit), Just(DisconnectReason::Lost)]
}

fn rules() -> impl Strategy<Value = Rules> {
    let graces = proptest::sample::select(&[0, 20_000, 20_000, TTL][..]);
    let limits = proptest::sample::select(&[1, 2, 3, 64][..]);
    (graces, limits).prop_map(|(grace, max_connections)| Rules {
        ttl: TTL,
        grace,
        retention: RETENTION,
        max_connections,
    })
}

#[test]
fn every_history_goes_as_the_rules_say() {
    let runtime = runtime();
    let redis = runtime.block_on(RedisServer::start());
    hold(&(rules(), proptest::collection::vec(step(), 1..40)), |(rules, history)| {
        runtime.block_on(async {
            let mut world = World::new(&redis, rules).await;
            for step in &history {
                world.take(step).await?;
            }
            keys::check(&redis, &world.reference).await
        })
    });
}
