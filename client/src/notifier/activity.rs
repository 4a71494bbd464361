//! Latest activity of one player, sent at most once per second.

use std::time::Duration;

use tokio::time::Instant;

use crate::Activity;

/// The shortest time between two changes of a player's activity. Of the changes in between, only
/// the latest is sent.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// The activity that the gateway reported last for one player.
#[derive(Debug, Default)]
pub(super) struct LatestActivity {
    /// `None` if the gateway has reported none for this player. An activity that was removed is
    /// `Some(None)`.
    reported: Option<Option<Activity>>,
    /// Whether `reported` is to be sent.
    is_waiting: bool,
    /// Whether `reported` was sent before, without success.
    was_sent: bool,
    /// Whether a call with an activity is in flight.
    is_in_flight: bool,
    last_sent_at: Option<Instant>,
}

impl LatestActivity {
    /// Sets the activity, in place of one that still waits.
    pub(super) fn set(&mut self, activity: Option<Activity>) {
        self.reported = Some(activity);
        self.is_waiting = true;
        self.was_sent = false;
    }

    /// Has an activity sent again, since the service lost the player's record.
    pub(super) fn report_again(&mut self) {
        self.is_waiting |= matches!(self.reported, Some(Some(_)));
    }

    /// Forgets the activity of a player who left or was signed out: it is not sent, now or later.
    pub(super) fn forget(&mut self) {
        self.reported = None;
        self.is_waiting = false;
        self.was_sent = false;
    }

    /// When the next change may be sent; `None` if there is none to send.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        let earliest = self
            .last_sent_at
            .map_or(now, |sent_at| now.max(sent_at + MIN_INTERVAL));
        self.is_waiting.then_some(earliest)
    }

    /// Whether a change was sent less than [`MIN_INTERVAL`] ago, so the next one has to wait.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.last_sent_at
            .is_some_and(|sent_at| now < sent_at + MIN_INTERVAL)
    }

    /// Returns the activity to send now, and whether it was sent before.
    pub(super) fn start(&mut self, now: Instant) -> Option<(Option<Activity>, bool)> {
        if !std::mem::take(&mut self.is_waiting) {
            return None;
        }
        self.is_in_flight = true;
        self.last_sent_at = Some(now);
        let activity = self.reported.clone()?;
        Some((activity, std::mem::replace(&mut self.was_sent, true)))
    }

    /// Has the latest activity sent, since the call in flight failed.
    pub(super) fn requeue(&mut self) {
        self.is_in_flight = false;
        self.is_waiting = self.reported.is_some();
    }

    /// Records that the call has ended. An activity that the service refused would be refused
    /// again, so it is forgotten.
    pub(super) fn finish(&mut self, was_refused: bool) {
        self.is_in_flight = false;
        if was_refused && !self.is_waiting {
            self.reported = None;
        }
    }

    /// Whether a call with an activity is in flight.
    pub(super) fn is_in_flight(&self) -> bool {
        self.is_in_flight
    }

    /// 1 if an activity waits or is in flight, else 0.
    pub(super) fn task_count(&self) -> usize {
        usize::from(self.is_waiting || self.is_in_flight)
    }
}
