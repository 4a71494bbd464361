//! The rules hold in every history: random ones, played on a real Redis and on a [reference] at the same time.
//!
//! `PROPTEST_CASES` asks for more of them than a quick run takes, `PROPTEST_RNG_SEED` for the very same ones again.

mod commuting;
mod history;
mod keys;
mod reads;
mod reference;
mod world;

use std::time::{SystemTime, UNIX_EPOCH};

use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseResult, TestError, TestRunner},
};

/// How many histories a quick run takes.
const CASES: u32 = 160;

/// Names that are hard to keep apart.
const PLAYERS: [&str; 3] = ["alice", "alice:c", "steam|7.0@eu-_"];

/// Runs a property, and says how to run it again where it fails.
fn hold<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let mut config = Config { failure_persistence: None, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = CASES;
    }
    if config.rng_seed == RngSeed::Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        config.rng_seed = RngSeed::Fixed(now.as_nanos() as u64);
    }
    let seed = config.rng_seed;
    match TestRunner::new(config).run(strategy, property) {
        Ok(()) => {}
        Err(TestError::Fail(why, case)) => panic!("{why}\nin {case:?}\nthe same again: PROPTEST_RNG_SEED={seed}"),
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

/// A runtime of the kind that the functions have.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
