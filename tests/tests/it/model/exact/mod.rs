//! Histories to the millisecond, played on a real Redis and on a [reference] at the same time.
//! Redis's clock stands still between the steps of a [history], and jumps to the very millisecond
//! of an expiry, the one before and the one after.

mod activities;
mod events;
mod fixture;
mod gateways;
mod history;
mod keys;
mod player;
mod reads;
mod reference;

use super::{PLAYERS, hold, runtime, unexpected};
