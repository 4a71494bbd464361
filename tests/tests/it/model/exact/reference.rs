//! Reference model of players: what `docs/presence.md` promises, with a clock that is set. It knows
//! nothing of keys or scripts. Gateways are in [`gateways`](super::gateways).

use presence::model::{EventReason, Reason, State};

use super::{
    activities::Change,
    gateways::Gateways,
    history::Socket,
    player::{Past, Player, Record, Standing},
};

/// What is configured, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rules {
    pub(super) ttl: u64,
    pub(super) grace: u64,
    pub(super) move_grace: u64,
    pub(super) retention: u64,
    pub(super) max_connections: usize,
    /// Valkey deletes a record at once whose expiry is set to this very millisecond.
    pub(super) deletes_at_expiry: bool,
}

/// All players at one moment.
#[derive(Debug)]
pub(super) struct Reference {
    pub(super) rules: Rules,
    /// Redis's clock, in Unix milliseconds.
    pub(super) now: u64,
    pub(super) players: Vec<Player>,
    pub(super) gateways: Gateways,
    /// Every transition since Redis last lost its data, in order.
    pub(super) events: Vec<Event>,
    /// The highest version so far.
    pub(super) newest_version: u64,
    /// Whether the clock ever was set back.
    pub(super) was_set_back: bool,
    opened: u64,
}

/// A transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) player: usize,
    pub(super) previous_state: State,
    pub(super) state: State,
    pub(super) connection_count: usize,
    pub(super) last_seen: u64,
    pub(super) version: u64,
    pub(super) occurred_at: u64,
    pub(super) reason: &'static EventReason,
    /// After it, by its position.
    pub(super) activity: Option<usize>,
}

/// What becomes of a connect or heartbeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewal {
    Renewed,
    Opened,
    Refused,
}

/// A set-state that is not allowed: OFFLINE → IN_QUEUE or IN_MATCH, or an activity of an OFFLINE
/// player.
#[derive(Debug)]
pub(super) struct Rejected;

impl Reference {
    pub(super) fn new(rules: Rules, now: u64, players: usize) -> Self {
        let players = (0..players).map(|_| Player::default()).collect();
        Self {
            rules,
            now,
            players,
            gateways: Gateways::default(),
            events: Vec::new(),
            newest_version: 0,
            was_set_back: false,
            opened: 0,
        }
    }

    /// The clock is set: what has expired by then is gone. Everything counts through the
    /// millisecond of its expiry, and not after.
    pub(super) fn set_clock(&mut self, now: u64) {
        self.was_set_back |= now < self.now;
        self.now = now;
        for player in &mut self.players {
            player.expire(now);
        }
        self.gateways.expire(now);
    }

    /// Every moment from now on at which something expires, in order.
    pub(super) fn boundaries(&self) -> Vec<u64> {
        let mut boundaries: Vec<_> = self
            .players
            .iter()
            .flat_map(|player| player.boundaries(self.rules.retention))
            .collect();
        boundaries.extend(self.gateways.boundaries());
        boundaries.retain(|boundary| *boundary >= self.now);
        boundaries.sort_unstable();
        boundaries.dedup();
        boundaries
    }

    /// Whether a version was given that Redis has forgotten.
    pub(super) fn has_forgotten(&self) -> bool {
        self.players
            .iter()
            .any(|player| player.has_versions && player.version == 0)
    }

    /// Redis loses everything. Which connections were closed is not asked of it any more.
    pub(super) fn flush(&mut self) {
        self.events.clear();
        self.gateways = Gateways::default();
        for player in &mut self.players {
            player.retire(|standing| matches!(standing, Standing::Closed { .. }));
            player.forget_leases(|_| true);
            player.forget_ended();
            let sockets = player.sockets;
            let has_versions = player.has_versions;
            *player = Player {
                sockets,
                has_versions,
                ..Player::default()
            };
        }
    }

    /// A connect or a heartbeat: they differ in the reason of the event alone. It may
    /// name a gateway, which the connection then belongs to.
    pub(super) fn renew(
        &mut self,
        (at, socket): Socket,
        gateway: Option<usize>,
        reason: &'static EventReason,
    ) -> Renewal {
        self.notice(at);
        let now = self.now;
        let rules = self.rules;
        let player = &mut self.players[at];
        let renewal = match player.sockets[socket].standing {
            Standing::Closed { .. } => return Renewal::Refused,
            Standing::Leased { until, .. } if player.record.is_some() && until >= now => {
                Renewal::Renewed
            }
            _ => Renewal::Opened,
        };
        while renewal == Renewal::Opened && player.leases(now).count() >= rules.max_connections {
            // If the clock was set back, none counts for longer than one TTL from now.
            let first = player
                .leases(now)
                .min_by_key(|lease| (lease.until.min(now + rules.ttl), lease.opened));
            player.close(first.expect("a lease").socket, now + 2 * rules.ttl);
        }
        let (opened, owner) = match player.sockets[socket].standing {
            Standing::Leased {
                opened, gateway, ..
            } if renewal == Renewal::Renewed => (opened, gateway),
            _ => {
                self.opened += 1;
                (self.opened, None)
            }
        };
        let gateway = gateway.or(owner);
        let state = player.state();
        let activity = player.activity();
        if state == State::Offline {
            player.forget_leases(|_| true);
            player.forget_ended();
        }
        player.sockets[socket].standing = Standing::Leased {
            until: now + rules.ttl,
            opened,
            gateway,
        };
        player.store(
            Record {
                state,
                last_seen: now,
                expires_at: now + rules.ttl,
                reason: &EventReason::Expired,
                activity,
            },
            now,
            rules.ttl,
        );
        if state == State::Offline {
            self.transition(at, State::Online, reason);
        }
        renewal
    }

    /// Rules 5, 7 and 9.
    pub(super) fn disconnect(&mut self, (at, socket): Socket, why: Reason) {
        self.notice(at);
        let now = self.now;
        let rules = self.rules;
        let player = &mut self.players[at];
        let is_live = player.leases(now).any(|lease| lease.socket == socket);
        let had_lapsed = matches!(
            player.sockets[socket].standing,
            Standing::Leased { .. } | Standing::Ended
        );
        player.close(socket, now + 2 * rules.ttl);
        let longest = player.leases(now).map(|lease| lease.until).max();
        let (Some(record), true) = (player.record, had_lapsed) else {
            return;
        };
        if is_live {
            return self.settle(
                at,
                Record {
                    last_seen: now,
                    ..record
                },
                longest,
                why,
            );
        }
        self.store(at, record); // it was unknown already
    }

    /// The player after one of the leases has ended; `longest` is the longest of those left.
    pub(super) fn settle(&mut self, at: usize, record: Record, longest: Option<u64>, why: Reason) {
        let now = self.now;
        let rules = self.rules;
        let (reason, grace) = match why {
            Reason::Quit => (&EventReason::Disconnect, 0),
            Reason::Lost => (&EventReason::Lost, rules.grace),
            Reason::Moving => (&EventReason::Lost, rules.move_grace),
        };
        match longest {
            Some(expires_at) => self.store(
                at,
                Record {
                    expires_at,
                    reason: &EventReason::Expired,
                    ..record
                },
            ),
            None if grace > 0 => self.store(
                at,
                Record {
                    expires_at: now + grace,
                    reason: &EventReason::Lost,
                    ..record
                },
            ),
            None => {
                self.players[at].record = Some(record);
                self.go_offline(at, reason);
            }
        }
    }

    fn store(&mut self, at: usize, record: Record) {
        let now = self.now;
        let rules = self.rules;
        let player = &mut self.players[at];
        let is_deleted =
            rules.deletes_at_expiry && record.expires_at == now && player.expires_at() != Some(now);
        player.store(record, now, rules.ttl);
        if is_deleted {
            player.overdue = player.record.take();
        }
    }

    /// Sets a state, an activity, or both.
    pub(super) fn set(
        &mut self,
        at: usize,
        state: Option<State>,
        change: Change,
    ) -> Result<(), Rejected> {
        use State::{InMatch, InQueue, Offline};
        self.notice(at);
        let now = self.now;
        let rules = self.rules;
        let player = &mut self.players[at];
        match (player.record, state) {
            (None, Some(InQueue | InMatch)) => return Err(Rejected),
            (None, _) if matches!(change, Change::Set(_)) => return Err(Rejected),
            (None, None) => {} // no activity to remove
            (_, Some(Offline)) => {
                // Those whose leases have lapsed, too, while nothing has taken their place.
                for socket in player.unclosed() {
                    player.close(socket, now + 2 * rules.ttl);
                }
                if let Some(record) = &mut player.record {
                    record.last_seen = now;
                    self.go_offline(at, &EventReason::SignedOut);
                }
            }
            (Some(record), state) => {
                let state = state.unwrap_or(record.state);
                let activity = match change {
                    Change::Keep => record.activity,
                    Change::Remove => None,
                    Change::Set(position) => Some(position),
                };
                player.store(
                    Record {
                        last_seen: now,
                        activity,
                        ..record
                    },
                    now,
                    rules.ttl,
                );
                if record.state != state {
                    self.transition(at, state, &EventReason::SetState);
                } else if record.activity != activity {
                    self.transition(at, state, &EventReason::SetActivity);
                }
            }
            (None, Some(state)) => {
                player.forget_leases(|_| true);
                player.forget_ended();
                let record = Record {
                    state: Offline,
                    last_seen: now,
                    expires_at: now + rules.ttl,
                    reason: &EventReason::Expired,
                    activity: None,
                };
                player.store(record, now, rules.ttl);
                self.transition(at, state, &EventReason::SetState);
            }
        }
        Ok(())
    }

    /// A mutation, or the sweep, that finds an expired record makes the missed transition (rule
    /// 10).
    pub(super) fn notice(&mut self, at: usize) {
        let now = self.now;
        let player = &mut self.players[at];
        let Some(record) = player.overdue.take() else {
            return;
        };
        let ended_at = record.expires_at.min(now);
        player.past = Some(Past {
            last_seen: record.last_seen.min(now),
            ended_at,
        });
        self.event(at, record.state, State::Offline, record.reason);
        self.remember(at, ended_at);
    }

    fn go_offline(&mut self, at: usize, reason: &'static EventReason) {
        let now = self.now;
        let player = &mut self.players[at];
        let record = player.record.take().expect("a record");
        player.past = Some(Past {
            last_seen: record.last_seen.min(now),
            ended_at: now,
        });
        self.event(at, record.state, State::Offline, reason);
        self.remember(at, now);
    }

    /// The past stays for the retention; and the version for as long as the next one might not be
    /// above it.
    fn remember(&mut self, at: usize, ended_at: u64) {
        let player = &mut self.players[at];
        let version_until = player.version.max(self.now + self.rules.ttl);
        player.remembered_until = version_until.max(ended_at + self.rules.retention);
    }

    fn transition(&mut self, at: usize, state: State, reason: &'static EventReason) {
        let record = self.players[at].record.as_mut().expect("a record");
        let previous_state = std::mem::replace(&mut record.state, state);
        self.event(at, previous_state, state, reason);
    }

    /// Rule 11.
    fn event(
        &mut self,
        at: usize,
        previous_state: State,
        state: State,
        reason: &'static EventReason,
    ) {
        let now = self.now;
        let player = &mut self.players[at];
        player.version = now.max(player.version + 1);
        player.has_versions = true;
        self.newest_version = self.newest_version.max(player.version);
        self.events.push(Event {
            player: at,
            previous_state,
            state,
            connection_count: player.leases(now).count(),
            last_seen: player.last_seen(now, u64::MAX).expect("a record or a past"),
            version: player.version,
            occurred_at: now,
            reason,
            activity: player.activity(),
        });
    }
}
