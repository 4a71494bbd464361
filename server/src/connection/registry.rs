//! Registry of all connections: their number, their time limits, and the eviction of idle ones.

use std::{
    cmp::Reverse,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::state::{ConnectionState, Order, Phase, Seconds};

/// Time limit for the head of a request.
const HEAD_TIMEOUT_SECONDS: u32 = 10;

/// Time limit for a connection without a request. It is longer than load balancers (60 s) and HTTP
/// clients' pools (90 s) keep idle connections: otherwise they would send a request while the
/// server closes.
const IDLE_TIMEOUT_SECONDS: u32 = 120;

/// Time limit for a client to read a response, from the moment at which the kernel's buffer is
/// full.
const UNREAD_TIMEOUT_SECONDS: u32 = 30;

/// Time limit for the request of a reserved connection, whose slot other probes need.
const RESERVED_TIMEOUT_SECONDS: u32 = 2;

/// One in this number of slots is reserved for health probes.
const RESERVED_SHARE: usize = 40;

/// One in this number of connections is evicted at a time. Finding them takes a scan of all.
const EVICTED_SHARE: usize = 64;

/// How long to wait for evicted connections to end before a reserved slot is used.
const EVICTION_TIMEOUT: Duration = Duration::from_secs(1);

/// All connections of this process.
#[derive(Debug)]
pub(crate) struct Connections {
    regular: Pool,
    reserved: Pool,
    seconds: Seconds,
}

/// Connections, and slots for a number of them.
#[derive(Debug)]
struct Pool {
    count: usize,
    is_reserved: bool,
    free: Arc<Semaphore>,
    /// All connections. Those that have ended are removed by the next scan.
    connections: Mutex<Vec<Weak<ConnectionState>>>,
    /// The second in which a scan found no idle connection. No further scan is made in this second.
    found_busy_at: AtomicU32,
}

/// A slot for one connection.
#[derive(Debug)]
pub(crate) struct Slot {
    permit: OwnedSemaphorePermit,
    is_reserved: bool,
}

impl Connections {
    /// Creates a registry with `count` slots. Some of them are reserved for health probes.
    pub(crate) fn new(count: usize) -> Self {
        let reserved = (count / RESERVED_SHARE).max(1);
        Self {
            regular: Pool::new(count.saturating_sub(reserved).max(1), false),
            reserved: Pool::new(reserved, true),
            seconds: Seconds::new(),
        }
    }

    /// Waits for a slot for the next connection. If all are taken, idle connections are evicted; if
    /// none is idle, a reserved slot is used.
    pub(crate) async fn admit(&self) -> Slot {
        if let Some(slot) = self.regular.try_take() {
            return slot;
        }
        let now = self.seconds.now();
        if self.regular.evict(now) > 0
            && let Ok(slot) = timeout(EVICTION_TIMEOUT, self.regular.take()).await
        {
            return slot;
        }
        if let Some(slot) = self.reserved.try_take() {
            return slot;
        }
        self.reserved.evict(now);
        tokio::select! {
            biased;
            slot = self.regular.take() => slot,
            slot = self.reserved.take() => slot,
        }
    }

    /// Adds a connection. Its slot is free again when its state is dropped.
    pub(crate) fn add(&self, peer: SocketAddr, slot: Slot) -> Arc<ConnectionState> {
        let pool = if slot.is_reserved {
            &self.reserved
        } else {
            &self.regular
        };
        let state = Arc::new(ConnectionState::new(
            peer,
            slot.is_reserved,
            self.seconds.clone(),
            slot.permit,
        ));
        pool.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::downgrade(&state));
        state
    }

    /// Enforces the time limits of all connections, once per second, indefinitely.
    pub(crate) async fn enforce_timeouts(&self) {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            ticks.tick().await;
            self.tick();
        }
    }

    /// Ends each connection as soon as it has no request in progress.
    pub(crate) fn drain(&self) {
        self.each(|connection| connection.order(Order::Drain));
    }

    /// Waits until all connections have ended.
    pub(crate) async fn closed(&self) {
        for Pool { count, free, .. } in [&self.regular, &self.reserved] {
            let _ = free.acquire_many(*count as u32).await; // never closed
        }
    }

    /// Advances the clock by one second, and closes connections that have exceeded a time limit.
    fn tick(&self) {
        self.seconds.advance();
        self.each(|connection| {
            if has_timed_out(&connection) {
                connection.order(Order::Close);
            }
        });
    }

    fn each(&self, mut action: impl FnMut(Arc<ConnectionState>)) {
        self.regular.each(&mut action);
        self.reserved.each(&mut action);
    }
}

impl Pool {
    fn new(count: usize, is_reserved: bool) -> Self {
        Self {
            count,
            is_reserved,
            free: Arc::new(Semaphore::new(count)),
            connections: Mutex::default(),
            found_busy_at: AtomicU32::new(0),
        }
    }

    fn try_take(&self) -> Option<Slot> {
        let permit = Arc::clone(&self.free).try_acquire_owned().ok()?;
        Some(Slot {
            permit,
            is_reserved: self.is_reserved,
        })
    }

    async fn take(&self) -> Slot {
        match Arc::clone(&self.free).acquire_owned().await {
            Ok(permit) => Slot {
                permit,
                is_reserved: self.is_reserved,
            },
            Err(_) => std::future::pending().await, // never closed
        }
    }

    /// Closes the connections that have been idle longest, and returns their number.
    fn evict(&self, now: u32) -> usize {
        if self.found_busy_at.load(Ordering::Relaxed) == now {
            return 0;
        }
        let mut idle = Vec::new();
        self.each(&mut |connection| {
            if let Some(idleness) = connection.idleness() {
                idle.push((Reverse(idleness), idle.len(), connection));
            }
        });
        let count = self.count.div_ceil(EVICTED_SHARE).min(idle.len());
        if count == 0 {
            self.found_busy_at.store(now, Ordering::Relaxed);
        }
        if count < idle.len() {
            // Among equally idle connections, those that were accepted first go first.
            idle.select_nth_unstable_by_key(count, |(idleness, position, _)| {
                (*idleness, *position)
            });
        }
        idle.iter()
            .take(count)
            .for_each(|(_, _, connection)| connection.order(Order::Close));
        count
    }

    fn each(&self, action: &mut impl FnMut(Arc<ConnectionState>)) {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.retain(|connection| connection.upgrade().map(&mut *action).is_some());
    }
}

fn has_timed_out(connection: &ConnectionState) -> bool {
    // Seconds are counted when they end: a phase of age n has lasted for more than n - 1 seconds.
    let head_timeout = if connection.is_reserved {
        RESERVED_TIMEOUT_SECONDS
    } else {
        HEAD_TIMEOUT_SECONDS
    };
    let timeout = match connection.phase() {
        (Phase::Silent | Phase::Head, age) => age > head_timeout,
        (Phase::Idle, age) => age > IDLE_TIMEOUT_SECONDS,
        (Phase::Busy | Phase::Streaming, _) => false, // a request has a limit of its own
    };
    timeout
        || connection
            .unread_for()
            .is_some_and(|age| age > UNREAD_TIMEOUT_SECONDS)
}

#[cfg(test)]
mod tests {
    use std::{future::Future as _, pin::pin, task::Context, task::Waker};

    use super::{super::state::Ending, *};

    const PEER: ([u8; 4], u16) = ([127, 0, 0, 1], 1);

    /// A registry of 80 slots, 2 of them reserved, whose 78 other slots are in use.
    fn full() -> (Connections, Vec<Arc<ConnectionState>>) {
        let connections = Connections::new(80);
        let states = (0..78)
            .map(|_| connections.add(PEER.into(), connections.regular.try_take().unwrap()))
            .collect();
        (connections, states)
    }

    /// The slot that is available without waiting.
    fn admit_now(connections: &Connections) -> Option<Slot> {
        let admitting = pin!(connections.admit());
        match admitting.poll(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(slot) => Some(slot),
            std::task::Poll::Pending => None,
        }
    }

    fn advance_clock(connections: &Connections, seconds: u32) {
        (0..seconds).for_each(|_| connections.tick());
    }

    #[tokio::test]
    async fn the_connections_that_have_been_idle_longest_are_evicted() {
        let (connections, mut states) = full();
        states.iter().for_each(|state| state.responded(true));
        advance_clock(&connections, 1);
        states[2..].iter().for_each(|state| state.responded(true));
        assert!(
            admit_now(&connections).is_none(),
            "the evicted connections have to end first"
        );
        let evicted: Vec<_> = states.iter().map(|state| state.ending()).collect();
        assert_eq!(evicted[..2], [Some(Ending::Close); 2]);
        assert!(evicted[2..].iter().all(Option::is_none));
        drop(states.drain(..2));
        assert!(!admit_now(&connections).unwrap().is_reserved);
    }

    #[tokio::test]
    async fn connections_without_a_request_are_evicted_first() {
        let (connections, states) = full();
        states[10..].iter().for_each(|state| state.responded(true));
        advance_clock(&connections, 5);
        states[..10].iter().for_each(|state| state.received());
        let late = states[9].phase();
        assert_eq!(late, (Phase::Head, 0));
        advance_clock(&connections, 2);
        assert!(admit_now(&connections).is_none());
        let evicted = states[..10]
            .iter()
            .filter(|state| state.ending() == Some(Ending::HeadTimeout))
            .count();
        assert_eq!(evicted, 2);
    }

    #[tokio::test]
    async fn when_all_connections_are_busy_a_reserved_slot_is_used() {
        let (connections, states) = full();
        states.iter().for_each(|state| state.requested());
        let slot = admit_now(&connections).unwrap();
        assert!(slot.is_reserved);
        let silent = connections.add(PEER.into(), slot);
        let responded = connections.add(PEER.into(), admit_now(&connections).unwrap());
        responded.requested();
        assert!(admit_now(&connections).is_none());
        assert_eq!(
            (silent.ending(), responded.ending()),
            (Some(Ending::Close), None)
        );
        drop(silent);
        assert!(admit_now(&connections).unwrap().is_reserved);
    }

    #[tokio::test]
    async fn each_phase_has_its_time_limit() {
        let connections = Connections::new(80);
        let [silent, head, idle, busy, unread, streaming] = std::array::from_fn(|_| {
            connections.add(PEER.into(), connections.regular.try_take().unwrap())
        });
        head.received();
        idle.responded(true);
        busy.requested();
        unread.responded(true);
        unread.blocked();
        streaming.responded(false);
        let get_endings =
            || [&silent, &head, &idle, &busy, &unread, &streaming].map(|state| state.ending());
        advance_clock(&connections, HEAD_TIMEOUT_SECONDS);
        assert_eq!(get_endings(), [None; 6]);
        advance_clock(&connections, 1);
        let close = Some(Ending::Close);
        let head_timeout = Some(Ending::HeadTimeout);
        assert_eq!(get_endings(), [close, head_timeout, None, None, None, None]);
        advance_clock(&connections, UNREAD_TIMEOUT_SECONDS - HEAD_TIMEOUT_SECONDS);
        assert_eq!(
            get_endings(),
            [close, head_timeout, None, None, Some(Ending::Abort), None]
        );
        advance_clock(&connections, IDLE_TIMEOUT_SECONDS - UNREAD_TIMEOUT_SECONDS);
        assert_eq!(
            get_endings(),
            [close, head_timeout, close, None, Some(Ending::Abort), None]
        );
    }

    #[tokio::test]
    async fn a_request_that_arrives_before_the_order_is_served() {
        let connections = Connections::new(80);
        let state = connections.add(PEER.into(), connections.regular.try_take().unwrap());
        state.order(Order::Close);
        state.requested();
        assert_eq!(state.ending(), None);
        state.responded(true);
        assert_eq!(state.ending(), None, "the order was canceled");
        connections.drain();
        assert_eq!(state.ending(), Some(Ending::Close));
    }

    #[tokio::test]
    async fn a_drain_waits_for_requests_and_until_responses_are_read() {
        let connections = Connections::new(80);
        let state = connections.add(PEER.into(), connections.regular.try_take().unwrap());
        state.requested();
        connections.drain();
        assert_eq!(state.ending(), None);
        state.responded(true);
        state.blocked();
        assert_eq!(state.ending(), None);
        state.unblocked();
        assert_eq!(state.ending(), Some(Ending::Close));
        drop(state);
        connections.closed().await;
    }
}
