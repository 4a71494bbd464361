//! The rules hold in every history: random ones, played on a real Redis.
//!
//! `PROPTEST_CASES` asks for more of them than a quick run takes, `PROPTEST_RNG_SEED` for the very
//! same ones again.

mod commuting;
#[cfg(target_os = "linux")]
mod exact;

use std::time::{SystemTime, UNIX_EPOCH};

use presence::PresenceError;
use proptest::{
    strategy::Strategy,
    test_runner::{Config, RngSeed, TestCaseError, TestCaseResult, TestError, TestRunner},
};

/// How many histories a quick run takes.
const CASES: u32 = 160;

/// Names that are hard to keep apart.
const PLAYERS: [&str; 3] = ["alice", "alice:c", "steam|7.0@eu-_"];

/// Runs a property, and says how to run it again if it fails.
fn hold<S: Strategy>(strategy: &S, property: impl Fn(S::Value) -> TestCaseResult) {
    let mut config = Config {
        failure_persistence: None,
        ..Config::default()
    };
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
        Err(TestError::Fail(why, case)) => {
            panic!("{why}\nin {case:?}\nthe same again: PROPTEST_RNG_SEED={seed}")
        }
        Err(TestError::Abort(why)) => panic!("{why}"),
    }
}

fn unexpected(error: PresenceError) -> TestCaseError {
    TestCaseError::fail(format!("{error:?}"))
}

/// A runtime of the kind that the functions have.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}
