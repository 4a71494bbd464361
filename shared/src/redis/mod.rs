//! Client of Redis: a standalone server, a server that Sentinels watch, or a cluster. It knows
//! nodes, hash slots, shards and the urgency of commands, and no keys or their content.
//!
//! In this crate, `redis::…` in a path that does not begin with `crate` is the crate of that name.

mod client;
mod cluster;
pub(crate) mod episodes;
mod error;
mod hedged;
mod in_flight;
mod layout;
mod link;
mod node;
mod policy;
mod shard;
mod slot_map;
mod tokens;
mod topology;
pub(crate) mod value;

pub(crate) use client::RedisClient;
pub use error::{RedisFault, StoreError, StoreFailure};
pub(crate) use link::Address;
pub(crate) use node::Timed;
pub(crate) use policy::Policy;
pub(crate) use shard::{SLOTS, Shard, slot, slot_tag};
#[cfg(any(test, fuzzing))]
pub(crate) use slot_map::SlotMap;
pub(crate) use value::ConcatArg;
