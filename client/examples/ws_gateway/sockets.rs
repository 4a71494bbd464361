//! The open sockets, and how to have them closed.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::extract::ws::{CloseCode, close_code};
use presence_client::ConnectionId;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};

pub(crate) struct Sockets {
    slots: Arc<Semaphore>,
    open: Mutex<Open>,
    removed: Notify,
}

/// The open sockets, each with a way to have it closed with a close code.
#[derive(Default)]
struct Open {
    orders: HashMap<ConnectionId, mpsc::Sender<CloseCode>>,
    is_stopping: bool,
}

impl Sockets {
    /// No sockets, and at most `max` at a time.
    pub(crate) fn new(max: usize) -> Self {
        Self { slots: Arc::new(Semaphore::new(max)), open: Mutex::default(), removed: Notify::new() }
    }

    /// Makes room for a socket, until the slot is dropped; `None` if there are too many.
    pub(crate) fn reserve(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.slots).try_acquire_owned().ok()
    }

    /// Adds a socket. It has to close with the code that it receives.
    pub(crate) fn add(&self, connection: &ConnectionId) -> mpsc::Receiver<CloseCode> {
        let (order, orders) = mpsc::channel(1);
        let mut open = self.open();
        if open.is_stopping {
            _ = order.try_send(close_code::RESTART);
        }
        open.orders.insert(connection.clone(), order);
        orders
    }

    pub(crate) fn remove(&self, connection: &ConnectionId) {
        self.open().orders.remove(connection);
        self.removed.notify_waiters();
    }

    pub(crate) fn count(&self) -> usize {
        self.open().orders.len()
    }

    /// Has a socket closed.
    pub(crate) fn close(&self, connection: &ConnectionId, code: CloseCode) {
        if let Some(order) = self.open().orders.get(connection) {
            _ = order.try_send(code); // it has one already
        }
    }

    /// Has all sockets closed, and those that are still to come; waits until none is left.
    pub(crate) async fn close_all(&self, code: CloseCode) {
        {
            let mut open = self.open();
            open.is_stopping = true;
            open.orders.values().for_each(|order| _ = order.try_send(code));
        }
        loop {
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
