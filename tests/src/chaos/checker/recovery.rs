//! Recovery of the servers after faults of Redis.

use std::collections::BTreeSet;

use super::{Invariant, Report, tolerances::DETECTION};
use crate::chaos::history::{Attempt, Call, History, LeaseCall, Millis, Outcome, Part};

/// The longest delay of a server, as the machine is busy.
const SLACK: Millis = 1_500;

/// The time from the beginning of a calm to the first success. A calm is a period without a fault
/// of Redis or the server.
const RECOVERY: Millis = DETECTION + SLACK;

/// Checks that each server reads and writes in time in each calm that lasts long enough, and
/// continues to.
pub(super) fn check(history: &History, report: &mut Report) {
    // A gateway with few players sends few calls about them, and renews its own lease all the time.
    let renewals = history.lease_calls.iter().map(Attempt::from);
    let writes: Vec<_> = history
        .calls
        .iter()
        .map(Attempt::from)
        .chain(renewals)
        .collect();
    let servers: BTreeSet<_> = history
        .attempts
        .iter()
        .chain(&writes)
        .map(|attempt| attempt.server)
        .collect();
    for server in servers {
        for (begin, end) in calms(history, server)
            .into_iter()
            .filter(|(begin, end)| end - begin > RECOVERY)
        {
            let is_within = |attempt: &&Attempt| {
                attempt.server == server && attempt.sent >= begin && attempt.ended < end
            };
            check_calm(
                begin,
                "read",
                history.attempts.iter().filter(is_within).collect(),
                report,
            );
            check_calm(
                begin,
                "write",
                writes.iter().filter(is_within).collect(),
                report,
            );
        }
    }
}

/// From the end of a fault to the beginning of the next one.
fn calms(history: &History, server: usize) -> Vec<(Millis, Millis)> {
    let disturbs = |part| [Part::Redis, Part::Server(server), Part::Machine].contains(&part);
    let mut faults: Vec<_> = history
        .faults
        .iter()
        .filter(|fault| disturbs(fault.part))
        .map(|fault| (fault.from, fault.to))
        .collect();
    faults.sort_unstable();
    let ends = faults.iter().scan(0, |latest, (_, to)| {
        *latest = (*latest).max(*to);
        Some(*latest)
    });
    let next_begins = faults
        .iter()
        .skip(1)
        .map(|(from, _)| *from)
        .chain([Millis::MAX]);
    ends.zip(next_begins)
        .filter(|(end, next)| end < next)
        .collect()
}

fn check_calm(begin: Millis, what: &str, attempts: Vec<&Attempt>, report: &mut Report) {
    let first = attempts
        .iter()
        .filter(|attempt| attempt.is_answered)
        .map(|attempt| attempt.ended)
        .min();
    let late: Vec<_> = attempts
        .iter()
        .filter(|attempt| attempt.sent > begin + RECOVERY)
        .collect();
    if first.is_none() && late.is_empty() {
        return; // the history ends too early
    }
    let took = first.map_or(Millis::MAX, |first| first - begin);
    let failed = late.iter().filter(|attempt| !attempt.is_answered).count();
    report.count("recoveries from a fault");
    if took > RECOVERY || failed > late.len() / 2 {
        let took = first.map_or("never".to_owned(), |_| format!("after {took} ms"));
        let text = format!(
            "the first {what} succeeded {took}, {failed} of {} later ones failed",
            late.len()
        );
        report.violate(Invariant::PromptRecovery, None, begin, text);
    } else {
        report.longest("ms took the longest recovery", took);
    }
}

impl From<&Call> for Attempt {
    fn from(call: &Call) -> Self {
        let is_answered = call.outcome != Outcome::Unknown;
        Self {
            server: call.server,
            sent: call.sent,
            ended: call.ended,
            is_answered,
        }
    }
}

impl From<&LeaseCall> for Attempt {
    fn from(call: &LeaseCall) -> Self {
        Self {
            server: call.server,
            sent: call.sent,
            ended: call.ended,
            is_answered: call.status.is_some(),
        }
    }
}
