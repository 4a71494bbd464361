//! Workers: a thread for each CPU, with a runtime of its own for the connections that it gets, and a connection of its own
//! to Redis.
//!
//! A runtime of one thread polls in turn whatever is ready. So all calls that came in together have handed their commands
//! over before the sender of commands is polled, and Redis gets them in one piece, heartbeats even in one command. A runtime
//! of many threads polls the sender right after each call, with one command: half of the service's time would go to writing
//! to that socket.

use std::{future::pending, io, thread};

use axum::Router;
use tokio::{
    net::TcpStream,
    runtime::{self, Handle},
    sync::OwnedSemaphorePermit,
};

use crate::listen::Talk;

/// All workers of this process.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    next: usize,
}

struct Worker {
    runtime: Handle,
    routes: Router,
}

impl Workers {
    /// Starts a worker for each CPU that this process may use. `routes` makes each one's, within its runtime.
    ///
    /// # Errors
    /// Where a thread cannot be had, and whatever `routes` fails with.
    pub(crate) fn start<E: From<io::Error>>(routes: impl Fn() -> Result<Router, E>) -> Result<Self, E> {
        let count = thread::available_parallelism().map_or(1, Into::into);
        let workers = (0..count).map(|_| {
            let runtime = start_thread()?;
            let entered = runtime.enter();
            let routes = routes()?;
            drop(entered);
            Ok(Worker { runtime, routes })
        });
        Ok(Self { workers: workers.collect::<Result<_, E>>()?, next: 0 })
    }

    /// Has a connection served by the worker whose turn it is. `slot` is free again when the connection has ended.
    ///
    /// # Errors
    /// Where the socket cannot be handed over.
    pub(crate) fn serve(&mut self, stream: TcpStream, slot: OwnedSemaphorePermit, talk: Talk) -> io::Result<()> {
        let Worker { runtime, routes } = &self.workers[self.next];
        self.next = (self.next + 1) % self.workers.len();
        let stream = stream.into_std()?;
        let _entered = runtime.enter(); // the socket is watched by the runtime that serves it
        let talk = talk.serve(TcpStream::from_std(stream)?, routes.clone());
        runtime.spawn(async move {
            talk.await;
            drop(slot);
        });
        Ok(())
    }
}

/// A runtime on a thread of its own, which ends with the process.
fn start_thread() -> io::Result<Handle> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    thread::Builder::new().name("worker".to_owned()).spawn(move || runtime.block_on(pending::<()>()))?;
    Ok(handle)
}
