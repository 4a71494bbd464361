//! Hedged requests: the same request to several peers, so that a peer that hangs costs little time.

use std::time::Duration;

use futures_util::{
    Stream, StreamExt as _,
    stream::{self, FuturesUnordered},
};
use tokio::time::timeout;

/// The time without a reply after which the next peer is asked as well.
const HEDGE_DELAY: Duration = Duration::from_millis(50);

/// The outcomes of `questions`, in order of arrival. A question starts when the previous one has an
/// outcome, or after [`HEDGE_DELAY`] without one. Dropping the stream cancels the open ones.
pub(super) fn hedged<F: Future>(questions: Vec<F>) -> impl Stream<Item = F::Output> {
    let start = (questions.into_iter(), FuturesUnordered::new());
    stream::unfold(start, async |(mut waiting, mut open)| {
        loop {
            open.extend(waiting.next());
            match timeout(HEDGE_DELAY, open.next()).await {
                Ok(Some(outcome)) => return Some((outcome, (waiting, open))),
                Ok(None) => return None,
                Err(_) => {} // the next question starts in parallel
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::{
        pin::pin,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::time::{Instant, sleep};

    use super::*;

    /// A peer that replies with its own number after a time.
    fn peers<const N: usize>(reply_after_ms: [u64; N]) -> impl Stream<Item = usize> {
        let peers = reply_after_ms.into_iter().enumerate();
        let reply = async |(number, millis)| {
            sleep(Duration::from_millis(millis)).await;
            number
        };
        hedged(peers.map(reply).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_hangs_costs_one_delay() {
        let start = Instant::now();
        let mut replies = pin!(peers([u64::MAX, u64::MAX, 1]));
        assert_eq!(replies.next().await, Some(2));
        assert_eq!(start.elapsed(), 2 * HEDGE_DELAY + Duration::from_millis(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_late_reply_counts_as_well() {
        let replies: Vec<_> = peers([60, 20, 1]).collect().await;
        assert_eq!(replies, [0, 2, 1]); // after 60, 61 and 70 ms
    }

    #[tokio::test(start_paused = true)]
    async fn a_reply_in_time_leaves_the_others_unasked() {
        let asked = AtomicUsize::new(0);
        let questions = (0..3).map(|number| {
            let asked = &asked;
            async move {
                asked.fetch_add(1, Ordering::Relaxed);
                sleep(HEDGE_DELAY / 2).await;
                number
            }
        });
        assert_eq!(pin!(hedged(questions.collect())).next().await, Some(0));
        assert_eq!(asked.into_inner(), 1);
    }
}
