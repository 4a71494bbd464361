//! Redis, its CPU time, and scripts sent to it directly.

use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, future::join_all, stream};
use presence_tests::RedisServer;
use redis::{
    Cmd, Pipeline,
    aio::{ConnectionLike as _, MultiplexedConnection},
};

use crate::players;

/// The least that a heartbeat could be: read the clock, read the record, store it again.
pub(crate) const LEAST: &str = "
redis.call('TIME')
local record = redis.call('GET', KEYS[1])
redis.call('SET', KEYS[1], record, 'PX', 45000)
return 1";

/// The commands of a heartbeat whose player's presence outlives the record, and its reply, without
/// any check of what it reads. Keys and arguments are those of [`heartbeat`].
pub(crate) const UNCHECKED: &str = r#"
local time = redis.call('TIME')
local now = time[1] .. string.sub(time[2], 1, 3)
local past = redis.call('GET', KEYS[2])
local record = '{"last_seen":' .. now .. ',"version":' .. string.sub(past, 15, 27)
  .. ',"connection_count":1,"state":"ONLINE"}'
redis.call('SET', KEYS[1], record, 'PX', ARGV[1])
redis.call('SETRANGE', KEYS[2], '0', now)
return record"#;

/// The script by which Centrifugo keeps a known client present in a channel, with the map from
/// users to clients by which it could determine the users that are online: for both a time in a
/// sorted set, and a field in a hash, all of which expire.
pub(crate) const CENTRIFUGO: &str = "
local clients, data, users, counts = unpack(KEYS)
local lifetime, deadline, client, details, user = unpack(ARGV)
local is_new = redis.call('HEXISTS', data, client) == 0
redis.call('ZADD', clients, deadline, client)
redis.call('HSET', data, client, details)
redis.call('EXPIRE', clients, lifetime)
redis.call('EXPIRE', data, lifetime)
redis.call('ZADD', users, deadline, user)
redis.call('EXPIRE', users, lifetime)
if is_new then
    redis.call('HINCRBY', counts, user, 1)
end
redis.call('EXPIRE', counts, lifetime)";

/// Centrifugo's script without its map of users: it knows which clients are present, but not
/// whether a user is.
pub(crate) const CENTRIFUGO_WITHOUT_USERS: &str = "
local clients, data = unpack(KEYS)
local lifetime, deadline, client, details = unpack(ARGV)
redis.call('ZADD', clients, deadline, client)
redis.call('HSET', data, client, details)
redis.call('EXPIRE', clients, lifetime)
redis.call('EXPIRE', data, lifetime)";

/// A Redis tied to the first CPU.
pub(crate) async fn start() -> RedisServer {
    let redis = RedisServer::start().await;
    crate::cpu::pin(redis.id(), "0");
    redis
}

/// Makes Redis know a script, and returns its hash.
pub(crate) async fn load(connection: &mut MultiplexedConnection, script: &str) -> String {
    redis::cmd("SCRIPT")
        .arg("LOAD")
        .arg(script)
        .query_async(connection)
        .await
        .expect("a script that compiles")
}

/// A call of [`LEAST`] for a player.
pub(crate) fn least(hash: &str, player: usize) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command
        .arg(hash)
        .arg(1)
        .arg(format!("presence:{}", players::player(player)));
    command
}

/// A call of [`CENTRIFUGO`] for a player, whose channel is that of all players that are online, at
/// a time in seconds.
pub(crate) fn centrifugo(hash: &str, player: usize, time: usize) -> Cmd {
    let keys = [
        "online.clients",
        "online.data",
        "online.users",
        "online.counts",
    ];
    let mut command = centrifugo_call(hash, &keys, player, time);
    command.arg(players::player(player));
    command
}

/// A call of [`CENTRIFUGO_WITHOUT_USERS`] for a player, at a time in seconds.
pub(crate) fn centrifugo_without_users(hash: &str, player: usize, time: usize) -> Cmd {
    centrifugo_call(hash, &["alone.clients", "alone.data"], player, time)
}

fn centrifugo_call(hash: &str, keys: &[&str], player: usize, time: usize) -> Cmd {
    let id = players::player(player);
    let connection = players::connection(player);
    let mut command = redis::cmd("EVALSHA");
    command.arg(hash).arg(keys.len()).arg(keys);
    command.arg(60).arg(time + 60).arg(&connection);
    command.arg(format!(r#"{{"user":"{id}","client":"{connection}"}}"#));
    command
}

/// The script of a heartbeat whose lease is known.
pub(crate) fn heartbeat_script() -> String {
    presence_tests::script("renew_known")
}

/// The script of a batch of heartbeats.
pub(crate) fn batch_script() -> String {
    presence_tests::script("heartbeat")
}

/// A call of [`heartbeat_script`] for a player, with the arguments that the service gives it.
pub(crate) fn heartbeat(hash: &str, player: usize) -> Cmd {
    let id = players::player(player);
    let connection = players::connection(player);
    let mut command = redis::cmd("EVALSHA");
    command
        .arg(hash)
        .arg(2)
        .arg(format!("presence:{id}"))
        .arg(format!("{{presence:{id}}}:past"));
    command.arg(45_000).arg(connection);
    command
}

/// A call of [`batch_script`] for some players, with the arguments that the service gives it.
pub(crate) fn heartbeat_batch(hash: &str, players: std::ops::Range<usize>) -> Cmd {
    let mut command = redis::cmd("EVALSHA");
    command.arg(hash).arg(3 * players.len() + 3);
    for number in players.clone() {
        let player = players::player(number);
        command.arg(format!("presence:{player}"));
        command
            .arg(format!("{{presence:{player}}}:past"))
            .arg(format!("{{presence:{player}}}:closed"));
    }
    command.arg(&[
        "presence:{all}:expiry",
        "presence:{all}:owners",
        "presence:{all}:outbox",
    ]);
    let prefix = "presence:".len();
    let context =
        format!("604800000 64 {prefix} 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01 ");
    command.arg(45_000).arg(context);
    for number in players {
        command.arg(players::connection(number));
    }
    command
}

/// Sends commands in pipelines of `size`, a few at a time so that Redis never waits, and returns
/// the total duration.
pub(crate) async fn pipelined(
    connection: &MultiplexedConnection,
    commands: impl Iterator<Item = Cmd>,
    size: usize,
) -> Duration {
    let mut pipelines = Vec::new();
    let mut commands = commands.peekable();
    while commands.peek().is_some() {
        let mut pipeline = Pipeline::with_capacity(size);
        for command in commands.by_ref().take(size) {
            pipeline.add_command(command).ignore();
        }
        pipelines.push(pipeline);
    }
    let start = Instant::now();
    let sent = stream::iter(pipelines).for_each_concurrent(4, async |pipeline| {
        pipeline
            .query_async::<()>(&mut connection.clone())
            .await
            .expect("replies");
    });
    sent.await;
    start.elapsed()
}

/// Sends commands one after the other over each of some connections, and returns the total
/// duration.
pub(crate) async fn one_by_one(
    connections: Vec<MultiplexedConnection>,
    commands: &[Cmd],
) -> Duration {
    let share = commands.len().div_ceil(connections.len());
    let start = Instant::now();
    let clients = connections.into_iter().zip(commands.chunks(share)).map(
        async |(mut connection, commands)| {
            for command in commands {
                connection
                    .req_packed_command(command)
                    .await
                    .expect("a reply");
            }
        },
    );
    join_all(clients).await;
    start.elapsed()
}

/// The CPU time that Redis has spent so far.
pub(crate) async fn cpu_time(connection: &mut MultiplexedConnection) -> Duration {
    let user = number(connection, "cpu", "used_cpu_user").await;
    Duration::from_secs_f64(user + number(connection, "cpu", "used_cpu_sys").await)
}

/// Forgets what Redis counted so far.
pub(crate) async fn reset(connection: &mut MultiplexedConnection) {
    redis::cmd("CONFIG")
        .arg("RESETSTAT")
        .query_async::<()>(connection)
        .await
        .expect("RESETSTAT");
}

/// The CPU time that a command took since [`reset`], by Redis's own count.
pub(crate) async fn spent(connection: &mut MultiplexedConnection, command: &str) -> Duration {
    let stats = info(connection, "commandstats").await;
    let prefix = format!("cmdstat_{command}:");
    let line = stats
        .lines()
        .find_map(|line| line.strip_prefix(&*prefix))
        .unwrap_or_default();
    let micros = line
        .split(',')
        .find_map(|field| field.strip_prefix("usec="))
        .unwrap_or("0");
    Duration::from_micros(micros.parse().unwrap_or_default())
}

/// A number of `INFO`.
pub(crate) async fn number(
    connection: &mut MultiplexedConnection,
    section: &str,
    name: &str,
) -> f64 {
    let info = info(connection, section).await;
    let value = info
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value
        .and_then(|value| value.trim().parse().ok())
        .expect("a number")
}

async fn info(connection: &mut MultiplexedConnection, section: &str) -> String {
    redis::cmd("INFO")
        .arg(section)
        .query_async(connection)
        .await
        .expect("INFO")
}
