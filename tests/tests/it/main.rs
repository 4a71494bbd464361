//! End-to-end tests with real servers.

#![allow(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails, in its helpers too"
)]

mod access;
mod activity;
mod attacks;
#[cfg(target_os = "linux")]
mod boundaries;
mod cache_tokens;
mod chaos;
mod cli;
mod cluster;
mod connections;
mod console;
mod costs;
mod events;
mod functions;
mod gateway;
mod gateway_crash;
mod gateway_faults;
mod gateway_friends;
mod gateway_leases;
mod gateway_recovery;
mod gateway_stop;
mod half_dead;
mod health;
mod http;
#[cfg(target_os = "linux")]
mod instructions;
mod metrics;
mod model;
mod nats;
mod overload;
mod permissions;
mod rolling_restart;
mod scheduled;
mod scripts;
mod secrets;
mod sentinel;
mod server;
mod shutdown;
mod statistics;
mod sweep;
mod traces;
mod version;
mod watching;
mod websocket;
