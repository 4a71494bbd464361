//! Behavior on a terminal: confirmation, colors, progress. `script` provides the terminal.

use std::{
    io::{Read as _, Write as _},
    process::{Command, Stdio},
};

use presence_tests::binary;

use super::Fixture;

/// Runs `presence` on a terminal and types `answer` after its question; returns what the terminal
/// shows, and the exit status.
fn on_terminal(
    fixture: &Fixture,
    arguments: &str,
    answer: Option<&str>,
    environment: &[(&str, &str)],
) -> (String, Option<i32>) {
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command"])
        .arg(format!("{} {arguments}", binary("presence").display()));
    script
        .arg("/dev/null")
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("TERM", "xterm");
    script
        .env("PRESENCE_URL", fixture.server.url(""))
        .envs(environment.iter().copied());
    let mut process = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = Vec::new();
    let mut output = process.stdout.take().unwrap();
    let mut input = process.stdin.take().unwrap();
    if let Some(answer) = answer {
        // The terminal echoes the answer immediately, so wait for the end of the question.
        while !shown.ends_with(b"[y/N] ") {
            let mut byte = [0];
            output.read_exact(&mut byte).unwrap();
            shown.extend(byte);
        }
        input.write_all(answer.as_bytes()).unwrap();
    }
    drop(input);
    output.read_to_end(&mut shown).unwrap();
    (
        String::from_utf8(shown).unwrap(),
        process.wait().unwrap().code(),
    )
}

#[tokio::test]
async fn a_sign_out_asks_for_confirmation() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    for answer in ["n\n", "\n", "perhaps\n"] {
        let (seen, status) = on_terminal(&fixture, "sign-out alice", Some(answer), &[]);
        assert_eq!(status, Some(2), "{seen}");
        assert!(
            seen.contains("Sign alice out, on every device? [y/N]"),
            "{seen}"
        );
        assert!(seen.contains("alice was not signed out"), "{seen}");
        assert_eq!(fixture.state_of("alice").await, "ONLINE");
    }
    let (seen, status) = on_terminal(&fixture, "sign-out alice", Some("y\n"), &[]);
    assert_eq!(status, Some(0), "{seen}");
    assert_eq!(fixture.state_of("alice").await, "OFFLINE");
}

#[tokio::test]
async fn a_load_on_another_machine_asks_for_confirmation() {
    let fixture = Fixture::new().await;
    let load = "load --url http://presence.invalid";
    let (seen, status) = on_terminal(&fixture, load, Some("\n"), &[]);
    assert_eq!(status, Some(2), "{seen}");
    assert!(
        seen.contains("Put the load of 1,000 players on http://presence.invalid?"),
        "{seen}"
    );
    assert!(
        seen.contains("no load was put on http://presence.invalid"),
        "{seen}"
    );
    let (seen, status) = on_terminal(&fixture, load, Some("yes\n"), &[]);
    assert_eq!(status, Some(1), "{seen}");
    assert!(seen.contains("cannot be reached"), "{seen}");
}

#[tokio::test]
async fn the_progress_of_a_load_is_one_line_that_is_rewritten() {
    let fixture = Fixture::new().await;
    let (seen, status) = on_terminal(
        &fixture,
        "load --players 20 --duration 1s --watch 0",
        None,
        &[],
    );
    assert!(matches!(status, Some(0 | 5)), "{seen}");
    let (progress, result) = seen.split_once("20 players on 2 gateways").unwrap();
    assert!(
        progress.contains("\rconnecting 20 players") && progress.contains("\rremoving 20 players"),
        "{seen}"
    );
    assert!(
        !progress.contains('\n') && !result.contains("removing"),
        "{seen}"
    );
}

#[tokio::test]
async fn colors_are_for_terminals_only_and_not_with_no_color() {
    const ESCAPE: char = '\u{1b}';
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    assert!(
        on_terminal(&fixture, "get alice", None, &[])
            .0
            .contains(ESCAPE)
    );
    assert!(
        !on_terminal(&fixture, "get alice", None, &[("NO_COLOR", "1")])
            .0
            .contains(ESCAPE)
    );
    assert!(
        !on_terminal(&fixture, "get alice --json", None, &[])
            .0
            .contains(ESCAPE)
    );
    assert!(!fixture.run(&["get", "alice"]).out.contains(ESCAPE));
}
