//! The players with their devices, and the truth about their sockets.

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
    history::{Notes, Socket, State, now, player_id},
    plan::{Act, GATEWAYS},
    stage::Stage,
};
use crate::Device;

/// A gateway that is frozen takes a socket into its queue and says nothing.
const PATIENCE: Duration = Duration::from_secs(2);

/// The number of devices that connect to another gateway at a time.
const MOVING: usize = 50;

/// Of this many players whose gateway has a planned restart, one does not connect again.
const PLAYERS_PER_LEAVER: u32 = 4;

/// How often a device tries to connect to another gateway, and the pause between two attempts.
const MOVE_ATTEMPTS: usize = 20;
const MOVE_PAUSE: Duration = Duration::from_millis(100);

/// All players.
#[derive(Clone)]
pub(super) struct Crowd {
    stage: Arc<Stage>,
    notes: Notes,
    /// Each player's devices, the oldest first.
    devices: Arc<Mutex<HashMap<u32, VecDeque<Device>>>>,
    moving: Arc<Semaphore>,
}

impl Crowd {
    pub(super) fn new(stage: Arc<Stage>, notes: Notes) -> Self {
        Self { stage, notes, devices: Arc::default(), moving: Arc::new(Semaphore::new(MOVING)) }
    }

    /// A player does something; it is impossible to do some things while a gateway is away, or without a device.
    pub(super) async fn act(&self, act: Act) {
        match act {
            Act::Open(player, gateway) => _ = self.open(player, gateway).await,
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

    /// Opens a socket, and returns whether the gateway took it.
    async fn open(&self, player: u32, gateway: usize) -> bool {
        let Some(url) = self.stage.gateway_url(gateway, &player_id(player)) else { return false };
        let Ok(Ok(device)) = timeout(PATIENCE, Device::open(&url)).await else { return false };
        let connection: Arc<str> = Arc::from(device.connection());
        let closed = device.closed();
        let index = {
            let mut history = self.notes.lock();
            let connection = Arc::clone(&connection);
            history.sockets.push(Socket { player, connection, gateway, opened: now(), closed: None });
            history.sockets.len() - 1
        };
        let crowd = self.clone();
        tokio::spawn(async move {
            closed.await;
            crowd.notes.lock().sockets[index].closed = Some(now());
            // A player who left has taken the device out.
            let is_moving = crowd.stage.is_draining(gateway) && crowd.take_out(player, &connection);
            if is_moving && !player.is_multiple_of(PLAYERS_PER_LEAVER) {
                crowd.move_from(gateway, player).await;
            }
        });
        self.devices().entry(player).or_default().push_back(device);
        true
    }

    /// Connects a player to one of the other gateways, as its own stops.
    fn move_from(&self, gateway: usize, player: u32) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let Ok(_permit) = self.moving.acquire().await else { return };
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
        let Some(device) = self.take(player) else { return };
        let _ = timeout(PATIENCE, device.say(state.as_str())).await; // as for a frozen gateway
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

    /// Takes out the device of a connection. Returns whether the player still had it.
    fn take_out(&self, player: u32, connection: &str) -> bool {
        let mut devices = self.devices();
        let Some(devices) = devices.get_mut(&player) else { return false };
        let place = devices.iter().position(|device| device.connection() == connection);
        place.and_then(|place| devices.remove(place)).is_some()
    }

    fn devices(&self) -> MutexGuard<'_, HashMap<u32, VecDeque<Device>>> {
        self.devices.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
