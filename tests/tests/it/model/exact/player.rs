//! One player of the [reference](super::reference).

use presence::model::{EventReason, State};

/// How many sockets each player has.
pub(super) const SOCKETS: usize = NAMES.len();

/// Names that are hard to keep apart: they hold one another, are members of the record, or are full
/// of marks that mean something in a pattern.
const NAMES: [&str; 6] = ["c", "cc", "c.c+c=", "state", "-/c", "1"];

#[derive(Debug, Default)]
pub(super) struct Player {
    pub(super) record: Option<Record>,
    /// A record that expired, and whose OFFLINE transition is due.
    pub(super) overdue: Option<Record>,
    /// Once the OFFLINE transition is made.
    pub(super) past: Option<Past>,
    /// When the past is forgotten, and the version with it.
    pub(super) remembered_until: u64,
    /// The newest version that Redis remembers; 0 if there is none.
    pub(super) version: u64,
    /// Whether there ever was one.
    pub(super) has_versions: bool,
    pub(super) sockets: [SocketNow; SOCKETS],
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    pub(super) state: State,
    pub(super) last_seen: u64,
    pub(super) expires_at: u64,
    /// Of the OFFLINE transition, if it expires.
    pub(super) reason: &'static EventReason,
    /// What the player is doing, by its position among
    /// [`ACTIVITIES`](super::activities::ACTIVITIES).
    pub(super) activity: Option<usize>,
}

#[derive(Debug)]
pub(super) struct Past {
    pub(super) last_seen: u64,
    pub(super) ended_at: u64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketNow {
    /// A gateway never uses a name again: what it opens later has another one.
    generation: u32,
    pub(super) standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Standing {
    #[default]
    Unknown,
    /// Its lease is stored. Without a live record, or after `until`, it does not count.
    Leased {
        until: u64,
        /// Of two leases, the one with the lower number was opened first.
        opened: u64,
        /// The gateway that the connection belongs to.
        gateway: Option<usize>,
    },
    /// Its lease has ended with its gateway. It is not closed, but a sign-out closes it.
    Ended,
    /// It stays closed through `until`.
    Closed { until: u64 },
}

/// A stored lease.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lease {
    pub(super) socket: usize,
    pub(super) until: u64,
    pub(super) opened: u64,
    pub(super) gateway: Option<usize>,
}

impl Player {
    /// The connection id that a socket goes by.
    pub(super) fn connection_id(&self, socket: usize) -> String {
        match self.sockets[socket].generation {
            0 => NAMES[socket].to_owned(),
            generation => format!("{}{generation}", NAMES[socket]),
        }
    }

    pub(super) fn state(&self) -> State {
        self.record.map_or(State::Offline, |record| record.state)
    }

    pub(super) fn activity(&self) -> Option<usize> {
        self.record.and_then(|record| record.activity)
    }

    pub(super) fn expires_at(&self) -> Option<u64> {
        self.record.map(|record| record.expires_at)
    }

    /// The leases that count.
    pub(super) fn leases(&self, now: u64) -> impl Iterator<Item = Lease> {
        let is_alive = self.record.is_some();
        self.all_leases()
            .filter(move |lease| is_alive && lease.until >= now)
    }

    /// All that are stored, also those that have lapsed.
    pub(super) fn all_leases(&self) -> impl Iterator<Item = Lease> {
        self.sockets
            .iter()
            .enumerate()
            .filter_map(|(socket, now)| match now.standing {
                Standing::Leased {
                    until,
                    opened,
                    gateway,
                } => Some(Lease {
                    socket,
                    until,
                    opened,
                    gateway,
                }),
                _ => None,
            })
    }

    pub(super) fn has_closed(&self) -> bool {
        self.sockets
            .iter()
            .any(|socket| matches!(socket.standing, Standing::Closed { .. }))
    }

    /// When the player was last heard of, with the history.
    pub(super) fn last_seen(&self, now: u64, retention: u64) -> Option<u64> {
        let get_known_until = |ended_at: u64| ended_at.saturating_add(retention);
        let past = self
            .past
            .as_ref()
            .filter(|past| get_known_until(past.ended_at) >= now)
            .map(|past| past.last_seen);
        let overdue = self
            .overdue
            .filter(|record| get_known_until(record.expires_at) >= now);
        self.record
            .or(overdue)
            .map(|record| record.last_seen)
            .or(past)
    }

    /// Every moment at which something expires.
    pub(super) fn boundaries(&self, retention: u64) -> Vec<u64> {
        let records = self
            .record
            .iter()
            .chain(&self.overdue)
            .flat_map(|record| [0, retention].map(|ms| record.expires_at + ms));
        let pasts = self
            .past
            .iter()
            .flat_map(|past| [past.ended_at + retention, self.remembered_until]);
        let sockets = self
            .sockets
            .iter()
            .filter_map(|socket| match socket.standing {
                Standing::Unknown | Standing::Ended => None,
                Standing::Leased { until, .. } | Standing::Closed { until } => Some(until),
            });
        records.chain(pasts).chain(sockets).collect()
    }

    /// Drops what has expired before `now`.
    pub(super) fn expire(&mut self, now: u64) {
        if let Some(record) = self.record.take_if(|record| record.expires_at < now) {
            self.overdue = Some(record);
        }
        if self.past.is_some() && self.remembered_until < now {
            (self.past, self.version) = (None, 0);
            self.forget_leases(|_| true);
            self.forget_ended();
        }
        // What becomes of a connection that was closed longer ago than twice the TTL is open: it is
        // not used again.
        self.retire(|standing| matches!(standing, Standing::Closed { until } if until < now));
    }

    /// Stores the record. Leases that have lapsed are forgotten, and beside another lease those
    /// that have ended. If the clock was set back, nothing lives for longer than one TTL from now.
    pub(super) fn store(&mut self, record: Record, now: u64, ttl: u64) {
        self.record = Some(Record {
            last_seen: record.last_seen.min(now),
            expires_at: record.expires_at.min(now + ttl),
            ..record
        });
        self.past = None;
        self.forget_leases(|until| until < now);
        if self.all_leases().next().is_some() {
            self.forget_ended();
        }
        for socket in &mut self.sockets {
            if let Standing::Leased { until, .. } = &mut socket.standing {
                *until = (*until).min(now + ttl);
            }
        }
    }

    pub(super) fn forget_leases(&mut self, is_over: impl Fn(u64) -> bool) {
        for socket in &mut self.sockets {
            if matches!(socket.standing, Standing::Leased { until, .. } if is_over(until)) {
                socket.standing = Standing::Unknown;
            }
        }
    }

    pub(super) fn forget_ended(&mut self) {
        for socket in self
            .sockets
            .iter_mut()
            .filter(|socket| socket.standing == Standing::Ended)
        {
            socket.standing = Standing::Unknown;
        }
    }

    /// The sockets whose connections a sign-out closes: those with a stored lease, and those whose
    /// lease has ended.
    pub(super) fn unclosed(&self) -> Vec<usize> {
        let is_unclosed = |socket: &usize| {
            matches!(
                self.sockets[*socket].standing,
                Standing::Leased { .. } | Standing::Ended
            )
        };
        (0..SOCKETS).filter(is_unclosed).collect()
    }

    /// Closes a connection through `until`, or longer if it was closed for longer before.
    pub(super) fn close(&mut self, socket: usize, until: u64) {
        let standing = &mut self.sockets[socket].standing;
        *standing = match *standing {
            Standing::Closed { until: before } => Standing::Closed {
                until: before.max(until),
            },
            _ => Standing::Closed { until },
        };
    }

    pub(super) fn retire(&mut self, is_over: impl Fn(Standing) -> bool) {
        for socket in self
            .sockets
            .iter_mut()
            .filter(|socket| is_over(socket.standing))
        {
            *socket = SocketNow {
                generation: socket.generation + 1,
                standing: Standing::Unknown,
            };
        }
    }
}
