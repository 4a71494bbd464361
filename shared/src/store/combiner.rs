//! Combiner: work that arrives while a call is in flight shares the next call.
//!
//! At most one call is in flight. Work that finds none is sent at once, so nothing waits for a
//! timer, and calls grow with the load. Each caller makes a call of its own or gets its result from
//! the call of another one.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{self, oneshot};

/// Combines work of type `T` with results of type `R`.
#[derive(Debug)]
pub(super) struct Combiner<T, R> {
    /// Locked while a call is in flight. Callers lock it in the order of their arrival.
    in_flight: sync::Mutex<()>,
    waiting: Mutex<VecDeque<Waiting<T, R>>>,
}

#[derive(Debug)]
struct Waiting<T, R> {
    work: Arc<T>,
    size: usize,
    result: oneshot::Sender<R>,
}

/// The outcome of waiting for a call.
#[derive(Debug)]
pub(super) enum Turn<'a, T, R> {
    /// The result of the work, from the call of another caller.
    Done(R),
    /// The caller makes a call.
    Own(Call<'a, T, R>),
}

/// A call to make. If it is dropped without results, the others make calls of their own.
#[derive(Debug)]
pub(super) struct Call<'a, T, R> {
    own: Arc<T>,
    others: Vec<Waiting<T, R>>,
    _in_flight: sync::MutexGuard<'a, ()>,
}

impl<T, R> Default for Combiner<T, R> {
    fn default() -> Self {
        Self {
            in_flight: sync::Mutex::default(),
            waiting: Mutex::default(),
        }
    }
}

impl<T, R> Combiner<T, R> {
    /// Waits until no call is in flight. A call carries `work` and other work that waits, up to
    /// `max_size` in total.
    pub(super) async fn turn(&self, work: T, size: usize, max_size: usize) -> Turn<'_, T, R> {
        let work = Arc::new(work);
        let (sender, mut result) = oneshot::channel();
        self.waiting().push_back(Waiting {
            work: Arc::clone(&work),
            size,
            result: sender,
        });
        let in_flight = self.in_flight.lock().await;
        if let Ok(result) = result.try_recv() {
            return Turn::Done(result);
        }
        // The work still waits, or the call that carried it was dropped.
        drop(result);
        let others = self.take_others(max_size.saturating_sub(size));
        Turn::Own(Call {
            own: work,
            others,
            _in_flight: in_flight,
        })
    }

    /// Takes work that waits, longest waiting first, up to `max_size` in total.
    fn take_others(&self, max_size: usize) -> Vec<Waiting<T, R>> {
        let mut waiting = self.waiting();
        // Callers that left, and the caller that makes the call.
        waiting.retain(|waiting| !waiting.result.is_closed());
        let mut total = 0;
        let fits = |waiting: &&Waiting<T, R>| {
            total += waiting.size;
            total <= max_size
        };
        let count = waiting.iter().take_while(fits).count();
        waiting.drain(..count).collect()
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Waiting<T, R>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T, R> Call<'_, T, R> {
    /// The work of the call, the caller's own first.
    pub(super) fn work(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&*self.own).chain(self.others.iter().map(|other| &*other.work))
    }

    /// Ends the call with the results of [`work`](Self::work), in its order. Returns the caller's
    /// own; `None` if there is none.
    pub(super) fn finish(mut self, results: Vec<R>) -> Option<R> {
        let mut results = results.into_iter();
        let own = results.next();
        for (other, result) in mem::take(&mut self.others).into_iter().zip(results) {
            let _ = other.result.send(result); // the caller may have left
        }
        own
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    type Numbers = Combiner<u32, u32>;

    /// Polls a caller's turn once.
    fn poll<'a>(
        turn: &mut (impl Future<Output = Turn<'a, u32, u32>> + Unpin),
    ) -> Option<Turn<'a, u32, u32>> {
        turn.now_or_never()
    }

    fn turn(
        numbers: &Numbers,
        number: u32,
    ) -> std::pin::Pin<Box<impl Future<Output = Turn<'_, u32, u32>>>> {
        Box::pin(numbers.turn(number, 1, 3))
    }

    fn own<'a>(turn: Option<Turn<'a, u32, u32>>) -> Call<'a, u32, u32> {
        match turn {
            Some(Turn::Own(call)) => call,
            other => panic!("{other:?}"),
        }
    }

    fn done(turn: Option<Turn<'_, u32, u32>>) -> u32 {
        match turn {
            Some(Turn::Done(result)) => result,
            other => panic!("{other:?}"),
        }
    }

    fn numbers(call: &Call<'_, u32, u32>) -> Vec<u32> {
        call.work().copied().collect()
    }

    #[test]
    fn work_that_finds_no_call_in_flight_is_sent_at_once_and_alone() {
        let combiner = Numbers::default();
        for number in [1, 2] {
            let call = own(poll(&mut turn(&combiner, number)));
            assert_eq!(numbers(&call), [number]);
            assert_eq!(call.finish(vec![10]), Some(10));
        }
    }

    #[test]
    fn work_that_arrives_during_a_call_shares_the_next_one() {
        let combiner = Numbers::default();
        let first = own(poll(&mut turn(&combiner, 1)));
        let [mut second, mut third] = [2, 3].map(|number| turn(&combiner, number));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        first.finish(vec![10]);
        let call = own(poll(&mut second));
        assert_eq!(numbers(&call), [2, 3]);
        assert!(poll(&mut third).is_none(), "its call is in flight");
        assert_eq!(call.finish(vec![20, 30]), Some(20));
        assert_eq!(done(poll(&mut third)), 30);
    }

    #[test]
    fn a_call_carries_a_limited_size() {
        let combiner = Numbers::default();
        let first = own(poll(&mut turn(&combiner, 1)));
        let mut others = [2, 3, 4, 5].map(|number| turn(&combiner, number));
        assert!(others.iter_mut().all(|turn| poll(turn).is_none()));
        first.finish(vec![10]);
        let call = own(poll(&mut others[0]));
        assert_eq!(numbers(&call), [2, 3, 4]);
        call.finish(vec![20, 30, 40]);
        assert_eq!(
            (done(poll(&mut others[1])), done(poll(&mut others[2]))),
            (30, 40)
        );
        assert_eq!(numbers(&own(poll(&mut others[3]))), [5]);
    }

    #[test]
    fn work_whose_call_was_dropped_is_sent_by_its_own_caller() {
        let combiner = Numbers::default();
        let first = own(poll(&mut turn(&combiner, 1)));
        let [mut second, mut third, mut fourth] = [2, 3, 4].map(|number| turn(&combiner, number));
        assert!(
            poll(&mut second).is_none()
                && poll(&mut third).is_none()
                && poll(&mut fourth).is_none()
        );
        first.finish(vec![10]);
        drop(own(poll(&mut second)));
        let call = own(poll(&mut third));
        assert_eq!(numbers(&call), [3]);
        call.finish(vec![30]);
        assert_eq!(numbers(&own(poll(&mut fourth))), [4]);
    }

    #[test]
    fn the_work_of_a_caller_that_left_is_not_sent() {
        let combiner = Numbers::default();
        let first = own(poll(&mut turn(&combiner, 1)));
        let [mut second, mut third] = [2, 3].map(|number| turn(&combiner, number));
        assert!(poll(&mut second).is_none() && poll(&mut third).is_none());
        drop(second);
        first.finish(vec![10]);
        assert_eq!(numbers(&own(poll(&mut third))), [3]);
        assert!(combiner.waiting().is_empty());
    }
}
