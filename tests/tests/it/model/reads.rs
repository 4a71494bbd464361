//! What reads must show after a step.

use presence::{
    PresenceService, Snapshot,
    model::{Presence, PresenceState},
};
use presence_tests::player;
use proptest::{prelude::*, test_runner::TestCaseResult};

use super::{PLAYERS, history::SLACK, reference::Reference, world::unexpected};

/// The versions that earlier reads showed.
#[derive(Debug, Default)]
pub(super) struct Reads {
    newest: [Newest; PLAYERS.len()],
}

#[derive(Debug, Clone, Copy, Default)]
struct Newest {
    version: u64,
    /// The number of transitions that led there.
    transitions: u64,
    /// Whether `version` was read, and is not just the least that it can be.
    is_known: bool,
}

impl Reads {
    /// The newest version of all.
    pub(super) fn newest_version(&self) -> u64 {
        self.newest.iter().map(|newest| newest.version).max().unwrap_or_default()
    }

    /// Whether a transition was made that no read has shown, its past being over already.
    pub(super) fn missed_a_version(&self) -> bool {
        self.newest.iter().any(|newest| newest.version > 0 && !newest.is_known)
    }

    /// Reads all players, with and without their past, after a step that began at `began_at` (Unix ms) and was answered
    /// with `answer`.
    pub(super) async fn compare(
        &mut self,
        service: &PresenceService,
        reference: &Reference,
        began_at: u64,
        answer: Option<Presence>,
    ) -> TestCaseResult {
        let everybody: Vec<_> = PLAYERS.map(player).to_vec();
        let reads = tokio::try_join!(service.presences(&everybody, false), service.presences(&everybody, true));
        let (now, history) = reads.map_err(unexpected)?;
        if let Some(answer) = answer {
            prop_assert!(now.presences.contains(&answer), "answered {answer:?}, then read {now:?}");
        }
        for at in 0..PLAYERS.len() {
            compare_presence(reference, at, &now.presences[at])?;
            compare_past(reference, at, &now, &history)?;
            self.compare_version(reference, at, began_at, history.presences[at].version)?;
        }
        Ok(())
    }

    /// Versions rise with each transition (rule 11), to the time of its making at least, and stay as they are otherwise.
    fn compare_version(
        &mut self,
        reference: &Reference,
        at: usize,
        began_at: u64,
        read: Option<u64>,
    ) -> TestCaseResult {
        let transitions = reference.players[at].transitions;
        let newest = &mut self.newest[at];
        let made = transitions - newest.transitions;
        let least = if made > 0 { began_at.max(newest.version + made) } else { newest.version };
        if let Some(version) = read {
            let is_exact = made == 0 && newest.is_known;
            prop_assert!(
                version == least || version > least && !is_exact,
                "{version}, not {least}; {made} transitions"
            );
        }
        let is_known = read.is_some() || made == 0 && newest.is_known;
        *newest = Newest { version: read.unwrap_or(least), transitions, is_known };
        Ok(())
    }
}

/// State, count and the nulls of an OFFLINE player.
fn compare_presence(reference: &Reference, at: usize, read: &Presence) -> TestCaseResult {
    let expected = &reference.players[at];
    let record = expected.record.as_ref();
    prop_assert_eq!(&read.player_id, &player(PLAYERS[at]));
    prop_assert_eq!(read.state, record.map_or(PresenceState::Offline, |record| record.state));
    prop_assert_eq!(read.connection_count as usize, expected.leases(reference.now).count());
    prop_assert_eq!((read.last_seen.is_some(), read.version.is_some()), (record.is_some(), record.is_some()));
    Ok(())
}

/// The history adds to an OFFLINE player what is still known (rule 12), and nothing to anybody else.
fn compare_past(reference: &Reference, at: usize, now: &Snapshot, history: &Snapshot) -> TestCaseResult {
    let (read, past) = (&now.presences[at], &history.presences[at]);
    let Presence { last_seen, version, .. } = *past;
    if read.state == PresenceState::Offline {
        prop_assert_eq!(past, &Presence { last_seen, version, ..read.clone() });
        prop_assert_eq!(last_seen.is_some(), version.is_some());
    } else {
        prop_assert_eq!(past, read);
    }
    let age = last_seen.map(|last_seen| history.as_of - last_seen);
    let expected = reference.players[at].last_seen().map(|last_seen| reference.now - last_seen);
    prop_assert_eq!(age.is_some(), expected.is_some(), "{:?} {:?}", past, reference.players[at]);
    let (age, expected) = (age.unwrap_or_default(), expected.unwrap_or_default());
    prop_assert!((expected..expected + SLACK).contains(&age), "{age} ms ago, not {expected}");
    Ok(())
}
