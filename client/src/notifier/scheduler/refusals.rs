//! Refused calls: reports that the service does not accept are kept and sent again.

use std::time::Duration;

use super::{
    super::call::TaskKind,
    simulation::{Fault, INTERVAL, Simulation, TTL, problem},
};
use crate::{Reason, State};

const SECOND: Duration = Duration::from_secs(1);

impl Simulation {
    fn refuse_all(&mut self, status: u16) {
        self.service.inject_fault = Some(Box::new(move |_| {
            Some(Fault::Before(problem(status, None)))
        }));
    }
}

#[test]
fn a_call_refused_for_its_token_or_path_is_sent_again_after_pauses_until_it_is_accepted() {
    for status in [401, 403, 404, 405, 407, 421] {
        let mut simulation = Simulation::new();
        (0..450).for_each(|number| simulation.connect(number));
        simulation.run(SECOND);
        simulation.refuse_all(status);
        (0..150).for_each(|number| simulation.disconnect(number, Reason::Quit));
        (150..300).for_each(|number| simulation.set_state(number, State::Away));
        (450..600).for_each(|number| simulation.connect(number));
        simulation.service.log.clear();
        simulation.run(TTL);
        let calls = simulation.service.log.len();
        assert!(calls <= 4 * 30, "{status}: {calls} calls in {TTL:?}");
        assert_eq!(simulation.scheduler.stats().dropped, 0, "{status}");

        simulation.service.inject_fault = None;
        simulation.run(INTERVAL);
        assert_eq!(
            (
                simulation.service.leases.len(),
                simulation.scheduler.stats().queue_length
            ),
            (450, 0),
            "{status}"
        );
        assert_eq!(simulation.state(150), State::Away);
    }
}

#[test]
fn a_drain_counts_refused_reports() {
    for (status, undelivered, refused) in [(401, 10, 0), (403, 10, 0), (400, 0, 10)] {
        let mut simulation = Simulation::new();
        (0..10).for_each(|number| simulation.connect(number));
        simulation.run(SECOND);
        simulation.refuse_all(status);
        simulation
            .scheduler
            .drain(Reason::Lost, 10 * SECOND, simulation.now);
        simulation.run(10 * SECOND);
        assert_eq!(
            (
                simulation.scheduler.undelivered(),
                simulation.scheduler.refused()
            ),
            (undelivered, refused),
            "{status}"
        );
    }
}

#[test]
fn a_new_token_ends_the_pause() {
    let mut simulation = Simulation::new();
    simulation.refuse_all(401);
    simulation.connect(1);
    simulation.run(10 * SECOND);
    simulation.service.inject_fault = None;
    simulation.scheduler.end_pauses(simulation.now);
    simulation.run(Duration::ZERO);
    assert_eq!(simulation.service.leases.len(), 1);
}

#[test]
fn an_episode_is_logged_once_for_all_kinds_of_calls() {
    let mut simulation = Simulation::new();
    (0..10).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.refuse_all(401);
    simulation.connect(10);
    simulation.disconnect(0, Reason::Quit);
    simulation.disconnect(1, Reason::Lost);
    simulation.set_state(2, State::Away);
    simulation.run(2 * TTL);
    simulation.service.inject_fault = None;
    simulation.run(2 * INTERVAL);
    let end = "presence calls succeed again";
    assert_eq!(
        simulation.scheduler.failure_log.lines,
        ["presence calls are not accepted; they are repeated", end]
    );

    simulation.scheduler.failure_log.lines.clear();
    simulation.set_down(true);
    simulation.run(TTL);
    simulation.refuse_all(403); // the service is back, with other tokens
    simulation.run(TTL);
    simulation.service.inject_fault = None;
    simulation.run(2 * INTERVAL);
    let [first, second] = [
        "presence calls fail; they are repeated",
        "presence calls are not accepted; they are repeated",
    ];
    assert_eq!(simulation.scheduler.failure_log.lines, [first, second, end]);
}

#[test]
fn calls_that_are_no_longer_needed_do_not_prolong_an_episode() {
    let mut simulation = Simulation::new();
    (0..2).for_each(|number| simulation.connect(number));
    simulation.run(SECOND);
    simulation.service.inject_fault = Some(Box::new(|call| {
        (call.kind == TaskKind::Quit).then(|| Fault::Before(problem(500, None)))
    }));
    simulation.disconnect(0, Reason::Quit);
    simulation.run(3 * TTL); // the disconnect is given up
    assert_eq!(
        simulation.scheduler.failure_log.lines.len(),
        2,
        "{:?}",
        simulation.scheduler.failure_log.lines
    );
}
