//! Reader of all players, who asks the servers in turn, without a proxy.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    environment::Environment,
    history::{Attempt, Millis, Read, Recorder, State, now, player_id},
    plan::SERVERS,
};

/// The pause between two reads.
const READ_INTERVAL: Duration = Duration::from_millis(300);

/// Time limit for a read.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Reads all players, and records the responses.
#[derive(Clone)]
pub(super) struct Observer {
    environment: Arc<Environment>,
    recorder: Recorder,
    http: reqwest::Client,
    body: Arc<Value>,
}

impl Observer {
    pub(super) fn new(environment: Arc<Environment>, recorder: Recorder, players: u32) -> Self {
        let ids: Vec<_> = (0..players).map(player_id).collect();
        let body = Arc::new(json!({"player_ids": ids, "history": true}));
        Self {
            environment,
            recorder,
            http: reqwest::Client::new(),
            body,
        }
    }

    /// Reads from the servers in turn, indefinitely.
    pub(super) async fn watch(self) {
        for turn in 0.. {
            self.look(turn % SERVERS).await;
            sleep(READ_INTERVAL).await;
        }
    }

    /// Waits until both servers' responses agree with the sockets. If they do not within `timeout`,
    /// that is recorded as an anomaly.
    pub(super) async fn until_agreed(&self, timeout: Duration) -> bool {
        self.until_states_agree(&BTreeMap::new(), timeout).await
    }

    /// Like [`until_agreed`](Self::until_agreed), but compares the states that players have set,
    /// too.
    pub(super) async fn until_states_agree(
        &self,
        states: &BTreeMap<u32, State>,
        timeout: Duration,
    ) -> bool {
        match self.agree(states, timeout).await {
            Ok(()) => true,
            Err(wrong) => {
                self.recorder.record_anomaly(wrong);
                false
            }
        }
    }

    /// Like [`until_states_agree`](Self::until_states_agree), but a disagreement after `timeout` is
    /// returned as the error.
    pub(super) async fn agree(
        &self,
        states: &BTreeMap<u32, State>,
        timeout: Duration,
    ) -> Result<(), String> {
        let begin = Instant::now();
        loop {
            let before = self.recorder.lock().open_sockets();
            let mut wrong = Vec::new();
            for server in 0..SERVERS {
                match self.look(server).await {
                    Some(reads) => wrong.extend(
                        reads
                            .into_iter()
                            .filter(|read| !agrees(read, &before, states)),
                    ),
                    None => wrong.push(Read::nothing()),
                }
            }
            if wrong.is_empty() {
                self.recorder.lock().agreements.push(now());
                return Ok(());
            }
            if begin.elapsed() > timeout {
                let open = |read: &Read| before.get(&read.player).copied().unwrap_or_default();
                let first: Vec<_> = wrong
                    .iter()
                    .take(3)
                    .map(|read| format!("{read:?}, {} sockets", open(read)))
                    .collect();
                return Err(format!(
                    "{} responses are wrong {timeout:?} after the last fault: {first:?}",
                    wrong.len()
                ));
            }
            sleep(READ_INTERVAL).await;
        }
    }

    /// Reads all players from one server, and records the attempt.
    pub(super) async fn look(&self, server: usize) -> Option<Vec<Read>> {
        let sent = now();
        let reads = self.ask(server).await;
        let attempt = Attempt {
            server,
            sent,
            ended: now(),
            is_answered: reads.is_some(),
        };
        let mut history = self.recorder.lock();
        history.attempts.push(attempt);
        history.reads.extend(reads.iter().flatten());
        reads
    }

    async fn ask(&self, server: usize) -> Option<Vec<Read>> {
        let url = format!(
            "http://{}/presence/friends",
            self.environment.address(server)
        );
        let response = self
            .http
            .post(url)
            .timeout(READ_TIMEOUT)
            .json(&*self.body)
            .send()
            .await
            .ok()?;
        let body: Value = response.error_for_status().ok()?.json().await.ok()?;
        let ended = now();
        let as_of = body["as_of"].as_u64()?;
        (0..)
            .zip(body["presences"].as_array()?)
            .map(|read| parse(read, as_of, ended))
            .collect()
    }
}

impl Read {
    fn nothing() -> Self {
        Self {
            player: 0,
            as_of: 0,
            ended: 0,
            state: State::Offline,
            count: 0,
            version: None,
        }
    }
}

fn parse((player, presence): (u32, &Value), as_of: Millis, ended: Millis) -> Option<Read> {
    let state = serde_json::from_value(presence["state"].clone()).ok()?;
    let count = u32::try_from(presence["connection_count"].as_u64()?).ok()?;
    Some(Read {
        player,
        as_of,
        ended,
        state,
        count,
        version: presence["version"].as_u64(),
    })
}

fn agrees(read: &Read, open: &BTreeMap<u32, u32>, states: &BTreeMap<u32, State>) -> bool {
    let sockets = open.get(&read.player).copied().unwrap_or_default();
    let is_there = read.state != State::Offline;
    let has_state = states
        .get(&read.player)
        .is_none_or(|state| sockets == 0 || read.state == *state);
    read.count == sockets && is_there == (sockets > 0) && has_state
}
