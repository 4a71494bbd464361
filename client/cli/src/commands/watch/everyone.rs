//! Changes of all players, from the service's events.

use std::{fmt, time::Duration};

use backon::{ExponentialBuilder, Retryable as _};
use presence_client::{
    CallError,
    operator::{EventFeed, EventStream, PresenceEvent, StreamItem},
};
use tokio::time::sleep;

use super::{line, write_activity, write_state};
use crate::{
    failure::{Failure, Status},
    output::Output,
    service::Service,
    style::FAINT,
};

/// The pause before a stream that broke is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// The pauses between further attempts.
const BACKOFF: ExponentialBuilder = ExponentialBuilder::new()
    .with_min_delay(Duration::from_millis(500))
    .with_max_delay(Duration::from_secs(5))
    .without_max_times();

/// The width of the column of ids. Longer ids are not cut.
const WIDTH: usize = 16;

/// Shows the changes of all players, at most `count`.
pub(super) async fn run(
    service: &Service,
    count: Option<u64>,
    output: Output,
) -> Result<Status, Failure> {
    let events = service
        .operator
        .events()
        .await
        .map_err(|error| service.events_failure(&error))?;
    Watch {
        service,
        feed: EventFeed::Live,
        output,
    }
    .follow(events, count)
    .await?;
    Ok(Status::Done)
}

struct Watch<'a> {
    service: &'a Service,
    /// Whether the service receives events, according to its last message.
    feed: EventFeed,
    output: Output,
}

impl Watch<'_> {
    /// Shows events until `count` were shown.
    async fn follow(&mut self, mut events: EventStream, count: Option<u64>) -> Result<(), Failure> {
        let mut seen = 0;
        while count.is_none_or(|count| seen < count) {
            match events.next().await {
                Ok(Some(StreamItem::Event(event))) => {
                    self.output.show(&event, || {
                        line(event.occurred_at, &event.player_id, WIDTH, Change(&event))
                    })?;
                    seen += 1;
                }
                Ok(Some(StreamItem::Missed(missed))) => {
                    anstream::eprintln!(
                        "presence: {missed} events were skipped: they arrived too fast"
                    );
                }
                Ok(Some(StreamItem::Feed(feed))) => self.record(feed),
                Ok(Some(_)) => {} // a message of a newer service
                Ok(None) => events = self.reopen("the service ended the connection").await?,
                Err(error) => events = self.reopen(&error.to_string()).await?,
            }
        }
        Ok(())
    }

    /// Reports when events stop arriving, and when they arrive again.
    fn record(&mut self, feed: EventFeed) {
        match (std::mem::replace(&mut self.feed, feed), feed) {
            (EventFeed::Live, EventFeed::Down) => {
                anstream::eprintln!(
                    "presence: no live events: the service's NATS is down; changes are shown when it is back"
                );
            }
            (EventFeed::Down, EventFeed::Live) => {
                anstream::eprintln!("presence: events are live again")
            }
            (EventFeed::Live, EventFeed::Live) | (EventFeed::Down, EventFeed::Down) => {}
        }
    }

    /// Opens the stream again. Retries until it succeeds.
    async fn reopen(&mut self, why: &str) -> Result<EventStream, Failure> {
        anstream::eprintln!("presence: {why}; trying again");
        sleep(FIRST_PAUSE).await;
        let events = (|| self.service.operator.events())
            .retry(BACKOFF)
            .when(CallError::is_transient)
            .await
            .map_err(|error| self.service.events_failure(&error))?;
        anstream::eprintln!("presence: connected again; changes in between are not shown");
        Ok(events)
    }
}

/// A change of a player's state.
struct Change<'a>(&'a PresenceEvent);

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(PresenceEvent {
            previous_state,
            state,
            reason,
            activity,
            ..
        }) = self;
        if previous_state != state {
            write_state(f, *previous_state)?;
            f.write_str(" → ")?;
        }
        write_state(f, *state)?;
        write_activity(f, activity.as_ref())?;
        write!(f, "  {FAINT}{reason}{FAINT:#}")
    }
}
