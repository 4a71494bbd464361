//! The version that programs report, and its source.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use presence::{REVISION, VERSION};
use presence_tests::{RedisServer, Server, binary};
use serde_json::Value;

#[tokio::test]
async fn the_server_reports_its_version_and_revision() {
    let output = Command::new(binary("presence-server"))
        .arg("--version")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("presence-server {VERSION} ({REVISION})\n")
    );

    let redis = RedisServer::start().await;
    let live = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())])
        .get("/health/live")
        .await;
    assert_eq!(
        (
            live.body["version"].as_str(),
            live.body["revision"].as_str()
        ),
        (Some(VERSION), Some(REVISION))
    );
}

#[test]
fn every_program_logs_its_version_and_revision_first() {
    let functions = [
        "connect",
        "disconnect",
        "heartbeat",
        "set-state",
        "get-state",
        "friends",
        "gateway",
        "health",
        "sweep",
    ];
    for program in functions.into_iter().chain(["presence-server"]) {
        let mut command = Command::new(binary(program));
        command
            .env_clear()
            .env("PRESENCE_LOG_FORMAT", "json")
            .env("PRESENCE_BIND", "127.0.0.1:0");
        let mut process = command.stderr(Stdio::piped()).spawn().unwrap();
        let line = BufReader::new(process.stderr.take().unwrap())
            .lines()
            .next()
            .unwrap()
            .unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
        let first: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (&first["version"], &first["revision"]),
            (&VERSION.into(), &REVISION.into()),
            "{program}: {first}"
        );
    }
}

#[test]
fn the_revision_is_the_variable_else_the_commit_else_unknown() {
    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("build-script");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/build.rs");
    run(Command::new("rustc")
        .args(["--edition", "2024", "-o"])
        .arg(&script)
        .arg(source));
    let package = directory.path().join("package");
    std::fs::create_dir(&package).unwrap();
    std::fs::write(package.join("Cargo.toml"), "").unwrap();
    let read_revision = |given: &str| {
        let output = run(Command::new(&script)
            .current_dir(&package)
            .env("PRESENCE_REVISION", given));
        output.lines().find_map(|line| {
            Some(
                line.strip_prefix("cargo::rustc-env=PRESENCE_REVISION=")?
                    .to_owned(),
            )
        })
    };
    assert_eq!(
        read_revision("").as_deref(),
        Some("unknown"),
        "without a repository"
    );

    let git = |arguments: &[&str]| run(git(directory.path()).args(arguments));
    git(&["init", "--quiet"]);
    git(&[
        "commit",
        "--quiet",
        "--allow-empty",
        "--message",
        "Another project",
    ]);
    assert_eq!(
        read_revision("").as_deref(),
        Some("unknown"),
        "within another project's repository"
    );

    git(&["add", "package"]);
    git(&["commit", "--quiet", "--message", "This project"]);
    assert_eq!(
        read_revision("").unwrap(),
        git(&["rev-parse", "--short=12", "HEAD"]).trim()
    );
    assert_eq!(read_revision("0123abc").as_deref(), Some("0123abc"));
}

fn git(directory: &Path) -> Command {
    let mut command = Command::new("git");
    command.current_dir(directory).args([
        "-c",
        "user.name=Test",
        "-c",
        "user.email=test@example.com",
    ]);
    command
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
