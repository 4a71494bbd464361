//! The documented bars, and whether each one is met.

use std::time::Duration;

use serde::Serialize;

use super::{
    figures::{Call, Figures},
    findings::{Found, Measured},
    plan::Plan,
    removal,
};

/// Limit for the p99 of calls, as in the alert `PresenceCallsSlow`.
const MAX_CALL_LATENCY: Duration = Duration::from_millis(250);

/// Limit for the p99 of watching: a call's limit, plus 300 ms from the response to the message.
const MAX_WATCH_LATENCY: Duration = Duration::from_millis(550);

/// Limit for the longest wait of a heartbeat for its call.
const MAX_HEARTBEAT_WAIT: Duration = Duration::from_secs(1);

/// Limit for the time until the players of a crashed gateway are OFFLINE, if the service has no
/// grace.
const MAX_CRASH_DELAY: Duration = Duration::from_secs(10);

/// Limit for the p99 of the delay of ticks. Above it, the machine that runs the load is too slow.
const MAX_OWN_DELAY: Duration = Duration::from_millis(100);

/// A measured value and its limit.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) limit: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) unit: &'static str,
    /// Whether the limit is a minimum and not a maximum.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) is_minimum: bool,
    pub(super) is_met: bool,
}

impl Bar {
    fn none(name: &str, count: u64) -> Self {
        Self {
            name: name.into(),
            value: count as f64,
            limit: 0.0,
            unit: "",
            is_minimum: false,
            is_met: count == 0,
        }
    }

    fn at_least(name: &str, count: u64, limit: u64) -> Self {
        let is_met = count >= limit;
        Self {
            name: name.into(),
            value: count as f64,
            limit: limit as f64,
            unit: "",
            is_minimum: true,
            is_met,
        }
    }

    fn within(name: String, time: Duration, max: Duration) -> Self {
        let [value, max_ms] = [time, max].map(|time| time.as_micros() as f64 / 1_000.0);
        Self {
            name,
            value,
            limit: max_ms,
            unit: "ms",
            is_minimum: false,
            is_met: time <= max,
        }
    }
}

/// All bars for which there is a value. `remaining` is the number of players that could not be
/// removed.
pub(super) fn bars(plan: &Plan, found: &Found, remaining: Option<u64>) -> Vec<Bar> {
    let mut bars = vec![
        Bar::at_least("players connected", found.connected, plan.players.into()),
        Bar::none(
            "failed calls while connecting (except overloaded)",
            found.while_connecting.failures(true),
        ),
        Bar::none("connections lost", lost_connections(found)),
    ];
    if let Some(measured) = &found.measured {
        bars.extend(of_measured(plan, measured));
    }
    bars.push(Bar::none(
        "players not removed",
        remaining.unwrap_or_else(|| plan.players.into()),
    ));
    bars
}

fn lost_connections(found: &Found) -> u64 {
    let figures = [
        Some(&found.while_connecting),
        found.measured.as_ref().map(|measured| &measured.figures),
    ];
    figures
        .into_iter()
        .flatten()
        .map(|figures| figures.lost_connections)
        .sum()
}

fn of_measured(plan: &Plan, measured: &Measured) -> Vec<Bar> {
    let Measured {
        figures,
        missed_heartbeats,
        unanswered,
        wrong_states,
        watch,
        ..
    } = measured;
    let wrong_states = wrong_states.unwrap_or_else(|| plan.players.into());
    let mut bars = vec![
        Bar::none("failed calls", figures.failures(false)),
        Bar::none("reports and reads without a response", *unanswered),
        Bar::none("heartbeats missed, or reports given up", *missed_heartbeats),
        Bar::none("connected players read as OFFLINE", figures.false_offline),
        Bar::none("players in another state at the end", wrong_states),
    ];
    if figures.call(Call::Heartbeat).is_some() {
        let name = "longest wait of a heartbeat".to_owned();
        bars.push(Bar::within(
            name,
            figures.longest_heartbeat_wait,
            MAX_HEARTBEAT_WAIT,
        ));
    }
    let calls = [
        Call::Connect,
        Call::Heartbeat,
        Call::Disconnect,
        Call::State,
        Call::Friends,
    ];
    bars.extend(
        calls
            .into_iter()
            .filter_map(|call| p99(figures, call, MAX_CALL_LATENCY)),
    );
    if let Some(watch) = watch {
        bars.push(Bar::none("states not shown to watchers", watch.missing));
        // A service without events reads the watched players every few seconds, which is slow by
        // design.
        bars.extend(p99(figures, Call::Watch, MAX_WATCH_LATENCY).filter(|_| watch.was_live));
    }
    if let Some(crash) = measured.crash {
        bars.push(Bar::within(
            "players OFFLINE after a gateway's crash".into(),
            crash,
            MAX_CRASH_DELAY,
        ));
    }
    bars.push(Bar::within(
        "p99 delay of the load itself".into(),
        figures.own_delay.quantile(0.99),
        MAX_OWN_DELAY,
    ));
    bars
}

fn p99(figures: &Figures, call: Call, max: Duration) -> Option<Bar> {
    let latency = &figures.call(call)?.latency;
    let get_name = || format!("p99 of {}", call.as_str());
    (!latency.is_empty()).then(|| Bar::within(get_name(), latency.quantile(0.99), max))
}

/// Explanations of bars that are missing or not met.
pub(super) fn notes(plan: &Plan, found: &Found, remaining: Option<u64>) -> Vec<String> {
    let of_figures = notes_of_figures(plan, found).into_iter().map(str::to_owned);
    let of_removal = (remaining != Some(0)).then(|| removal::note(remaining));
    of_figures.chain(of_removal).collect()
}

fn notes_of_figures(plan: &Plan, found: &Found) -> Vec<&'static str> {
    let mut notes = Vec::new();
    if found.measured.is_none() {
        notes.push("Not all players connected in time, so nothing was measured.");
    }
    if let Some(Measured {
        figures,
        wrong_states,
        watch,
        crash,
        ..
    }) = &found.measured
    {
        match watch {
            Some(watch) if !watch.was_live => {
                notes.push(
                    "The feed of watched players was not live all the time, so the latency of watching is not judged.",
                );
            }
            None if plan.watched > 0 => {
                notes.push("The service does not support watching (functions do not).")
            }
            _ => {}
        }
        if figures.call(Call::Heartbeat).is_none() {
            notes.push("No heartbeat was due: --duration is shorter than the service's heartbeat interval.");
        }
        if plan.has_crash && crash.is_none() {
            notes.push("The service does not support gateway leases, so no crash was measured.");
        }
        if wrong_states.is_none() {
            notes.push("The players could not be read at the end.");
        }
        if figures.own_delay.quantile(0.99) > MAX_OWN_DELAY {
            notes.push(
                "This machine is too slow for the load, so the latencies include its own delays.",
            );
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::{
        super::{findings::WatchFound, plan::tests::args, recorder::Recorder},
        *,
    };

    fn found(measured: Option<Measured>) -> Found {
        Found {
            connecting: Some(Duration::from_secs(1)),
            connected: 10,
            while_connecting: Recorder::new().take(),
            measured,
        }
    }

    fn measured(recorder: &Recorder) -> Measured {
        Measured {
            took: Duration::from_secs(60),
            figures: recorder.take(),
            missed_heartbeats: 0,
            unanswered: 0,
            wrong_states: Some(0),
            watch: Some(WatchFound {
                missing: 0,
                was_live: true,
            }),
            crash: None,
        }
    }

    /// The names of the bars that are not met.
    fn unmet(found: &Found, remaining: Option<u64>) -> Vec<String> {
        let bars = bars(&Plan::new(&args(10)), found, remaining);
        bars.into_iter()
            .filter(|bar| !bar.is_met)
            .map(|bar| bar.name)
            .collect()
    }

    #[test]
    fn a_load_without_anomalies_meets_all_bars() {
        assert!(unmet(&found(Some(measured(&Recorder::new()))), Some(0)).is_empty());
    }

    #[test]
    fn each_bar_can_be_missed() {
        let recorder = Recorder::new();
        recorder.record_read(Duration::from_millis(251), 1, None);
        recorder.record_change(Duration::from_millis(551));
        recorder.record_unsent_read();
        recorder.record_lost_connection();
        recorder.record_own_delay(Duration::from_millis(101));
        let mut measured = measured(&recorder);
        measured.missed_heartbeats = 1;
        measured.unanswered = 1;
        measured.wrong_states = None;
        measured.crash = Some(Duration::from_millis(10_001));
        measured.watch = Some(WatchFound {
            missing: 1,
            was_live: true,
        });
        let mut found = found(Some(measured));
        found.connected = 9;
        let expected = [
            "players connected",
            "connections lost",
            "failed calls",
            "reports and reads without a response",
            "heartbeats missed, or reports given up",
            "connected players read as OFFLINE",
            "players in another state at the end",
            "p99 of friends",
            "states not shown to watchers",
            "p99 of watch",
            "players OFFLINE after a gateway's crash",
            "p99 delay of the load itself",
            "players not removed",
        ];
        assert_eq!(unmet(&found, None), expected);
        assert_eq!(notes(&Plan::new(&args(10)), &found, None).len(), 4);
    }

    #[test]
    fn a_watch_without_live_events_may_be_slow_but_not_incomplete() {
        let recorder = Recorder::new();
        recorder.record_change(Duration::from_secs(5));
        let mut measured = measured(&recorder);
        measured.watch = Some(WatchFound {
            missing: 1,
            was_live: false,
        });
        assert_eq!(
            unmet(&found(Some(measured)), Some(0)),
            ["states not shown to watchers"]
        );
    }
}
