//! Players named on standard input.

use std::io::{self, Read};

use presence_client::PlayerId;

use crate::failure::{Failure, Status};

/// The argument that stands for standard input. A player with this id can be named there.
const STDIN: &str = "-";

/// Replaces `-` by the players on standard input.
pub(crate) fn expand(players: Vec<PlayerId>) -> Result<Vec<PlayerId>, Failure> {
    expand_from(players, io::stdin())
}

fn expand_from(players: Vec<PlayerId>, input: impl Read) -> Result<Vec<PlayerId>, Failure> {
    let Some(position) = players.iter().position(|player| player.as_str() == STDIN) else {
        return Ok(players);
    };
    let text = io::read_to_string(input)?;
    let read = text
        .split_whitespace()
        .map(parse)
        .collect::<Result<Vec<_>, _>>()?;
    if read.is_empty() {
        return Err(Failure::new(
            Status::Usage,
            "standard input has no player ids",
        ));
    }
    let mut expanded = players;
    expanded.splice(position..=position, read);
    Ok(expanded)
}

fn parse(id: &str) -> Result<PlayerId, Failure> {
    PlayerId::parse(id)
        .map_err(|error| Failure::new(Status::Usage, format!("{id:?} on standard input: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(players: &[&str], input: &str) -> Result<Vec<String>, String> {
        let players = players
            .iter()
            .map(|player| player.parse().unwrap())
            .collect();
        let expanded = expand_from(players, input.as_bytes());
        let to_texts = |players: Vec<PlayerId>| players.iter().map(ToString::to_string).collect();
        expanded
            .map(to_texts)
            .map_err(|failure| format!("{failure:?}"))
    }

    #[test]
    fn standard_input_replaces_the_hyphen() {
        assert_eq!(
            expanded(&["a", "-", "b"], "x\ny  z\r\n\n-\n").unwrap(),
            ["a", "x", "y", "z", "-", "b"]
        );
        assert_eq!(expanded(&["a", "b"], "not read").unwrap(), ["a", "b"]);
    }

    #[test]
    fn an_input_without_ids_is_an_error() {
        for input in ["", " \n"] {
            let failure = expanded(&["-"], input).unwrap_err();
            assert!(
                failure.contains("Usage") && failure.contains("no player ids"),
                "{failure}"
            );
        }
        let failure = expanded(&["-"], "alice b/c").unwrap_err();
        assert!(
            failure.contains("Usage") && failure.contains("b/c"),
            "{failure}"
        );
    }
}
