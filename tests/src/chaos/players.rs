//! Players with their devices, and which of their sockets are open.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Semaphore,
    time::{sleep, timeout},
};

use super::{
    environment::Environment,
    history::{Recorder, Socket, State, now, player_id},
    plan::{Action, GATEWAYS},
};
use crate::Device;

/// Time limit for a call to a gateway: the kernel accepts the sockets of a frozen one.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// The most devices that move to another gateway at a time.
const MAX_MOVING: usize = 50;

/// Of this many players whose gateway has a planned restart, one does not connect again.
const PLAYERS_PER_LEAVER: u32 = 4;

/// The pause of a device before it connects to another gateway: the shortest one, and the step to
/// the next ones. They spread the connects, and most connects come after the call with which the
/// gateway leaves.
const MOVE_DELAY: Duration = Duration::from_millis(300);
const MOVE_DELAY_STEP: Duration = Duration::from_millis(100);
const MOVE_DELAYS: u32 = 8;

/// The most attempts of a device to connect to another gateway, and the pause between two of them.
const MOVE_ATTEMPTS: usize = 20;
const MOVE_PAUSE: Duration = Duration::from_millis(100);

/// All players.
#[derive(Clone)]
pub(super) struct Players {
    environment: Arc<Environment>,
    recorder: Recorder,
    /// Each player's devices, the oldest first.
    devices: Arc<Mutex<HashMap<u32, VecDeque<Device>>>>,
    moving: Arc<Semaphore>,
}

impl Players {
    pub(super) fn new(environment: Arc<Environment>, recorder: Recorder) -> Self {
        Self {
            environment,
            recorder,
            devices: Arc::default(),
            moving: Arc::new(Semaphore::new(MAX_MOVING)),
        }
    }

    /// Performs an action of a player, if that is possible: some actions need a gateway that is up,
    /// or a device.
    pub(super) async fn act(&self, act: Action) {
        match act {
            Action::Open(player, gateway) => _ = self.open(player, gateway).await,
            Action::Quit(player) => {
                if let Some(device) = self.take(player) {
                    let _ = timeout(CALL_TIMEOUT, device.quit()).await; // a frozen gateway notices it later
                }
            }
            Action::Break(player) => {
                if let Some(device) = self.take(player) {
                    device.break_off().await;
                }
            }
            Action::SetState(player, state) => self.say(player, state).await,
        }
    }

    /// The players who have a device that is open.
    pub(super) fn present(&self) -> Vec<u32> {
        let mut present: Vec<_> = self.recorder.lock().open_sockets().into_keys().collect();
        present.sort_unstable();
        present
    }

    /// Opens a socket. Returns whether that succeeded.
    async fn open(&self, player: u32, gateway: usize) -> bool {
        let Some(url) = self.environment.gateway_url(gateway, &player_id(player)) else {
            return false;
        };
        let Ok(Ok(device)) = timeout(CALL_TIMEOUT, Device::open(&url)).await else {
            return false;
        };
        let connection: Arc<str> = Arc::from(device.connection());
        let closed = device.closed();
        let index = {
            let mut history = self.recorder.lock();
            let connection = Arc::clone(&connection);
            history.sockets.push(Socket {
                player,
                connection,
                gateway,
                opened: now(),
                closed: None,
            });
            history.sockets.len() - 1
        };
        let players = self.clone();
        tokio::spawn(async move {
            closed.await;
            players.recorder.lock().sockets[index].closed = Some(now());
            // The device of a player who quit was removed before.
            let is_moving =
                players.environment.is_draining(gateway) && players.take_out(player, &connection);
            if is_moving && !player.is_multiple_of(PLAYERS_PER_LEAVER) {
                players.move_from(gateway, player).await;
            }
        });
        self.devices().entry(player).or_default().push_back(device);
        true
    }

    /// Connects a player whose gateway stops to one of the other gateways.
    fn move_from(
        &self,
        gateway: usize,
        player: u32,
    ) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            sleep(MOVE_DELAY + MOVE_DELAY_STEP * (player % MOVE_DELAYS)).await;
            let Ok(_permit) = self.moving.acquire().await else {
                return;
            };
            for attempt in 0..MOVE_ATTEMPTS {
                let distance = 1 + (player as usize + attempt) % (GATEWAYS - 1);
                if self.open(player, (gateway + distance) % GATEWAYS).await {
                    return;
                }
                sleep(MOVE_PAUSE).await;
            }
        })
    }

    async fn say(&self, player: u32, state: State) {
        let Some(device) = self.take(player) else {
            return;
        };
        let _ = timeout(CALL_TIMEOUT, device.say(state.as_str())).await; // a frozen gateway reads it later
        self.devices().entry(player).or_default().push_front(device);
    }

    /// Removes a player's oldest device that is still open.
    fn take(&self, player: u32) -> Option<Device> {
        let mut all = self.devices();
        let devices = all.get_mut(&player)?;
        while devices.front().is_some_and(Device::is_closed) {
            devices.pop_front();
        }
        devices.pop_front()
    }

    /// Removes the device of a connection. Returns whether the player still had it.
    fn take_out(&self, player: u32, connection: &str) -> bool {
        let mut devices = self.devices();
        let Some(devices) = devices.get_mut(&player) else {
            return false;
        };
        let position = devices
            .iter()
            .position(|device| device.connection() == connection);
        position
            .and_then(|position| devices.remove(position))
            .is_some()
    }

    fn devices(&self) -> MutexGuard<'_, HashMap<u32, VecDeque<Device>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
