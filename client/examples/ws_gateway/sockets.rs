//! Registry of the open sockets, which can be closed from anywhere.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::extract::ws::{CloseCode, close_code};
use presence_client::ConnectionId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

/// The open sockets.
pub(crate) struct Sockets {
    slots: Arc<Semaphore>,
    open: Mutex<Open>,
    /// Notified when a socket was removed.
    removed: Notify,
}

/// The open sockets, each with a channel for the close code with which it should close.
#[derive(Default)]
struct Open {
    close_requests: HashMap<ConnectionId, mpsc::Sender<CloseCode>>,
    is_stopping: bool,
}

impl Sockets {
    /// Creates an empty registry for at most `max` sockets at a time.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            slots: Arc::new(Semaphore::new(max)),
            open: Mutex::default(),
            removed: Notify::new(),
        }
    }

    /// Reserves a slot for a socket, until the slot is dropped. `None` if there are too many
    /// sockets.
    pub(crate) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Adds a socket, which must close with the code that it receives.
    pub(crate) fn add(&self, connection: &ConnectionId) -> mpsc::Receiver<CloseCode> {
        let (close_request, close_requests) = mpsc::channel(1);
        let mut open = self.open();
        if open.is_stopping {
            _ = close_request.try_send(close_code::RESTART);
        }
        open.close_requests
            .insert(connection.clone(), close_request);
        close_requests
    }

    pub(crate) fn remove(&self, connection: &ConnectionId) {
        self.open().close_requests.remove(connection);
        self.removed.notify_waiters();
    }

    pub(crate) fn count(&self) -> usize {
        self.open().close_requests.len()
    }

    /// Requests that a socket closes.
    pub(crate) fn close(&self, connection: &ConnectionId, code: CloseCode) {
        if let Some(close_request) = self.open().close_requests.get(connection) {
            _ = close_request.try_send(code); // fails if the socket is being closed already
        }
    }

    /// Requests that all sockets close, including sockets that are added later, and waits until
    /// none is left.
    pub(crate) async fn close_all(&self, code: CloseCode) {
        {
            let mut open = self.open();
            open.is_stopping = true;
            open.close_requests
                .values()
                .for_each(|close_request| _ = close_request.try_send(code));
        }
        loop {
            // Created before the check, so that no notification in between is missed.
            let removed = self.removed.notified();
            if self.count() == 0 {
                return;
            }
            removed.await;
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
