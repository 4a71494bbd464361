//! Tables of players.

use presence_client::Presence;

use crate::{
    activity,
    output::moment_or_dash,
    style,
    table::{Cell, Table},
};

/// One row per player. There is a column for activities if one of them has one.
pub(super) fn table(presences: &[&Presence]) -> String {
    if presences.iter().all(|presence| presence.activity.is_none()) {
        let mut table = Table::new(HEAD);
        presences
            .iter()
            .for_each(|presence| table.push(row(presence)));
        return table.to_string();
    }
    let [player, state, connections, last_seen] = HEAD;
    let mut table = Table::new([player, state, connections, last_seen, "ACTIVITY"]);
    for presence in presences {
        let [player, state, connections, last_seen] = row(presence);
        let activity = presence
            .activity
            .as_ref()
            .map_or_else(|| "-".to_owned(), activity::summary);
        table.push([player, state, connections, last_seen, Cell::plain(activity)]);
    }
    table.to_string()
}

const HEAD: [&str; 4] = ["PLAYER", "STATE", "CONNECTIONS", "LAST SEEN"];

fn row(presence: &Presence) -> [Cell; 4] {
    [
        Cell::plain(&presence.player_id),
        Cell::new(presence.state, style::of_state(presence.state)),
        Cell::number(presence.connection_count.into()),
        Cell::plain(moment_or_dash(presence.last_seen)),
    ]
}
