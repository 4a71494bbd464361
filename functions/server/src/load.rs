//! How much the server takes on at a time. More is refused, before memory or latency runs away.

use presence::http::Problem;
use tokio::sync::{Semaphore, SemaphorePermit};

/// The number of calls that are worked on at a time.
const MAX_CALLS: usize = 512;

/// The memory for bodies that are on their way or worked on, in KiB.
const MAX_BODIES: usize = 64 * 1024;

/// What each body may hold without asking, in bytes: calls about one player are served while batches are refused. As many
/// of them as there are connections fit into memory.
const FREE: usize = 4 * 1024;

/// The bounds, and how much is in use of them.
#[derive(Debug)]
pub(crate) struct Load {
    calls: Semaphore,
    bodies: Semaphore,
}

/// The room that one body takes up, given back when this is dropped.
#[derive(Debug, Default)]
pub(crate) struct Room<'a>(Option<SemaphorePermit<'a>>);

impl Load {
    pub(crate) fn new() -> Self {
        Self { calls: Semaphore::new(MAX_CALLS), bodies: Semaphore::new(MAX_BODIES) }
    }

    /// Begins a call, which lasts until what is returned is dropped. Calls begin when their bodies are there: clients who
    /// take their time hold nobody up.
    ///
    /// # Errors
    /// 503 where too many have begun.
    pub(crate) fn begin(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.calls.try_acquire().map_err(|_| Problem::overloaded())
    }

    /// Makes room for a body of so many bytes.
    ///
    /// # Errors
    /// 503 where others take up too much.
    pub(crate) fn make_room<'a>(&'a self, room: &mut Room<'a>, length: usize) -> Result<(), Problem> {
        let wanted = length.saturating_sub(FREE).div_ceil(1024);
        let held = room.0.as_ref().map_or(0, SemaphorePermit::num_permits);
        let Ok(more @ 1..) = u32::try_from(wanted.saturating_sub(held)) else { return Ok(()) };
        let more = self.bodies.try_acquire_many(more).map_err(|_| Problem::overloaded())?;
        match &mut room.0 {
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
    fn large_bodies_are_refused_while_others_take_up_the_room_and_small_ones_are_not() {
        let load = Load::new();
        let mut rooms: Vec<_> = std::iter::repeat_with(Room::default).take(65).collect();
        let results = rooms.iter_mut().map(|room| load.make_room(room, 1024 * 1024).is_ok());
        assert_eq!(results.filter(|is_there| *is_there).count(), 64);
        assert!(load.make_room(&mut Room::default(), FREE).is_ok());
        drop(rooms);
        assert_eq!(load.bodies.available_permits(), MAX_BODIES);
    }

    #[test]
    fn a_body_that_grows_takes_up_its_length_once() {
        let (load, mut room) = (Load::new(), Room::default());
        for length in (0..=100).map(|kib| kib * 1024) {
            load.make_room(&mut room, length).unwrap();
        }
        assert_eq!(load.bodies.available_permits(), MAX_BODIES - 96);
    }

    #[test]
    fn more_calls_than_there_is_room_for_are_refused() {
        let load = Load::new();
        let calls: Vec<_> = (0..MAX_CALLS).map(|_| load.begin().unwrap()).collect();
        assert!(load.begin().is_err());
        drop(calls);
        assert!(load.begin().is_ok());
    }
}
