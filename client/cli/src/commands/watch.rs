//! `presence watch`: players coming and going.

use std::{collections::HashMap, fmt, time::Duration};

use presence_client::{
    Activity, History, PlayerId, Presence, State,
    operator::{EventStream, Feed, News, PresenceEvent},
};
use tokio::time::sleep;

use crate::{
    activity,
    failure::{Failure, Status},
    output::{Output, moment},
    service::Service,
    style::{FAINT, of_state},
};

/// How long to wait before a stream that broke is opened again; each time that fails, twice as long as before.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run(
    service: &Service,
    players: Vec<PlayerId>,
    count: Option<u64>,
    output: Output,
) -> Result<Status, Failure> {
    let events = service.operator.events().await.map_err(|error| service.events_failure(&error))?;
    let mut watch = Watch::new(service, players, output);
    // Only now: a change between the two is among the events, and told once, by its version.
    watch.catch_up().await?;
    watch.follow(events, count).await?;
    Ok(Status::Done)
}

struct Watch<'a> {
    service: &'a Service,
    /// Whom to watch, in the order given; nobody for everybody.
    players: Vec<PlayerId>,
    /// The newest version that was shown of each of them.
    shown: HashMap<PlayerId, Option<u64>>,
    /// Whether the service receives events, as far as was said.
    feed: Feed,
    width: usize,
    output: Output,
}

impl<'a> Watch<'a> {
    fn new(service: &'a Service, players: Vec<PlayerId>, output: Output) -> Self {
        const USUAL_WIDTH: usize = 16;
        let width = players.iter().map(|player| player.as_str().len()).max().unwrap_or(USUAL_WIDTH);
        Self { service, players, shown: HashMap::new(), feed: Feed::Live, width, output }
    }

    /// Shows events until there were enough.
    async fn follow(&mut self, mut events: EventStream, count: Option<u64>) -> Result<(), Failure> {
        let mut seen = 0;
        while count.is_none_or(|count| seen < count) {
            match events.next().await {
                Ok(Some(News::Event(event))) => seen += u64::from(self.show_event(&event)?),
                Ok(Some(News::Missed(missed))) => {
                    anstream::eprintln!("presence: {missed} events came too fast to be shown");
                    self.catch_up().await?;
                }
                Ok(Some(News::Feed(feed))) => self.note(feed).await?,
                Ok(Some(_)) => {} // of a newer service
                Ok(None) => events = self.reopen("the service ended the connection").await?,
                Err(error) => events = self.reopen(&error.to_string()).await?,
            }
        }
        Ok(())
    }

    /// Says when events stop to arrive, and when they arrive again.
    async fn note(&mut self, feed: Feed) -> Result<(), Failure> {
        match (std::mem::replace(&mut self.feed, feed), feed) {
            (Feed::Live, Feed::Down) => {
                anstream::eprintln!(
                    "presence: no live events: the service's NATS is down; changes are shown when it is back"
                );
            }
            (Feed::Down, Feed::Live) => {
                anstream::eprintln!("presence: events are live again");
                self.catch_up().await?;
            }
            (Feed::Live, Feed::Live) | (Feed::Down, Feed::Down) => {}
        }
        Ok(())
    }

    /// Shows how those who are watched are now, where that has not been shown.
    async fn catch_up(&mut self) -> Result<(), Failure> {
        if self.players.is_empty() {
            return Ok(());
        }
        let friends = self.service.players.friends(&self.players, History::Include).await;
        let friends = friends.map_err(|error| self.service.failure(&error))?;
        for presence in &friends.presences {
            if self.shown.insert(presence.player_id.clone(), presence.version) != Some(presence.version) {
                self.output.show(presence, || self.line(friends.as_of, &presence.player_id, Now(presence)))?;
            }
        }
        Ok(())
    }

    /// Shows an event, and says whether it is one of those that are watched.
    fn show_event(&mut self, event: &PresenceEvent) -> Result<bool, Failure> {
        if !self.players.is_empty() {
            match self.shown.get_mut(&event.player_id) {
                Some(shown) if shown.is_none_or(|shown| shown < event.version) => *shown = Some(event.version),
                Some(_) | None => return Ok(false),
            }
        }
        self.output.show(event, || self.line(event.occurred_at, &event.player_id, Change(event)))?;
        Ok(true)
    }

    fn line(&self, at: u64, player: &PlayerId, what: impl fmt::Display) -> String {
        format!("{FAINT}{}{FAINT:#}  {:width$}  {what}\n", moment(at), player.as_str(), width = self.width)
    }

    /// Opens the stream again, however long that takes, and shows what has changed meanwhile.
    async fn reopen(&mut self, why: &str) -> Result<EventStream, Failure> {
        anstream::eprintln!("presence: {why}; trying again");
        let mut pause = FIRST_PAUSE;
        loop {
            sleep(pause).await;
            match self.service.operator.events().await {
                Ok(events) => {
                    let loss = if self.players.is_empty() { "; what happened meanwhile is not shown" } else { "" };
                    anstream::eprintln!("presence: connected again{loss}");
                    self.catch_up().await?;
                    return Ok(events);
                }
                Err(error) if error.is_transient() => pause = LONGEST_PAUSE.min(pause * 2),
                Err(error) => return Err(self.service.events_failure(&error)),
            }
        }
    }
}

/// A player's state.
struct Now<'a>(&'a Presence);

/// A change of a player's state.
struct Change<'a>(&'a PresenceEvent);

impl fmt::Display for Now<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_state(f, self.0.state)?;
        write_activity(f, self.0.activity.as_ref())
    }
}

impl fmt::Display for Change<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(PresenceEvent { previous_state, state, reason, activity, .. }) = self;
        if previous_state != state {
            write_state(f, *previous_state)?;
            f.write_str(" → ")?;
        }
        write_state(f, *state)?;
        write_activity(f, activity.as_ref())?;
        write!(f, "  {FAINT}{reason}{FAINT:#}")
    }
}

fn write_activity(f: &mut fmt::Formatter<'_>, activity: Option<&Activity>) -> fmt::Result {
    activity.map_or(Ok(()), |activity| write!(f, ": {}", activity::summary(activity)))
}

fn write_state(f: &mut fmt::Formatter<'_>, state: State) -> fmt::Result {
    let style = of_state(state);
    write!(f, "{style}{state}{style:#}")
}
