//! A harness for tests: real servers, one for each test, on free loopback ports, gone with the
//! test.
//!
//! - [`RedisServer`]: a throwaway Redis, with a client for raw keys and a clock that can be moved
//!   on.
//! - [`VirtualClock`]: a wall clock for it that stands still until a test sets it.
//! - [`RedisCluster`]: a throwaway cluster of three masters, with or without replicas, TLS and
//!   users.
//! - [`idle_commands_per_second`], [`commands_per_health_probe`]: what a cluster is sent without
//!   any calls.
//! - [`RedisSentinels`]: a throwaway primary and replica, watched by three Sentinels.
//! - [`SentinelStub`]: a stand-in for a Sentinel, with replies chosen by the test.
//! - [`MovingEndpoint`]: a TCP proxy on a stable address, whose target moves and whose connections
//!   can be silenced.
//! - [`SecuredRedis`]: a throwaway Redis with TLS and users.
//! - [`NatsServer`]: a throwaway NATS with JetStream.
//! - [`NatsCluster`]: three NATS servers with a replicated JetStream.
//! - [`TlsFront`]: a TLS terminator in front of a server.
//! - [`SecuredNats`]: a throwaway NATS with TLS, to which only credentials give access.
//! - [`OtlpReceiver`]: a receiver of traces.
//! - [`RuntimeApi`]: a small stand-in for the Lambda Runtime API, which runs a function's real
//!   binary.
//! - [`Moto`]: a throwaway AWS, as far as secrets go.
//! - [`serve`]: routes in the test's own process.
//! - [`Server`]: the server's real binary.
//! - [`Watcher`]: a caller that watches players.
//! - [`Gateway`]: the real binary of the client's example gateway.
//! - [`Device`]: a player's device, with a socket to a gateway.
//! - [`chaos`]: the whole system under faults, and an independent checker.
//! - [`Browser`]: a headless Chromium.
//! - [`record_key`], [`partition_key`]: the names of a cluster's keys.
//! - [`script`]: the text of a Lua script.
//! - [`leases`]: what the raw keys say of a player's connections.
//! - [`event`]: API Gateway's and the load balancer's event JSON.

mod authority;
mod browser;
pub mod chaos;
mod cluster_cost;
mod config;
mod device;
pub mod event;
mod gateway;
mod leases;
mod moto;
mod moving_endpoint;
mod nats_account;
mod nats_cluster;
mod nats_secured;
mod nats_server;
mod nats_stream;
mod otlp_receiver;
mod partition;
mod process;
mod redis_cluster;
mod redis_sentinels;
mod redis_server;
mod runtime_api;
mod script;
mod secured;
mod sentinel_stub;
mod serve;
mod server;
mod socket;
mod tls_front;
mod virtual_clock;
mod watcher;

pub use authority::Authority;
pub use browser::Browser;
pub use cluster_cost::{commands_per_health_probe, idle_commands_per_second};
pub use config::{
    STORE_TIMEOUT, app, app_with, cluster_app, config, connection, connections, player, service,
};
pub use device::Device;
pub use gateway::Gateway;
pub use leases::leases;
pub use moto::Moto;
pub use moving_endpoint::MovingEndpoint;
pub use nats_cluster::NatsCluster;
pub use nats_secured::SecuredNats;
pub use nats_server::NatsServer;
pub use otlp_receiver::{OtlpReceiver, Span};
pub use partition::{partition_key, partition_slot, record_key};
pub use process::{available_memory, binary, free_port, open_files, peak_memory};
pub use redis_cluster::RedisCluster;
pub use redis_sentinels::RedisSentinels;
pub use redis_server::RedisServer;
pub use runtime_api::{Function, Outcome, RuntimeApi, command};
pub use script::script;
pub use secured::SecuredRedis;
pub use sentinel_stub::{SentinelReply, SentinelStub};
pub use serve::serve;
pub use server::{Response, Server, send};
pub use socket::{RawResponse, Socket};
pub use tls_front::TlsFront;
pub use virtual_clock::VirtualClock;
pub use watcher::Watcher;
