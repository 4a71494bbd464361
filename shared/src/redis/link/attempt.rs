//! Attempts to connect: one at a time, shared by all callers, with backoff after a failure.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use redis::ConnectionInfo;
use tokio::{
    task::AbortHandle,
    time::{Instant, sleep_until, timeout},
};

use super::{Link, Live, check::Check, endpoint::Location, watch};
use crate::redis::StoreError;

/// The shortest time limit of an attempt, from the resolution of the name, or the first question to
/// a Sentinel, to the reply of `ROLE`. The limit is as long as callers wait, within these bounds.
const MIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The longest time limit of an attempt. See [`MIN_TIMEOUT`].
const MAX_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The first pause after a failed attempt. It doubles with each failure.
const MIN_PAUSE: Duration = Duration::from_millis(5);

/// The longest pause without jitter, which at most doubles it. Callers wait for its end.
const MAX_PAUSE: Duration = Duration::from_millis(50);

/// An attempt that is older than this, by the host's clock, was frozen with its process. No caller
/// waits for it.
const FROZEN_AFTER: Duration = Duration::from_secs(3);

/// The connection in service, and the attempt to open one.
pub(super) struct Slot {
    pub(super) live: Option<Arc<Live>>,
    attempt: Option<Attempt>,
    /// The number of attempts so far.
    attempts: u64,
    pauses: Pauses,
    timeout: Duration,
}

struct Attempt {
    number: u64,
    began: SystemTime,
    task: AbortHandle,
    outcome: Outcome,
}

/// The outcome of an attempt: the connection that is in service afterwards.
type Outcome = Shared<BoxFuture<'static, Result<Arc<Live>, StoreError>>>;

/// The backoff between attempts.
struct Pauses {
    builder: ExponentialBuilder,
    delays: ExponentialBackoff,
    not_before: Option<Instant>,
}

impl Slot {
    /// Creates an empty slot, whose callers wait for `timeout`.
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            live: None,
            attempt: None,
            attempts: 0,
            pauses: Pauses::new(MAX_PAUSE.min(timeout / 10)),
            timeout: timeout.clamp(MIN_TIMEOUT, MAX_TIMEOUT),
        }
    }

    /// The connection in service. One whose socket is lost is removed.
    pub(super) fn in_service(&mut self) -> Option<Arc<Live>> {
        self.live.take_if(|live| live.is_lost());
        self.live.clone()
    }
}

impl Link {
    /// The connection in service, or a new one. An attempt that timed out is followed by another
    /// one: callers have time limits of their own.
    pub(super) async fn connected(&self) -> Result<Arc<Live>, StoreError> {
        loop {
            let attempt = {
                let mut slot = self.slot();
                match slot.in_service() {
                    Some(live) => return Ok(live),
                    None => self.attempt(&mut slot),
                }
            };
            match attempt.await {
                Err(StoreError::Timeout(_)) => {}
                outcome => return outcome,
            }
        }
    }

    /// A replacement of `live`, which is silent, or `live` itself if that receives bytes first.
    /// Attempts are made until one succeeds: the caller waits for `live` meanwhile.
    pub(super) async fn replacement(&self, live: &Arc<Live>) -> Arc<Live> {
        loop {
            let attempt = {
                let mut slot = self.slot();
                match slot.in_service() {
                    Some(current) if !Arc::ptr_eq(&current, live) => return current,
                    _ => self.attempt(&mut slot),
                }
            };
            if let Ok(live) = attempt.await {
                return live;
            }
        }
    }

    /// The attempt in progress, or a new one.
    fn attempt(&self, slot: &mut Slot) -> Outcome {
        if let Some(attempt) = &slot.attempt {
            if attempt.is_under_way() {
                return attempt.outcome.clone();
            }
            attempt.task.abort();
        }
        slot.attempts += 1;
        let number = slot.attempts;
        let received = slot.live.as_ref().map(|live| live.received());
        let attempt = self
            .clone()
            .make(number, received, slot.pauses.not_before, slot.timeout);
        let task = tokio::spawn(attempt);
        let abort = task.abort_handle();
        let outcome = task
            .map(|outcome| outcome.unwrap_or(Err(ABANDONED)))
            .boxed()
            .shared();
        slot.attempt = Some(Attempt {
            number,
            began: SystemTime::now(),
            task: abort,
            outcome: outcome.clone(),
        });
        outcome
    }

    /// Opens a connection and puts it into service, unless the one that it replaces has received
    /// more than `received` bytes meanwhile.
    async fn make(
        self,
        number: u64,
        received: Option<u64>,
        not_before: Option<Instant>,
        connect_timeout: Duration,
    ) -> Result<Arc<Live>, StoreError> {
        if let Some(not_before) = not_before {
            sleep_until(not_before).await;
        }
        let made = timeout(connect_timeout, self.make_checked())
            .await
            .unwrap_or(Err(StoreError::Timeout(connect_timeout)));
        let mut slot = self.slot();
        slot.attempt.take_if(|attempt| attempt.number == number);
        slot.pauses.record(made.is_ok());
        let live = Arc::new(made?);
        // The old connection responds again, so it stays in service.
        if let Some(current) = slot.in_service()
            && received != Some(current.received())
        {
            return Ok(current);
        }
        slot.live = Some(Arc::clone(&live));
        tokio::spawn(watch(Arc::downgrade(&self.0), Arc::downgrade(&live)));
        Ok(live)
    }

    async fn make_checked(&self) -> Result<Live, StoreError> {
        match &self.0.endpoint.location {
            Location::Fixed(info) => self.make_at(info.clone()).await,
            Location::BySentinel(sentinels) => {
                sentinels.connect(|info| self.make_at(info).boxed()).await
            }
        }
    }

    async fn make_at(&self, info: ConnectionInfo) -> Result<Live, StoreError> {
        let opened = self.0.endpoint.open(&info).await?;
        Check::of(self.0.role).pass(opened).await
    }
}

const ABANDONED: StoreError = StoreError::Unexpected("an attempt to connect was abandoned");

impl Attempt {
    fn is_under_way(&self) -> bool {
        let is_frozen = self.began.elapsed().is_ok_and(|age| age > FROZEN_AFTER);
        !self.task.is_finished() && !is_frozen
    }
}

impl Pauses {
    fn new(longest: Duration) -> Self {
        let builder = ExponentialBuilder::new()
            .with_min_delay(MIN_PAUSE.min(longest))
            .with_max_delay(longest)
            .without_max_times()
            .with_jitter();
        Self {
            builder,
            delays: builder.build(),
            not_before: None,
        }
    }

    /// Records whether an attempt succeeded.
    fn record(&mut self, has_succeeded: bool) {
        if has_succeeded {
            self.delays = self.builder.build();
            self.not_before = None;
        } else {
            self.not_before = self.delays.next().map(|delay| Instant::now() + delay);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_up_to_the_longest_and_start_over_after_a_success() {
        let mut pauses = Pauses::new(MAX_PAUSE);
        let mut get_pause = |has_succeeded| {
            pauses.record(has_succeeded);
            pauses
                .not_before
                .map(|at| (at - Instant::now()).as_millis())
        };
        for expected in [5, 10, 20, 40, 50, 50] {
            let pause = get_pause(false).unwrap();
            assert!(
                (expected..=2 * expected).contains(&pause),
                "{pause} ms, not {expected} to twice that"
            );
        }
        assert_eq!(get_pause(true), None);
        assert!((5..=10).contains(&get_pause(false).unwrap()));
    }
}
