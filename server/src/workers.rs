//! Workers: one thread per CPU, each with a runtime for its share of the connections, and a
//! connection to Redis.
//!
//! A single-threaded runtime polls its ready tasks in turn. So all calls that arrive together have
//! queued their commands before the sender of commands is polled, and Redis gets them in one write,
//! heartbeats even in one command. A multi-threaded runtime polls the sender right after each call,
//! with one command: half of the service's time would go to writing to that socket.

use std::{future::pending, io, thread};

use tokio::runtime::{self, Handle};

/// All workers of this process.
pub(crate) struct Workers<T> {
    workers: Vec<(Handle, T)>,
    next: usize,
}

impl<T> Workers<T> {
    /// Starts one worker per CPU that this process may use. `create` builds the service of each
    /// worker, within its runtime.
    ///
    /// # Errors
    /// If a thread cannot be started, and the errors of `create`.
    pub(crate) fn start<E: From<io::Error>>(create: impl Fn() -> Result<T, E>) -> Result<Self, E> {
        let count = thread::available_parallelism().map_or(1, Into::into);
        let workers = (0..count).map(|_| {
            let runtime = start_thread()?;
            let entered = runtime.enter();
            let service = create()?;
            drop(entered);
            Ok((runtime, service))
        });
        Ok(Self {
            workers: workers.collect::<Result<_, E>>()?,
            next: 0,
        })
    }

    /// The runtime and the service of the next worker, in turn.
    pub(crate) fn take_turn(&mut self) -> (&Handle, &T) {
        let (runtime, service) = &self.workers[self.next];
        self.next = (self.next + 1) % self.workers.len();
        (runtime, service)
    }
}

/// Starts a runtime on a thread of its own. Both end with the process.
fn start_thread() -> io::Result<Handle> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new()
        .name("worker".to_owned())
        .spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
