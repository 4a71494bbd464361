//! `presence online`: the number of players, by state.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use anstyle::Style;
use presence_client::operator::Statistics;
use tokio::time::sleep;

use crate::{
    failure::{Failure, Status, root_cause},
    output::{Output, moment},
    service::Service,
    style::{FAINT, STRONG, of_state},
    table::{Cell, Table, grouped},
};

/// The pause between two counts: a server counts once per second at most.
const INTERVAL: Duration = Duration::from_secs(1);

pub(super) async fn run(service: &Service, output: Output) -> Result<Status, Failure> {
    let statistics = service
        .operator
        .statistics()
        .await
        .map_err(|error| service.server_failure(&error))?;
    output.show(&statistics, || text(&statistics))?;
    Ok(Status::Done)
}

/// Shows new numbers each second. On a terminal, they overwrite the last ones.
pub(super) async fn live(service: &Service, output: Output) -> Result<Status, Failure> {
    let is_rewritten = output == Output::Text && io::stdout().is_terminal();
    let mut lines = 0;
    let mut was_shown = false;
    let mut is_failing = false;
    loop {
        match service.operator.statistics().await {
            Ok(statistics) => {
                let text = text(&statistics);
                if is_rewritten && lines > 0 {
                    write!(io::stdout(), "\x1b[{lines}A\x1b[J")?; // clear from the first line on
                }
                lines = text.lines().count();
                output.show(&statistics, || {
                    if is_rewritten || !was_shown {
                        text
                    } else {
                        format!("\n{text}")
                    }
                })?;
                (was_shown, is_failing) = (true, false);
            }
            Err(error) if was_shown && error.is_transient() => {
                if !std::mem::replace(&mut is_failing, true) {
                    anstream::eprintln!("presence: {}; trying again", root_cause(&error));
                    lines = 0; // the next numbers are written below this message
                }
            }
            Err(error) => return Err(service.server_failure(&error)),
        }
        sleep(INTERVAL).await;
    }
}

fn text(statistics: &Statistics) -> String {
    let mut table = Table::new(["STATE", "PLAYERS"]);
    for (state, count) in statistics.states.by_state() {
        table.push([Cell::new(state, of_state(state)), Cell::number(count)]);
    }
    table.push([Cell::new("all", STRONG), Cell::number(statistics.players)]);
    let mut text = table.to_string();
    let connections = grouped(statistics.connections);
    let _ = writeln!(
        text,
        "\nThey have {connections} connections. {}",
        accuracy(statistics)
    );
    text
}

fn accuracy(statistics: &Statistics) -> String {
    let as_of = moment(statistics.as_of);
    let sampled = grouped(statistics.sampled);
    let style: Style = FAINT;
    if statistics.is_exact {
        format!("{style}Counted at {as_of}.{style:#}")
    } else {
        format!(
            "{style}Estimated at {as_of} from {sampled} players: the share of a state may be off by 3 percentage points.{style:#}"
        )
    }
}

#[cfg(test)]
mod tests {
    use presence_client::operator::States;

    use super::*;

    #[test]
    fn an_estimate_is_marked_as_one() {
        let states = States {
            online: 700_000,
            in_queue: 0,
            in_match: 299_000,
            away: 1_000,
        };
        let mut statistics = Statistics {
            as_of: 1_795_493_786_449,
            players: 1_000_000,
            states,
            connections: 1_200_000,
            sampled: 1_000,
            is_exact: false,
        };
        let shown = anstream::adapter::strip_str(&text(&statistics)).to_string();
        let expected = "STATE       PLAYERS\n\
                        ONLINE      700,000\n\
                        IN_QUEUE          0\n\
                        IN_MATCH    299,000\n\
                        AWAY          1,000\n\
                        all       1,000,000\n\
                        \n\
                        They have 1,200,000 connections. Estimated at 2026-11-24T04:16:26Z from 1,000 players: the \
                        share of a state may be off by 3 percentage points.\n";
        assert_eq!(shown, expected);
        statistics.is_exact = true;
        assert!(text(&statistics).contains("Counted at 2026-11-24T04:16:26Z"));
    }
}
