//! Calls for services that ask about players.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable as _};
use serde::Serialize;

use crate::{
    Activity, CallError, Endpoint, Friends, InvalidEndpoint, PlayerId, Presence, State,
    transport::{Transport, path_segment},
};

/// A call is made at most three times, within about a second if the service fails immediately.
const RETRIES: ExponentialBuilder = ExponentialBuilder::new()
    .with_jitter()
    .with_min_delay(Duration::from_millis(100))
    .with_max_times(2);

/// If the service requests a longer pause, the call is not repeated: the caller should decide.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(2);

/// Asks the presence service about players, and sets their states: for matchmakers, chats, friend
/// lists. Cheap to clone; clones share their connections.
///
/// Transient failures ([`CallError::is_transient`]) are tried again, twice at most.
#[derive(Debug, Clone)]
pub struct PresenceClient {
    pub(crate) transport: Transport,
}

/// Whether to read the history of an OFFLINE player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum History {
    /// Only the current presence.
    Omit,
    /// For an OFFLINE player, when it was last seen, as long as the service remembers it.
    Include,
}

/// A change of a player. Members that are left out stay as they are.
#[derive(Serialize)]
struct Change<'a> {
    player_id: &'a PlayerId,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<State>,
    /// `Some(None)` removes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    activity: Option<Option<&'a Activity>>,
}

impl PresenceClient {
    /// Prepares the client; nothing is connected before the first call.
    ///
    /// # Errors
    /// [`InvalidEndpoint::RootCertificates`].
    pub fn new(endpoint: Endpoint) -> Result<Self, InvalidEndpoint> {
        Transport::new(endpoint).map(|transport| Self { transport })
    }

    /// Sends this bearer token with every call from now on, also those of the client's clones.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Token`]; the token stays what it was.
    pub fn set_token(&self, token: &str) -> Result<(), InvalidEndpoint> {
        self.transport.set_token(token)
    }

    /// One player's presence. An unknown player is OFFLINE.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn get(&self, player: &PlayerId, history: History) -> Result<Presence, CallError> {
        let query = if history == History::Include {
            "?history=true"
        } else {
            ""
        };
        let path = format!("/presence/{}{query}", path_segment(player));
        with_retries(|| self.transport.get(&path)).await
    }

    /// The presences of 1 to 2,000 players, in the order of the list.
    ///
    /// # Errors
    /// [`CallError`]; one Redis node that does not respond fails the call.
    pub async fn friends(
        &self,
        players: &[PlayerId],
        history: History,
    ) -> Result<Friends, CallError> {
        #[derive(Serialize)]
        struct Body<'a> {
            player_ids: &'a [PlayerId],
            history: bool,
        }

        let body = Body {
            player_ids: players,
            history: history == History::Include,
        };
        with_retries(|| self.transport.post("/presence/friends", &body)).await
    }

    /// Sets a player's state. Returns the resulting presence.
    ///
    /// # Errors
    /// [`CallError`]; a [`Problem`](crate::Problem) `transition-rejected` (409) if an OFFLINE
    /// player is set to IN_QUEUE or IN_MATCH.
    pub async fn set_state(&self, player: &PlayerId, state: State) -> Result<Presence, CallError> {
        self.set(&Change {
            player_id: player,
            state: Some(state),
            activity: None,
        })
        .await
    }

    /// Sets a player's activity, or removes it. Returns the resulting presence.
    ///
    /// # Errors
    /// [`CallError`]; a [`Problem`](crate::Problem) `transition-rejected` (409) if an OFFLINE
    /// player is to have one.
    pub async fn set_activity(
        &self,
        player: &PlayerId,
        activity: Option<&Activity>,
    ) -> Result<Presence, CallError> {
        self.set(&Change {
            player_id: player,
            state: None,
            activity: Some(activity),
        })
        .await
    }

    /// Sets a player's state, and sets or removes the activity, in one step. Returns the resulting
    /// presence.
    ///
    /// # Errors
    /// As for [`set_state`](Self::set_state) and [`set_activity`](Self::set_activity).
    pub async fn set_state_and_activity(
        &self,
        player: &PlayerId,
        state: State,
        activity: Option<&Activity>,
    ) -> Result<Presence, CallError> {
        self.set(&Change {
            player_id: player,
            state: Some(state),
            activity: Some(activity),
        })
        .await
    }

    async fn set(&self, change: &Change<'_>) -> Result<Presence, CallError> {
        with_retries(|| self.transport.post("/presence/state", change)).await
    }
}

/// Repeats a call after a transient failure.
pub(crate) async fn with_retries<A, F: Future<Output = Result<A, CallError>>>(
    call: impl FnMut() -> F,
) -> Result<A, CallError> {
    call.retry(RETRIES)
        .when(CallError::is_transient)
        .adjust(|error, delay| match (error.retry_after(), delay) {
            (Some(pause), Some(delay)) => (pause <= LONGEST_RETRY_AFTER).then_some(pause + delay),
            (_, delay) => delay,
        })
        .await
}
