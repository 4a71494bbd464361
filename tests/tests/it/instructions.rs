//! How many instructions the parts take that every call passes, as valgrind counts them, against the least that could be
//! done with the same JSON: finding its end. Neither figure depends on what else the machine does. Without optimisation, as
//! tests are built, the ratios were 2.2, 2.3 and 2.7 when this was written: there is room for another compiler, and for
//! no second pass over the text.

use std::process::Command;

use presence_tests::binary;

/// How often a part runs; what comes before and after it is counted twice, and taken off.
const TIMES: u64 = 5;

#[test]
fn reading_a_batch_takes_few_times_what_finding_its_end_does() {
    assert_at_most(2.4, "batch", "batch-syntax");
}

#[test]
fn reading_one_connection_takes_few_times_what_finding_its_end_does() {
    assert_at_most(2.5, "one", "one-syntax");
}

#[test]
fn answering_with_friends_takes_few_times_what_finding_the_answers_end_does() {
    assert_at_most(2.9, "friends", "friends-syntax");
}

fn assert_at_most(most: f64, part: &str, reference: &str) {
    let ratio = instructions(part) / instructions(reference);
    assert!(ratio <= most, "{part} takes {ratio:.2} times the instructions of {reference}, not {most} at most");
}

/// The instructions that a part of `tests/examples/hot.rs` takes each time.
fn instructions(part: &str) -> f64 {
    (count(part, 2 * TIMES) - count(part, TIMES)) as f64 / TIMES as f64
}

fn count(part: &str, times: u64) -> u64 {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let output = valgrind.arg(binary("examples/hot")).args([part, &times.to_string()]).output();
    let output = output.expect("valgrind: scripts/setup valgrind");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}");
    let collected = text.lines().find_map(|line| line.split_once("Collected : "));
    collected.and_then(|(_, count)| count.trim().parse().ok()).expect("a count")
}
