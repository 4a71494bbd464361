//! Workers: a thread for each CPU, with a runtime of its own for the connections that it gets, and a connection of its own
//! to Redis.
//!
//! A runtime of one thread polls in turn whatever is ready. So all calls that came in together have handed their commands
//! over before the sender of commands is polled, and Redis gets them in one piece, heartbeats even in one command. A runtime
//! of many threads polls the sender right after each call, with one command: half of the service's time would go to writing
//! to that socket.

use std::{future::pending, io, thread};

use tokio::runtime::{self, Handle};

/// All workers of this process.
pub(crate) struct Workers<T> {
    workers: Vec<(Handle, T)>,
    next: usize,
}

impl<T> Workers<T> {
    /// Starts a worker for each CPU that this process may use. `make` makes what each one serves with, within its runtime.
    ///
    /// # Errors
    /// If a thread cannot be started, and whatever `make` fails with.
    pub(crate) fn start<E: From<io::Error>>(make: impl Fn() -> Result<T, E>) -> Result<Self, E> {
        let count = thread::available_parallelism().map_or(1, Into::into);
        let workers = (0..count).map(|_| {
            let runtime = start_thread()?;
            let entered = runtime.enter();
            let made = make()?;
            drop(entered);
            Ok((runtime, made))
        });
        Ok(Self { workers: workers.collect::<Result<_, E>>()?, next: 0 })
    }

    /// The runtime of the worker whose turn it is, and what it serves with.
    pub(crate) fn take_turn(&mut self) -> (&Handle, &T) {
        let (runtime, made) = &self.workers[self.next];
        self.next = (self.next + 1) % self.workers.len();
        (runtime, made)
    }
}

/// A runtime on a thread of its own, which ends with the process.
fn start_thread() -> io::Result<Handle> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("worker".to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
