//! The result of a load, as text and as JSON.

use std::{fmt::Write as _, time::Duration};

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::{
    figures::{CallFigures, Figures},
    findings::Found,
    plan::Plan,
    verdict::{Bar, bars, notes},
};
use crate::{
    style::FAINT,
    table::{Cell, Table, grouped},
};

/// The result of a load.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    url: String,
    /// The prefix of the load's ids.
    prefix: String,
    players: u32,
    gateways: u32,
    connecting: Phase,
    /// Omitted if the players were not connected in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Phase>,
    bars: Vec<Bar>,
    notes: Vec<String>,
    is_met: bool,
}

/// A phase of the load.
#[derive(Debug, Serialize)]
struct Phase {
    /// Omitted if the phase was not completed.
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
    calls: Vec<Row>,
    errors: Vec<ErrorRow>,
}

/// One kind of call.
#[derive(Debug, Serialize)]
struct Row {
    call: &'static str,
    calls: u64,
    failed: u64,
    entries: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries_per_second: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latency_ms: Option<LatencyMs>,
}

#[derive(Debug, Serialize)]
struct LatencyMs {
    p50: f64,
    p99: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
struct ErrorRow {
    call: &'static str,
    error: String,
    count: u64,
}

impl Report {
    pub(super) fn new(
        url: &str,
        prefix: &str,
        plan: &Plan,
        found: &Found,
        remaining: Option<u64>,
    ) -> Self {
        let bars = bars(plan, found, remaining);
        Self {
            url: url.to_owned(),
            prefix: prefix.to_owned(),
            players: plan.players,
            gateways: plan.gateways,
            connecting: Phase::new(found.connecting, &found.while_connecting),
            measured: found
                .measured
                .as_ref()
                .map(|measured| Phase::new(Some(measured.took), &measured.figures)),
            is_met: bars.iter().all(|bar| bar.is_met),
            bars,
            notes: notes(plan, found, remaining),
        }
    }

    /// Whether all bars are met.
    pub(super) fn is_met(&self) -> bool {
        self.is_met
    }

    pub(super) fn text(&self) -> String {
        let players = grouped(self.players.into());
        let gateways = self.gateways;
        let mut text = format!("{players} players on {gateways} gateways at {}\n", self.url);
        let _ = writeln!(text, "\n{}", self.connecting.text("Connecting"));
        if let Some(measured) = &self.measured {
            let _ = writeln!(text, "{}", measured.text("Connected"));
        }
        let _ = write!(text, "{}", self.bars_text());
        for note in &self.notes {
            let _ = writeln!(text, "{note}");
        }
        text
    }

    fn bars_text(&self) -> String {
        let mut table = Table::new(["BAR", "VALUE", "LIMIT", "VERDICT"]);
        for bar in &self.bars {
            let (word, style) = verdict(bar.is_met);
            let limit = format!(
                "{} {}",
                if bar.is_minimum { "≥" } else { "≤" },
                with_unit(bar.limit, bar.unit)
            );
            let value = with_unit(bar.value, bar.unit);
            table.push([
                Cell::plain(&bar.name),
                Cell::right(value),
                Cell::right(limit),
                Cell::new(word, style),
            ]);
        }
        let missed = self.bars.iter().filter(|bar| !bar.is_met).count();
        let (_, style) = verdict(self.is_met);
        let verdict = match missed {
            0 => "Every bar is met.".to_owned(),
            1 => "1 bar is not met.".to_owned(),
            missed => format!("{missed} bars are not met."),
        };
        format!("{table}\n{style}{verdict}{style:#}\n")
    }
}

impl Phase {
    fn new(took: Option<Duration>, figures: &Figures) -> Self {
        let calls = figures
            .calls()
            .map(|(call, figures)| Row::new(call.as_str(), figures, took));
        let errors = figures
            .errors
            .iter()
            .map(|((call, error), count)| ErrorRow {
                call: call.as_str(),
                error: error.clone(),
                count: *count,
            });
        Self {
            took_ms: took.map(|took| took.as_millis() as u64),
            calls: calls.collect(),
            errors: errors.collect(),
        }
    }

    fn text(&self, name: &str) -> String {
        let took = match self.took_ms {
            Some(took_ms) => format!("{:.1} s", took_ms as f64 / 1_000.0),
            None => "not completed".to_owned(),
        };
        let mut text = format!("{name} {FAINT}({took}){FAINT:#}\n");
        let mut table = Table::new([
            "CALL",
            "CALLS",
            "FAILED",
            "ENTRIES",
            "PER SECOND",
            "P50",
            "P99",
            "MAX",
        ]);
        self.calls.iter().for_each(|row| table.push(row.cells()));
        let _ = write!(text, "{table}");
        for ErrorRow { call, error, count } in &self.errors {
            let _ = writeln!(text, "{} × {call}: {error}", grouped(*count));
        }
        text
    }
}

impl Row {
    fn new(call: &'static str, figures: &CallFigures, took: Option<Duration>) -> Self {
        let CallFigures {
            calls,
            failed,
            entries,
            latency,
        } = figures;
        let to_rate = |took: Duration| rounded(*entries as f64 / took.as_secs_f64().max(0.001));
        let quantile_in_ms = |share| rounded(latency.quantile(share).as_secs_f64() * 1_000.0);
        let get_latency_ms = || LatencyMs {
            p50: quantile_in_ms(0.5),
            p99: quantile_in_ms(0.99),
            max: quantile_in_ms(1.0),
        };
        Self {
            call,
            calls: *calls,
            failed: *failed,
            entries: *entries,
            entries_per_second: took.map(to_rate),
            latency_ms: (!latency.is_empty()).then(get_latency_ms),
        }
    }

    fn cells(&self) -> [Cell; 8] {
        let to_cell = |of: fn(&LatencyMs) -> f64| {
            let text = self
                .latency_ms
                .as_ref()
                .map_or_else(|| "-".to_owned(), |latency| with_unit(of(latency), "ms"));
            Cell::right(text)
        };
        let per_second = self
            .entries_per_second
            .map_or_else(|| "-".to_owned(), |rate| with_unit(rate, ""));
        [
            Cell::plain(self.call),
            Cell::number(self.calls),
            Cell::number(self.failed),
            Cell::number(self.entries),
            Cell::right(per_second),
            to_cell(|latency| latency.p50),
            to_cell(|latency| latency.p99),
            to_cell(|latency| latency.max),
        ]
    }
}

fn verdict(is_met: bool) -> (&'static str, Style) {
    if is_met {
        ("met", AnsiColor::Green.on_default())
    } else {
        ("not met", AnsiColor::Red.on_default())
    }
}

/// A number with separated thousands, one decimal digit if it is small and not whole, and its unit.
fn with_unit(value: f64, unit: &str) -> String {
    let is_whole = value.fract() == 0.0 || value >= 100.0;
    let number = if is_whole {
        grouped(value.round() as u64)
    } else {
        format!("{value:.1}")
    };
    if unit.is_empty() {
        number
    } else {
        format!("{number} {unit}")
    }
}

/// Rounds to three decimal digits, which is more precise than the measurement.
fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            findings::{Measured, WatchFound},
            plan::tests::args,
            recorder::Recorder,
        },
        *,
    };

    fn report() -> Report {
        let recorder = Recorder::new();
        let ms = Duration::from_millis;
        (1..=100).for_each(|latency| recorder.record_read(ms(latency * 3), 0, None));
        let figures = recorder.take();
        let watch = Some(WatchFound {
            missing: 0,
            was_live: true,
        });
        let took = ms(10_000);
        let measured = Measured {
            took,
            figures,
            missed_heartbeats: 0,
            unanswered: 0,
            wrong_states: Some(0),
            watch,
            crash: None,
        };
        let found = Found {
            connecting: Some(ms(500)),
            connected: 2_000,
            while_connecting: recorder.take(),
            measured: Some(measured),
        };
        Report::new(
            "http://127.0.0.1:8080",
            "load-1-",
            &Plan::new(&args(2_000)),
            &found,
            Some(0),
        )
    }

    #[test]
    fn the_text_has_rates_latencies_bars_and_the_verdict() {
        let text = anstream::adapter::strip_str(&report().text()).to_string();
        for line in [
            "2,000 players on 2 gateways at http://127.0.0.1:8080\n",
            "Connected (10.0 s)\n",
            "friends    100       0      100          10  150 ms  297 ms  300 ms\n",
            "players connected                                   2,000   ≥ 2,000  met\n",
            "p99 of friends                                     297 ms  ≤ 250 ms  not met\n",
            "\n1 bar is not met.\n",
            "No heartbeat was due",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }

    #[test]
    fn the_json_has_the_same_content() {
        let report = serde_json::to_value(report()).unwrap();
        assert_eq!(report["is_met"], false);
        assert_eq!(report["measured"]["took_ms"], 10_000);
        let friends = &report["measured"]["calls"][0];
        assert_eq!(
            (&friends["call"], &friends["entries_per_second"]),
            (&"friends".into(), &10.0.into())
        );
        assert!((296.0..=298.0).contains(&friends["latency_ms"]["p99"].as_f64().unwrap()));
        let bar = &report["bars"]
            .as_array()
            .unwrap()
            .iter()
            .find(|bar| bar["name"] == "p99 of friends")
            .unwrap();
        assert_eq!(
            (&bar["limit"], &bar["unit"], &bar["is_met"]),
            (&250.0.into(), &"ms".into(), &false.into())
        );
    }
}
