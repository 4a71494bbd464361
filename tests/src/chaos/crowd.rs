//! The players with their devices, and the truth about their sockets.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::timeout;

use super::{
    history::{Notes, Socket, State, now, player_id},
    plan::Act,
    stage::Stage,
};
use crate::Device;

/// A gateway that is frozen takes a socket into its queue and says nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// All players.
#[derive(Clone)]
pub(super) struct Crowd {
    stage: Arc<Stage>,
    notes: Notes,
    /// Each player's devices, the oldest first.
    devices: Arc<Mutex<HashMap<u32, VecDeque<Device>>>>,
}

impl Crowd {
    pub(super) fn new(stage: Arc<Stage>, notes: Notes) -> Self {
        Self { stage, notes, devices: Arc::default() }
    }

    /// A player does something; it is impossible to do some things while a gateway is away, or without a device.
    pub(super) async fn act(&self, act: Act) {
        match act {
            Act::Open(player, gateway) => self.open(player, gateway).await,
            Act::Quit(player) => {
                if let Some(device) = self.take(player) {
                    let _ = timeout(PATIENCE, device.quit()).await; // a frozen gateway learns of it later
                }
            }
            Act::Break(player) => {
                if let Some(device) = self.take(player) {
                    device.break_off().await;
                }
            }
            Act::Say(player, state) => self.say(player, state).await,
        }
    }

    /// The players who have a device that is open.
    pub(super) fn present(&self) -> Vec<u32> {
        let mut present: Vec<_> = self.notes.lock().open_sockets().into_keys().collect();
        present.sort_unstable();
        present
    }

    async fn open(&self, player: u32, gateway: usize) {
        let Some(url) = self.stage.gateway_url(gateway, &player_id(player)) else { return };
        let Ok(Ok(device)) = timeout(PATIENCE, Device::open(&url)).await else { return };
        let (connection, closed) = (Arc::from(device.connection()), device.closed());
        let index = {
            let mut history = self.notes.lock();
            history.sockets.push(Socket { player, connection, gateway, opened: now(), closed: None });
            history.sockets.len() - 1
        };
        let notes = self.notes.clone();
        tokio::spawn(async move {
            closed.await;
            notes.lock().sockets[index].closed = Some(now());
        });
        self.devices().entry(player).or_default().push_back(device);
    }

    async fn say(&self, player: u32, state: State) {
        let Some(device) = self.take(player) else { return };
        let word = serde_json::to_value(state).unwrap_or_default();
        let _ = timeout(PATIENCE, device.say(word.as_str().unwrap_or_default())).await; // as for a frozen gateway
        self.devices().entry(player).or_default().push_front(device);
    }

    /// Takes a player's oldest device that is still open.
    fn take(&self, player: u32) -> Option<Device> {
        let mut devices = self.devices();
        let devices = devices.get_mut(&player)?;
        while devices.front().is_some_and(Device::is_closed) {
            devices.pop_front();
        }
        devices.pop_front()
    }

    fn devices(&self) -> MutexGuard<'_, HashMap<u32, VecDeque<Device>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
