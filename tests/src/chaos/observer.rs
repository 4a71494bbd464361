//! A service that asks for all players, again and again, without any proxy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    history::{Attempt, Millis, Notes, Read, State, now, player_id},
    plan::SERVERS,
    stage::Stage,
};

/// From one look to the next.
const PAUSE: Duration = Duration::from_millis(300);

/// How long a look may take.
const LIMIT: Duration = Duration::from_secs(2);

/// Asks, and notes the answers.
#[derive(Clone)]
pub(super) struct Observer {
    stage: Arc<Stage>,
    notes: Notes,
    http: reqwest::Client,
    body: Arc<Value>,
}

impl Observer {
    pub(super) fn new(stage: Arc<Stage>, notes: Notes, players: u32) -> Self {
        let ids: Vec<_> = (0..players).map(player_id).collect();
        let body = Arc::new(json!({"player_ids": ids, "history": true}));
        Self { stage, notes, http: reqwest::Client::new(), body }
    }

    /// Goes on for ever, from server to server.
    pub(super) async fn watch(self) {
        for turn in 0.. {
            self.look(turn % SERVERS).await;
            sleep(PAUSE).await;
        }
    }

    /// Waits until both servers' answers agree with the sockets. What does not come about within `limit` is noted as a
    /// mishap.
    pub(super) async fn until_agreed(&self, limit: Duration) -> bool {
        self.until_said(&BTreeMap::new(), limit).await
    }

    /// The same, and with the states that players said.
    pub(super) async fn until_said(&self, states: &BTreeMap<u32, State>, limit: Duration) -> bool {
        match self.agree(states, limit).await {
            Ok(()) => true,
            Err(wrong) => {
                self.notes.mishap(wrong);
                false
            }
        }
    }

    /// The same, without a note: what is wrong after `limit` is the error.
    pub(super) async fn agree(&self, states: &BTreeMap<u32, State>, limit: Duration) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let (before, mut wrong) = (self.notes.lock().open_sockets(), Vec::new());
            for server in 0..SERVERS {
                match self.look(server).await {
                    Some(reads) => wrong.extend(reads.into_iter().filter(|read| !agrees(read, &before, states))),
                    None => wrong.push(Read::nothing()),
                }
            }
            if wrong.is_empty() {
                self.notes.lock().agreements.push(now());
                return Ok(());
            }
            if begin.elapsed() > limit {
                let open = |read: &Read| before.get(&read.player).copied().unwrap_or_default();
                let first: Vec<_> =
                    wrong.iter().take(3).map(|read| format!("{read:?}, {} sockets", open(read))).collect();
                return Err(format!("{} answers are wrong {limit:?} after all was well: {first:?}", wrong.len()));
            }
            sleep(PAUSE).await;
        }
    }

    /// Asks one server for all players, and notes the attempt.
    pub(super) async fn look(&self, server: usize) -> Option<Vec<Read>> {
        let sent = now();
        let reads = self.ask(server).await;
        let attempt = Attempt { server, sent, ended: now(), is_answered: reads.is_some() };
        let mut history = self.notes.lock();
        history.attempts.push(attempt);
        history.reads.extend(reads.iter().flatten());
        reads
    }

    async fn ask(&self, server: usize) -> Option<Vec<Read>> {
        let url = format!("http://{}/presence/friends", self.stage.address(server));
        let response = self.http.post(url).timeout(LIMIT).json(&*self.body).send().await.ok()?;
        let body: Value = response.error_for_status().ok()?.json().await.ok()?;
        let (ended, as_of) = (now(), body["as_of"].as_u64()?);
        (0..).zip(body["presences"].as_array()?).map(|read| parse(read, as_of, ended)).collect()
    }
}

impl Read {
    fn nothing() -> Self {
        Self { player: 0, as_of: 0, ended: 0, state: State::Offline, count: 0, version: None }
    }
}

fn parse((player, presence): (u32, &Value), as_of: Millis, ended: Millis) -> Option<Read> {
    let state = serde_json::from_value(presence["state"].clone()).ok()?;
    let count = u32::try_from(presence["connection_count"].as_u64()?).ok()?;
    Some(Read { player, as_of, ended, state, count, version: presence["version"].as_u64() })
}

fn agrees(read: &Read, open: &BTreeMap<u32, u32>, states: &BTreeMap<u32, State>) -> bool {
    let sockets = open.get(&read.player).copied().unwrap_or_default();
    let is_there = read.state != State::Offline;
    let has_state = states.get(&read.player).is_none_or(|state| sockets == 0 || read.state == *state);
    read.count == sockets && is_there == (sockets > 0) && has_state
}
