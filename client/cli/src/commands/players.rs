//! How players are shown.

use presence_client::Presence;

use crate::{
    output::moment_or_dash,
    style,
    table::{Cell, Table},
};

/// A row a player.
pub(super) fn table<'a>(presences: impl IntoIterator<Item = &'a Presence>) -> Table<4> {
    let mut table = Table::new(["PLAYER", "STATE", "CONNECTIONS", "LAST SEEN"]);
    for presence in presences {
        table.push([
            Cell::plain(&presence.player_id),
            Cell::new(presence.state, style::of_state(presence.state)),
            Cell::number(presence.connection_count.into()),
            Cell::plain(moment_or_dash(presence.last_seen)),
        ]);
    }
    table
}
