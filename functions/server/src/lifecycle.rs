//! Whether the server is about to end.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

/// Whether the server is about to end, known to every part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lifecycle {
    is_closing: Arc<AtomicBool>,
}

impl Lifecycle {
    /// From now on answers say `Connection: close`, and the server is not ready.
    pub(crate) fn close(&self) {
        self.is_closing.store(true, Ordering::Relaxed);
    }

    /// Whether the server is about to end.
    pub(crate) fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::Relaxed)
    }
}
