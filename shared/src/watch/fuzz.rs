//! Any text as a watch request.

use super::{Wanted, WatchAction, WatchRequest};
use crate::{http::fuzz::check, model::PlayerId};

/// The players of a request.
const MAX: usize = 100;

/// A message of a watch stream. One that is not UTF-8 ends the stream before it gets here.
///
/// # Panics
/// If something invalid is accepted, or refused in another way than promised.
pub fn watch_request(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let players = match WatchRequest::parse(text, MAX) {
        Ok(WatchRequest {
            action: WatchAction::Unwatch(players),
            ..
        }) => players,
        Ok(WatchRequest {
            action: WatchAction::Watch(Wanted { players, known }),
            ..
        }) => {
            assert!(known.keys().all(|player| players.contains(player)));
            players
        }
        Err(invalid) => return check(&invalid.problem),
    };
    assert!((1..=MAX).contains(&players.len()));
    assert!(
        players
            .iter()
            .all(|player| PlayerId::parse(player.as_str()).is_ok())
    );
}
