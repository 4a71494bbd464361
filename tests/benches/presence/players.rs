//! Ids of players and connections in the load.

/// A player's id, of 14 characters.
pub(crate) fn player(number: usize) -> String {
    format!("player-{number:07}")
}

/// The id of a player's only connection, of 12 characters.
pub(crate) fn connection(number: usize) -> String {
    format!("conn-{number:07}")
}

/// The body of a batch for `players`.
pub(crate) fn batch(players: impl Iterator<Item = usize>) -> String {
    let entries = players.map(|n| {
        format!(
            r#"{{"player_id":"{}","connection_id":"{}"}}"#,
            player(n),
            connection(n)
        )
    });
    format!(
        r#"{{"connections":[{}]}}"#,
        entries.collect::<Vec<_>>().join(",")
    )
}

/// A gateway's id.
pub(crate) fn gateway(number: usize) -> String {
    format!("gateway-{number:04}")
}

/// The body of a batch for `players` that names their gateway.
pub(crate) fn batch_of_gateway(number: usize, players: impl Iterator<Item = usize>) -> String {
    format!(
        r#"{{"gateway_id":"{}",{}"#,
        gateway(number),
        &batch(players)[1..]
    )
}

/// A number with thousands separators.
pub(crate) fn thousands(number: usize) -> String {
    match number {
        0..1_000 => number.to_string(),
        _ => format!("{},{:03}", thousands(number / 1_000), number % 1_000),
    }
}
