//! Random histories of players, to the millisecond.

use presence::model::{Reason, State};
use presence_tests::{RedisServer, VirtualClock};
use proptest::prelude::*;

use super::{
    PLAYERS,
    activities::{ACTIVITIES, Change},
    fixture::{Environment, Fixture},
    gateways::GATEWAYS,
    hold,
    player::SOCKETS,
    reference::Rules,
    runtime,
};

const TTL: u64 = 45_000;

/// One thing that happens, and when.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) moment: Moment,
    pub(super) call: Call,
}

/// How the clock moves before a call.
#[derive(Debug, Clone)]
pub(super) enum Moment {
    /// By so many milliseconds.
    After(u64),
    /// To one of the next moments at which something expires, or the millisecond before or after
    /// it.
    Boundary { position: usize, offset: i64 },
    /// The clock is set back by so many milliseconds.
    Before(u64),
}

/// Players, sockets and gateways by number. Late and doubled calls come by themselves, sockets
/// being few.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Connect(Socket, Owner),
    Heartbeat(Socket, Owner),
    Disconnect(Socket, Reason),
    ConnectBatch(Vec<Socket>, Owner),
    HeartbeatBatch(Vec<Socket>, Owner),
    DisconnectBatch(Vec<Socket>, Reason),
    RenewGateway(usize),
    LeaveGateway(usize, Reason),
    /// Looks for lost gateways.
    SweepGateways,
    /// State, activity, or both.
    Set(usize, Option<State>, Change),
    Sweep,
    /// Redis loses its data.
    Flush,
    /// Redis loses its scripts.
    ScriptFlush,
}

/// A player's number and a socket's.
pub(super) type Socket = (usize, usize);

/// The number of the gateway that a call names, if it names one.
pub(super) type Owner = Option<usize>;

fn step() -> impl Strategy<Value = Step> {
    (moment(), call()).prop_map(|(moment, call)| Step { moment, call })
}

/// Most calls come at a moment that matters. Several at the same one are common.
fn moment() -> impl Strategy<Value = Moment> {
    prop_oneof![
        8 => Just(Moment::After(0)),
        3 => Just(Moment::After(1)),
        4 => (1..TTL / 2).prop_map(Moment::After),
        12 => (0..3_usize, -1..=1_i64).prop_map(|(position, offset)| Moment::Boundary { position, offset }),
        3 => (0..20_usize, -1..=1_i64).prop_map(|(position, offset)| Moment::Boundary { position, offset }),
        1 => (1..2 * TTL).prop_map(Moment::Before),
    ]
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        12 => (socket(), owner()).prop_map(|(socket, owner)| Call::Connect(socket, owner)),
        14 => (socket(), owner()).prop_map(|(socket, owner)| Call::Heartbeat(socket, owner)),
        12 => (socket(), reason()).prop_map(|(socket, reason)| Call::Disconnect(socket, reason)),
        2 => (sockets(), owner()).prop_map(|(sockets, owner)| Call::ConnectBatch(sockets, owner)),
        6 => (sockets(), owner()).prop_map(|(sockets, owner)| Call::HeartbeatBatch(sockets, owner)),
        2 => (sockets(), reason()).prop_map(|(sockets, reason)| Call::DisconnectBatch(sockets, reason)),
        8 => (player(), state()).prop_map(|(player, state)| Call::Set(player, Some(state), Change::Keep)),
        6 => (player(), change()).prop_map(|(player, change)| Call::Set(player, None, change)),
        3 => (player(), state(), change()).prop_map(|(player, state, change)| Call::Set(player, Some(state), change)),
        5 => Just(Call::Sweep),
        8 => gateway().prop_map(Call::RenewGateway),
        3 => (gateway(), reason()).prop_map(|(gateway, reason)| Call::LeaveGateway(gateway, reason)),
        8 => Just(Call::SweepGateways),
        1 => Just(Call::Flush),
        1 => Just(Call::ScriptFlush),
    ]
}

/// The first player has most of it, so that something happens.
fn player() -> impl Strategy<Value = usize> {
    prop_oneof![3 => Just(0), 1 => 1..PLAYERS.len()]
}

fn socket() -> impl Strategy<Value = Socket> {
    (player(), prop_oneof![2 => 0..3_usize, 1 => 0..SOCKETS])
}

fn gateway() -> impl Strategy<Value = usize> {
    0..GATEWAYS.len()
}

fn owner() -> impl Strategy<Value = Owner> {
    prop_oneof![2 => Just(None), 1 => gateway().prop_map(Some)]
}

fn state() -> impl Strategy<Value = State> {
    proptest::sample::select(&State::ALL[..])
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![1 => Just(Change::Remove), 3 => (0..ACTIVITIES.len()).prop_map(Change::Set)]
}

fn sockets() -> impl Strategy<Value = Vec<Socket>> {
    proptest::collection::vec(socket(), 1..8)
}

fn reason() -> impl Strategy<Value = Reason> {
    prop_oneof![
        3 => Just(Reason::Quit),
        3 => Just(Reason::Lost),
        2 => Just(Reason::Moving)
    ]
}

/// A retention that is shorter than the TTL, too: its end comes before the sweep in many histories.
fn rules(deletes_at_expiry: bool) -> impl Strategy<Value = Rules> {
    let graces = proptest::sample::select(&[0, 20_000, 20_000, TTL][..]);
    let retentions = proptest::sample::select(&[1, 10_000, 3_600_000][..]);
    let limits = proptest::sample::select(&[1, 2, 3, 64][..]);
    let move_graces = proptest::sample::select(&[1, 30_000, TTL][..]);
    (graces, move_graces, retentions, limits).prop_map(
        move |(grace, move_grace, retention, max_connections)| Rules {
            ttl: TTL,
            grace,
            move_grace,
            retention,
            max_connections,
            deletes_at_expiry,
        },
    )
}

fn every_history_goes_as_the_rules_say(
    redis: RedisServer,
    clock: VirtualClock,
    rules: impl Strategy<Value = Rules>,
) {
    let runtime = runtime();
    let environment = Environment::new(redis, clock);
    hold(
        &(rules, proptest::collection::vec(step(), 1..40)),
        |(rules, history)| {
            runtime.block_on(async {
                let mut fixture = Fixture::new(&environment, rules).await;
                for step in &history {
                    fixture.take(step).await?;
                }
                fixture.end(&environment).await
            })
        },
    );
}

#[test]
fn every_history_goes_as_the_rules_say_to_the_millisecond() {
    let clock = VirtualClock::new();
    let redis = runtime().block_on(RedisServer::start_with_clock(&clock));
    every_history_goes_as_the_rules_say(redis, clock, rules(false));
}

#[test]
fn every_history_goes_as_the_rules_say_on_valkey() {
    let clock = VirtualClock::new();
    match runtime().block_on(RedisServer::start_valkey_with_clock(&clock)) {
        Some(valkey) => every_history_goes_as_the_rules_say(valkey, clock, rules(true)),
        None => eprintln!(
            "skipped: there is no valkey-server on this machine, and none could be installed"
        ),
    }
}
