//! A wall clock for a Redis of its own, which moves when a test says so.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::Command,
};

use tempfile::TempDir;

/// A time at which a clock may start: 13 digits, as for the next centuries.
const START: u64 = 1_795_492_717_576;

/// A clock that a [`RedisServer`](crate::RedisServer) shows to its scripts, its expiries and its
/// callers.
///
/// Redis itself runs, unchanged: a small library that is preloaded into it replaces the system's
/// wall clock. Linux alone preloads in this way.
#[derive(Debug)]
pub struct VirtualClock {
    now: u64,
    shown: File,
    directory: TempDir,
}

impl VirtualClock {
    /// Makes a clock that shows some time of the year 2026. Needs a C compiler, as the crates do.
    ///
    /// # Panics
    /// Without one.
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let shown = OpenOptions::new()
            .create_new(true)
            .write(true)
            .open(directory.path().join("now"));
        let mut clock = Self {
            now: START,
            shown: shown.expect("a file"),
            directory,
        };
        clock.set(START);
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/src/virtual_clock.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O1", "-o"])
            .arg(clock.library())
            .arg(source)
            .status();
        assert!(
            status.expect("a C compiler: scripts/setup cc").success(),
            "{source} does not compile"
        );
        clock
    }

    /// The time that it shows, in Unix milliseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Sets it, forward or back.
    pub fn set(&mut self, now: u64) {
        self.show(now, 0, 0);
    }

    /// Sets it to so many microseconds within a millisecond, and lets it move on by `step`
    /// microseconds each time that it is read: as time goes by while a script runs.
    pub fn run_from(&mut self, now: u64, micros: u64, step: u64) {
        self.show(now, micros, step);
    }

    fn show(&mut self, now: u64, micros: u64, step: u64) {
        self.now = now;
        let [now, step] = [now * 1_000 + micros, step].map(u64::to_ne_bytes);
        self.shown
            .write_all_at(&[now, step].concat(), 0)
            .expect("the clock's file");
    }

    /// Moves it forward.
    pub fn advance(&mut self, ms: u64) {
        self.set(self.now + ms);
    }

    /// The environment that makes a process use this clock.
    pub(crate) fn environment(&self) -> [(&'static str, PathBuf); 2] {
        [
            ("LD_PRELOAD", self.library()),
            ("PRESENCE_TEST_CLOCK", self.directory.path().join("now")),
        ]
    }

    fn library(&self) -> PathBuf {
        self.directory.path().join("clock.so")
    }
}

impl Default for VirtualClock {
    fn default() -> Self {
        Self::new()
    }
}
