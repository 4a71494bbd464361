//! A harness for tests: real servers, one for each test, on free loopback ports, gone with the test.
//!
//! - [`RedisServer`]: a throwaway Redis, with a client for raw keys and a clock that can be moved on.
//! - [`RedisCluster`]: a throwaway cluster of three masters.
//! - [`NatsServer`]: a throwaway NATS with JetStream.
//! - [`RuntimeApi`]: a small stand-in for the Lambda Runtime API, which runs a function's real binary.
//! - [`Server`]: the server's real binary.
//! - [`Gateway`]: the client's example gateway, likewise.
//! - [`Browser`]: a headless Chromium.
//! - [`event`]: API Gateway's and the load balancer's event JSON.

mod browser;
mod config;
pub mod event;
mod gateway;
mod nats_account;
mod nats_server;
mod process;
mod redis_cluster;
mod redis_server;
mod runtime_api;
mod server;

pub use browser::Browser;
pub use config::{app, cluster_app, config, connection, player, service};
pub use gateway::Gateway;
pub use nats_server::NatsServer;
pub use process::binary;
pub use redis_cluster::RedisCluster;
pub use redis_server::RedisServer;
pub use runtime_api::{Function, Outcome, RuntimeApi, command};
pub use server::{Answer, Server, answer};
