//! The contract's rules 1–9, 11, 12 and 13 on one page, with a clock that is told how late it is. Written from the
//! contract: it knows nothing of keys, scripts or lease maps.

use presence::model::{DisconnectReason, PresenceState};

use super::history::Socket;

/// How many sockets each player has.
pub(super) const SOCKETS: usize = NAMES.len();

/// Names that are hard to keep apart: they hold one another, are members of the record, or are full of marks that mean
/// something in a pattern.
const NAMES: [&str; 6] = ["c", "cc", "c.c+c=", "state", "-/c", "1"];

/// What is configured, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) ttl: u64,
    pub(super) grace: u64,
    pub(super) retention: u64,
    pub(super) max_connections: usize,
}

/// All players at one moment.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) rules: Rules,
    /// Milliseconds since the history began.
    pub(super) now: u64,
    pub(super) players: Vec<Player>,
}

#[derive(Debug, Default)]
pub(super) struct Player {
    pub(super) record: Option<Record>,
    past: Option<Past>,
    /// A record ran out, and no mutation has found out yet.
    pub(super) is_overdue: bool,
    /// The number of transitions so far: ONLINE, OFFLINE and state changes.
    pub(super) transitions: u64,
    sockets: [SocketNow; SOCKETS],
}

#[derive(Debug)]
pub(super) struct Record {
    pub(super) state: PresenceState,
    pub(super) last_seen: u64,
    pub(super) expires_at: u64,
}

#[derive(Debug)]
struct Past {
    last_seen: u64,
    ended_at: u64,
}

#[derive(Debug, Clone, Copy, Default)]
struct SocketNow {
    /// A gateway never uses a name again: what it opens later has another one.
    generation: u32,
    standing: Standing,
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Standing {
    #[default]
    Unknown,
    Leased {
        until: u64,
    },
    Closed {
        since: u64,
    },
}

/// What becomes of a connect or heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Renewed,
    Opened,
    Refused,
}

/// A set-state that is not allowed: OFFLINE → IN_QUEUE or IN_MATCH.
#[derive(Debug)]
pub(super) struct Rejected;

impl Reference {
    pub(super) fn new(rules: Rules, players: usize) -> Self {
        Self { rules, now: 0, players: (0..players).map(|_| Player::default()).collect() }
    }

    /// Time goes by: records run out (rules 1, 4, 9), the past is forgotten (12), closed connections may be (5).
    pub(super) fn pass(&mut self, elapsed: u64) {
        self.now += elapsed;
        let (now, rules) = (self.now, self.rules);
        for player in &mut self.players {
            if let Some(record) = player.record.take_if(|record| record.expires_at <= now) {
                player.past = Some(Past { last_seen: record.last_seen, ended_at: record.expires_at });
                player.is_overdue = true;
            }
            player.past.take_if(|past| past.ended_at + rules.retention <= now);
            // The contract does not say what becomes of a closed connection after twice the TTL: it is not used again.
            player.retire(|standing| matches!(standing, Standing::Closed { since } if since + 2 * rules.ttl < now));
        }
    }

    /// Whether somebody who was here before has no past any more.
    pub(super) fn has_forgotten(&self) -> bool {
        self.players.iter().any(|player| player.transitions > 0 && player.last_seen().is_none())
    }

    /// Redis loses everything. Which connections were closed is not asked of it any more.
    pub(super) fn flush(&mut self) {
        for player in &mut self.players {
            player.retire(|standing| matches!(standing, Standing::Closed { .. }));
            let sockets = player.sockets.map(|socket| SocketNow { standing: Standing::Unknown, ..socket });
            *player = Player { sockets, transitions: player.transitions, ..Player::default() };
        }
    }

    /// A connect or a heartbeat: they differ in the reason of the event alone (rules 4–7, 13).
    pub(super) fn renew(&mut self, (player, socket): Socket) -> Renewal {
        let (now, rules, player) = self.notice(player);
        let renewal = match player.sockets[socket].standing {
            Standing::Closed { .. } => return Renewal::Refused,
            Standing::Leased { until } if until > now => Renewal::Renewed,
            _ => Renewal::Opened,
        };
        while renewal == Renewal::Opened && player.leases(now).count() >= rules.max_connections {
            let first = player.leases(now).min_by_key(|(_, until)| *until).map(|(socket, _)| socket);
            player.close(first.expect("a lease"), now);
        }
        player.sockets[socket].standing = Standing::Leased { until: now + rules.ttl };
        let state = player.record.as_ref().map(|record| record.state);
        player.transitions += u64::from(state.is_none());
        let state = state.unwrap_or(PresenceState::Online);
        player.record = Some(Record { state, last_seen: now, expires_at: now + rules.ttl });
        renewal
    }

    /// Rules 5, 7 and 9.
    pub(super) fn disconnect(&mut self, (player, socket): Socket, reason: DisconnectReason) {
        let (now, rules, player) = self.notice(player);
        let is_known = player.leases(now).any(|(known, _)| known == socket);
        player.close(socket, now);
        let longest = player.leases(now).map(|(_, until)| until).max();
        let Some(record) = player.record.as_mut().filter(|_| is_known) else { return };
        record.last_seen = now;
        match longest {
            Some(until) => record.expires_at = until,
            None if reason == DisconnectReason::Lost && rules.grace > 0 => record.expires_at = now + rules.grace,
            None => player.go_offline(now),
        }
    }

    /// Rule 8.
    pub(super) fn set_state(&mut self, player: usize, state: PresenceState) -> Result<(), Rejected> {
        use PresenceState::{InMatch, InQueue, Offline};
        let (now, rules, player) = self.notice(player);
        match (&mut player.record, state) {
            (None, InQueue | InMatch) => return Err(Rejected),
            (record, Offline) => {
                let was_online = record.is_some();
                for socket in player.leases(now).map(|(socket, _)| socket).collect::<Vec<_>>() {
                    player.close(socket, now);
                }
                // Whether a connection whose lease has run out is still one of the player's is left open.
                player.retire(|standing| matches!(standing, Standing::Leased { .. }));
                if was_online {
                    player.record.iter_mut().for_each(|record| record.last_seen = now);
                    player.go_offline(now);
                }
            }
            (Some(record), _) => {
                player.transitions += u64::from(record.state != state);
                (record.state, record.last_seen) = (state, now);
            }
            (record @ None, _) => {
                player.transitions += 1;
                *record = Some(Record { state, last_seen: now, expires_at: now + rules.ttl });
            }
        }
        Ok(())
    }

    /// A mutation that finds a run-out record makes the missed transition first (rule 10).
    fn notice(&mut self, player: usize) -> (u64, Rules, &mut Player) {
        let player = &mut self.players[player];
        player.transitions += u64::from(std::mem::take(&mut player.is_overdue));
        (self.now, self.rules, player)
    }
}

impl Player {
    /// The connection id that a socket goes by.
    pub(super) fn connection_id(&self, socket: usize) -> String {
        match self.sockets[socket].generation {
            0 => NAMES[socket].to_owned(),
            generation => format!("{}{generation}", NAMES[socket]),
        }
    }

    /// The live leases: socket and expiry.
    pub(super) fn leases(&self, now: u64) -> impl Iterator<Item = (usize, u64)> {
        self.sockets.iter().enumerate().filter_map(move |(at, socket)| match socket.standing {
            Standing::Leased { until } if until > now => Some((at, until)),
            _ => None,
        })
    }

    pub(super) fn has_closed(&self) -> bool {
        self.sockets.iter().any(|socket| matches!(socket.standing, Standing::Closed { .. }))
    }

    /// When the player was last heard of, with the history.
    pub(super) fn last_seen(&self) -> Option<u64> {
        let past = self.past.as_ref().map(|past| past.last_seen);
        self.record.as_ref().map(|record| record.last_seen).or(past)
    }

    fn close(&mut self, socket: usize, now: u64) {
        self.sockets[socket].standing = Standing::Closed { since: now };
    }

    fn go_offline(&mut self, now: u64) {
        self.transitions += 1;
        if let Some(record) = self.record.take() {
            self.past = Some(Past { last_seen: record.last_seen, ended_at: now });
        }
    }

    fn retire(&mut self, is_over: impl Fn(Standing) -> bool) {
        for socket in self.sockets.iter_mut().filter(|socket| is_over(socket.standing)) {
            *socket = SocketNow { generation: socket.generation + 1, standing: Standing::Unknown };
        }
    }
}
