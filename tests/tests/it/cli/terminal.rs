//! What is otherwise on a terminal: questions, colours. `script` provides the terminal.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

use presence_tests::binary;

use super::World;

/// Runs `presence` on a terminal where somebody types `typed`; what is to be seen there, and the exit status.
fn on_terminal(world: &World, arguments: &str, typed: &str, environment: &[(&str, &str)]) -> (String, Option<i32>) {
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command"]).arg(format!("{} {arguments}", binary("presence").display()));
    script.arg("/dev/null").env_clear().env("PATH", "/usr/bin:/bin").env("TERM", "xterm");
    script.env("PRESENCE_URL", world.server.url("")).envs(environment.iter().copied());
    let mut process = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(typed.as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

#[tokio::test]
async fn signing_out_asks_and_only_yes_is_a_yes() {
    let world = World::new().await;
    world.connect("alice", "phone").await;
    for answer in ["n\n", "\n", "perhaps\n"] {
        let (seen, status) = on_terminal(&world, "sign-out alice", answer, &[]);
        assert_eq!(status, Some(2), "{seen}");
        assert!(seen.contains("Sign alice out, on every device? [y/N]"), "{seen}");
        assert!(seen.contains("alice was not signed out"), "{seen}");
        assert_eq!(world.state_of("alice").await, "ONLINE");
    }
    let (seen, status) = on_terminal(&world, "sign-out alice", "y\n", &[]);
    assert_eq!(status, Some(0), "{seen}");
    assert_eq!(world.state_of("alice").await, "OFFLINE");
}

#[tokio::test]
async fn colours_are_for_terminals_and_only_where_nobody_minds() {
    const ESCAPE: char = '\u{1b}';
    let world = World::new().await;
    world.connect("alice", "phone").await;
    assert!(on_terminal(&world, "get alice", "", &[]).0.contains(ESCAPE));
    assert!(!on_terminal(&world, "get alice", "", &[("NO_COLOR", "1")]).0.contains(ESCAPE));
    assert!(!on_terminal(&world, "get alice --json", "", &[]).0.contains(ESCAPE));
    assert!(!world.say(&["get", "alice"]).out.contains(ESCAPE));
}
