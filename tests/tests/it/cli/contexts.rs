//! `presence context`, and commands that use one.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use presence_tests::{RedisServer, Server};
use serde_json::json;
use tempfile::TempDir;

use super::{Finished, command, finish};

/// A home directory, and a server that requires a token.
struct Home {
    directory: TempDir,
    server: Server,
    _redis: RedisServer,
}

impl Home {
    async fn new() -> Self {
        let redis = RedisServer::start().await;
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &redis.url()),
            ("PRESENCE_AUTH_TOKENS", "hunter2"),
        ]);
        Self {
            directory: tempfile::tempdir().unwrap(),
            server,
            _redis: redis,
        }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command("", arguments);
        command.env("HOME", self.directory.path());
        command
    }

    fn run(&self, arguments: &[&str]) -> Finished {
        finish(&mut self.command(arguments))
    }

    fn save(&self, name: &str) {
        let url = self.server.url("");
        let saved = finish(
            self.command(&["context", "save", name, "--url", &url])
                .env("PRESENCE_TOKEN", "hunter2"),
        );
        assert_eq!((saved.status, &*saved.out, &*saved.err), (Some(0), "", ""));
    }
}

#[tokio::test]
async fn a_context_is_saved_used_listed_and_removed() {
    let home = Home::new().await;
    home.save("prod");
    home.save("test");
    let signed = [
        "context",
        "save",
        "signed",
        "--url",
        "https://api.example.com/prod",
        "--sigv4",
    ];
    // A token of another service is not saved with a context that signs.
    assert_eq!(
        finish(home.command(&signed).env("PRESENCE_TOKEN", "hunter2")).status,
        Some(0)
    );
    let file = home.directory.path().join(".config/presence/contexts.json");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );

    assert_eq!(
        home.run(&["get", "alice", "--context", "prod"]).status,
        Some(0)
    );
    assert_eq!(
        finish(
            home.command(&["get", "alice"])
                .env("PRESENCE_CONTEXT", "prod")
        )
        .status,
        Some(0)
    );
    assert_eq!(home.run(&["context", "use", "prod"]).status, Some(0));
    assert_eq!(home.run(&["get", "alice"]).status, Some(0));

    let listed = home.run(&["context", "list"]);
    assert!(!listed.out.contains("hunter2"), "{listed:?}");
    let listed = home.run(&["context", "list", "--json"]).out;
    let url = home.server.url("");
    let expected = json!([
        {"name": "prod", "url": url, "authentication": "token", "is_current": true},
        {"name": "signed", "url": "https://api.example.com/prod", "authentication": "signature", "is_current": false},
        {"name": "test", "url": url, "authentication": "token", "is_current": false},
    ]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&listed).unwrap(),
        expected
    );

    assert_eq!(home.run(&["context", "remove", "prod"]).status, Some(0));
    for unknown in [
        &["get", "alice", "--context", "prod"][..],
        &["context", "use", "prod"],
        &["context", "remove", "x"],
    ] {
        let refused = home.run(unknown);
        assert_eq!(refused.status, Some(2));
        assert!(refused.err.contains("there is no context"), "{refused:?}");
    }
}

#[tokio::test]
async fn the_token_of_a_context_is_not_sent_to_another_service() {
    let home = Home::new().await;
    home.save("prod");
    assert_eq!(home.run(&["context", "use", "prod"]).status, Some(0));
    let url = home.server.url("");
    // The same server stands in for another one: it would accept the token.
    let by_flag = home.run(&["get", "alice", "--url", &url]);
    let by_variable = finish(home.command(&["get", "alice"]).env("PRESENCE_URL", &url));
    for without in [by_flag, by_variable] {
        assert_eq!(without.status, Some(3));
        assert!(without.err.contains("requires a token"), "{without:?}");
    }
    assert_eq!(
        home.run(&["get", "alice", "--url", &url, "--context", "prod"])
            .status,
        Some(2)
    );
    let other = home.run(&["get", "alice", "--token", "swordfish"]);
    assert!(other.err.contains("does not accept the token"), "{other:?}");
}

#[tokio::test]
async fn an_invalid_context_is_not_saved_and_an_invalid_file_is_named_without_its_content() {
    let home = Home::new().await;
    for bad in [
        &["context", "save", "x"][..],
        &["context", "save", "x", "--url", "presence:8080"],
    ] {
        assert_eq!(home.run(bad).status, Some(2), "{bad:?}");
    }
    let directory = home.directory.path().join(".config/presence");
    assert!(!directory.exists());
    fs::create_dir_all(&directory).unwrap();
    fs::write(
        directory.join("contexts.json"),
        r#"{"contexts":{"prod":{"url":"x","tokn":"hunter2"}}}"#,
    )
    .unwrap();
    let broken = home.run(&["get", "alice"]);
    assert_eq!(broken.status, Some(2));
    assert!(
        broken.err.contains("contexts.json") && !broken.err.contains("hunter2"),
        "{broken:?}"
    );
    assert_ne!(
        home.run(&["get", "alice", "--url", &home.server.url("")])
            .status,
        Some(2),
        "no context is needed"
    );
}
