//! Shutdown flag of the server.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// The shutdown flag, shared by all components of the server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle {
    is_closing: Arc<AtomicBool>,
}

impl Lifecycle {
    /// Marks the server as about to end: responses say `Connection: close`, and it is not ready.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to end.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }
}
