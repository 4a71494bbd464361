//! What is to be sent of one player's activity: the latest one, at most once per second.

use std::time::Duration;

use tokio::time::Instant;

use crate::Activity;

/// The least time between two changes of a player's activity. Those in between are replaced by the latest.
pub(super) const MIN_INTERVAL: Duration = Duration::from_secs(1);

/// A player's activity, as the gateway reported it last.
#[derive(Debug, Default)]
pub(super) struct LatestActivity {
    /// `None` if the gateway has reported none for this player. An activity that was removed is `Some(None)`.
    reported: Option<Option<Activity>>,
    /// Whether `reported` is to be sent.
    is_waiting: bool,
    /// Whether `reported` was sent before, without success.
    was_sent: bool,
    /// The call with an activity is not answered yet.
    is_in_flight: bool,
    last_sent_at: Option<Instant>,
}

impl LatestActivity {
    /// Takes what the gateway reports, in place of what waits.
    pub(super) fn set(&mut self, activity: Option<Activity>) {
        self.reported = Some(activity);
        self.is_waiting = true;
        self.was_sent = false;
    }

    /// The service lost the player's record: an activity is sent again.
    pub(super) fn report_again(&mut self) {
        self.is_waiting |= matches!(self.reported, Some(Some(_)));
    }

    /// The player left, or was signed out: nothing is sent, now or later.
    pub(super) fn forget(&mut self) {
        self.reported = None;
        self.is_waiting = false;
        self.was_sent = false;
    }

    /// When the next change may be sent; `None` if there is none to send.
    pub(super) fn ready_at(&self, now: Instant) -> Option<Instant> {
        let earliest = self.last_sent_at.map_or(now, |sent_at| now.max(sent_at + MIN_INTERVAL));
        self.is_waiting.then_some(earliest)
    }

    /// Whether a change was sent less than [`MIN_INTERVAL`] ago, so the next one has to wait.
    pub(super) fn is_recent(&self, now: Instant) -> bool {
        self.last_sent_at.is_some_and(|sent_at| now < sent_at + MIN_INTERVAL)
    }

    /// What is sent now, and whether it was before.
    pub(super) fn start(&mut self, now: Instant) -> Option<(Option<Activity>, bool)> {
        if !std::mem::take(&mut self.is_waiting) {
            return None;
        }
        self.is_in_flight = true;
        self.last_sent_at = Some(now);
        Some((self.reported.clone()?, std::mem::replace(&mut self.was_sent, true)))
    }

    /// The call failed: what is reported now is to be sent.
    pub(super) fn put_back(&mut self) {
        self.is_in_flight = false;
        self.is_waiting = self.reported.is_some();
    }

    /// The call is settled. One that the service refused would be refused again: it is not kept.
    pub(super) fn finish(&mut self, was_refused: bool) {
        self.is_in_flight = false;
        if was_refused && !self.is_waiting {
            self.reported = None;
        }
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.is_in_flight
    }

    /// How many calls wait or are in flight.
    pub(super) fn tasks(&self) -> usize {
        usize::from(self.is_waiting || self.is_in_flight)
    }
}
