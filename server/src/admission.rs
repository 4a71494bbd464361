//! Admission control: bounds of concurrent calls and of memory for bodies. Calls beyond them are
//! refused, before memory or latency grows without bound.

use presence::http::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The number of concurrent calls.
const MAX_CALLS: usize = 512;

/// The memory for bodies that are being received or handled, in KiB.
const MAX_BODIES_KIB: usize = 64 * 1024;

/// The bytes of each body that need no permit, so that calls about one player are served while
/// batches are refused. With all connections in use, these bodies fit into memory.
const FREE_BODY_BYTES: usize = 4 * 1024;

/// The bounds, and how much of them is in use.
#[derive(Debug)]
pub(crate) struct Admission {
    calls: Semaphore,
    bodies: Semaphore,
}

/// A permit for the memory of one body. It is returned when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct BodyPermit<'a>(Option<SemaphorePermit<'a>>);

impl Admission {
    pub(crate) fn new() -> Self {
        Self {
            calls: Semaphore::new(MAX_CALLS),
            bodies: Semaphore::new(MAX_BODIES_KIB),
        }
    }

    /// Admits a call until the permit is dropped. A call counts from the arrival of its whole body
    /// on, so that slow clients do not hold up others.
    ///
    /// # Errors
    /// 503 if too many calls are being handled.
    pub(crate) fn admit(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.calls.try_acquire().map_err(|_| Problem::overloaded())
    }

    /// Extends a permit to a body of `length` bytes.
    ///
    /// # Errors
    /// 503 if other bodies take up too much.
    pub(crate) fn reserve<'a>(
        &'a self,
        permit: &mut BodyPermit<'a>,
        length: usize,
    ) -> Result<(), Problem> {
        let wanted = length.saturating_sub(FREE_BODY_BYTES).div_ceil(1024);
        let held = permit.0.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Ok(more @ 1..) = u32::try_from(wanted.saturating_sub(held)) else {
            return Ok(());
        };
        let more = self
            .bodies
            .try_acquire_many(more)
            .map_err(|_| Problem::overloaded())?;
        match &mut permit.0 {
            Some(held) => held.merge(more),
            held => *held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_bodies_are_refused_while_others_use_the_memory_and_small_ones_are_admitted() {
        let admission = Admission::new();
        let mut permits: Vec<_> = std::iter::repeat_with(BodyPermit::default)
            .take(65)
            .collect();
        let results = permits
            .iter_mut()
            .map(|permit| admission.reserve(permit, 1024 * 1024).is_ok());
        assert_eq!(results.filter(|is_reserved| *is_reserved).count(), 64);
        assert!(
            admission
                .reserve(&mut BodyPermit::default(), FREE_BODY_BYTES)
                .is_ok()
        );
        drop(permits);
        assert_eq!(admission.bodies.available_permits(), MAX_BODIES_KIB);
    }

    #[test]
    fn a_growing_body_uses_its_length_once() {
        let admission = Admission::new();
        let mut permit = BodyPermit::default();
        for length in (0..=100).map(|kib| kib * 1024) {
            admission.reserve(&mut permit, length).unwrap();
        }
        assert_eq!(admission.bodies.available_permits(), MAX_BODIES_KIB - 96);
    }

    #[test]
    fn calls_beyond_the_bound_are_refused() {
        let admission = Admission::new();
        let calls: Vec<_> = (0..MAX_CALLS).map(|_| admission.admit().unwrap()).collect();
        assert!(admission.admit().is_err());
        drop(calls);
        assert!(admission.admit().is_ok());
    }
}
