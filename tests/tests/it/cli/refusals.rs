//! Messages and exit statuses of commands that failed.

use presence_tests::{RedisServer, Server};

use super::{Fixture, command, finish};

#[tokio::test]
async fn a_refused_transition_is_reported_with_the_details_of_the_service() {
    let fixture = Fixture::new().await;
    let refused = fixture.run(&["set-state", "nobody", "IN_MATCH"]);
    assert_eq!((refused.status, &*refused.out), (Some(3), ""));
    let expected = "presence: an OFFLINE player cannot go to IN_MATCH; connect the player first (transition-rejected, 409)\n";
    assert_eq!(refused.err, expected);
}

#[test]
fn an_unreachable_service_is_named_with_the_reason() {
    let failed = finish(&mut command("http://127.0.0.1:1", &["get", "alice"]));
    assert_eq!(failed.status, Some(1));
    assert!(
        failed
            .err
            .starts_with("presence: http://127.0.0.1:1 cannot be reached: Connection refused"),
        "{failed:?}"
    );
    assert!(failed.err.contains("PRESENCE_URL"), "{failed:?}");
}

#[test]
fn invalid_arguments_end_with_2() {
    for arguments in [
        &["get", "no id"][..],
        &["get"],
        &["set-state", "alice", "DANCING"],
        &["no-such-command"],
        &[],
    ] {
        assert_eq!(
            finish(&mut command("http://127.0.0.1:1", arguments)).status,
            Some(2),
            "{arguments:?}"
        );
    }
    assert_eq!(
        finish(&mut command("presence:8080", &["get", "alice"])).status,
        Some(2)
    );
}

#[tokio::test]
async fn a_flag_overrides_an_invalid_variable_and_an_empty_variable_counts_as_unset() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let url = server.url("");
    for bad in [
        "presence:8080",
        "htp://x",
        "http://user:secret@x",
        "\u{1F600}",
    ] {
        for arguments in [
            &["get", "alice", "--url", &url][..],
            &["--url", &url, "get", "alice"],
        ] {
            let finished = finish(&mut command(bad, arguments));
            assert_eq!(finished.status, Some(0), "{finished:?}");
        }
        let refused = finish(&mut command(bad, &["get", "alice"]));
        assert_eq!(refused.status, Some(2));
        assert!(
            refused
                .err
                .starts_with("presence: PRESENCE_URL is not the URL of a presence service"),
            "{refused:?}"
        );
        assert!(
            refused.err.contains("expected http://HOST") && !refused.err.contains("secret"),
            "{refused:?}"
        );
    }
    let token = finish(
        command(&url, &["get", "alice", "--token", "fine"]).env("PRESENCE_TOKEN", "not fine"),
    );
    assert_eq!(token.status, Some(0), "{token:?}");
    let by_default = finish(&mut command("", &["get", "alice"]));
    assert_ne!(by_default.status, Some(2), "{by_default:?}"); // whether or not a service runs at the default address
}

#[test]
fn completions_and_help_need_neither_address_nor_token() {
    for arguments in [
        &["completions", "bash"][..],
        &["--help"],
        &["help", "get"],
        &["--version"],
    ] {
        for url in ["", "htp://x"] {
            let finished = finish(command(url, arguments).env("PRESENCE_TOKEN", "not a token"));
            assert_eq!(
                (finished.status, &*finished.err),
                (Some(0), ""),
                "{arguments:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_is_required_accepted_or_refused_and_never_shown() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &redis.url()),
        ("PRESENCE_AUTH_TOKENS", "hunter2"),
    ]);
    let run = |token: &str| {
        finish(command(&server.url(""), &["get", "alice"]).env("PRESENCE_TOKEN", token))
    };
    for without in [
        finish(&mut command(&server.url(""), &["get", "alice"])),
        run(""),
    ] {
        assert_eq!(without.status, Some(3));
        assert!(without.err.contains("requires a token"), "{without:?}");
    }

    assert_eq!(run("hunter2").status, Some(0));
    assert_eq!(
        finish(&mut command(
            &server.url(""),
            &["get", "alice", "--token", "hunter2"]
        ))
        .status,
        Some(0)
    );
    for (token, status) in [("swordfish", 3), ("sword fish", 2)] {
        let refused = run(token);
        assert_eq!(refused.status, Some(status));
        assert!(!format!("{refused:?}").contains("sword"), "{refused:?}");
    }
    let help = finish(command(&server.url(""), &["help", "get"]).env("PRESENCE_TOKEN", "hunter2"));
    assert!(
        help.out.contains("PRESENCE_TOKEN") && !help.out.contains("hunter2"),
        "{help:?}"
    );
}

#[tokio::test]
async fn a_service_without_events_is_reported_as_one() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let refused = finish(&mut command(&server.url(""), &["watch"]));
    assert_eq!(refused.status, Some(4), "{refused:?}");
    assert!(refused.err.contains("PRESENCE_NATS_URL"), "{refused:?}");
}

#[tokio::test]
async fn a_sign_out_without_a_terminal_requires_the_flag_yes() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    for arguments in [
        &["sign-out", "alice"][..],
        &["set-state", "alice", "OFFLINE"],
    ] {
        let refused = fixture.run(arguments);
        assert_eq!(refused.status, Some(2));
        assert!(refused.err.contains("--yes"), "{refused:?}");
        assert_eq!(fixture.state_of("alice").await, "ONLINE");
    }
    assert_eq!(
        fixture
            .run(&["set-state", "alice", "OFFLINE", "--yes"])
            .status,
        Some(0)
    );
    assert_eq!(fixture.state_of("alice").await, "OFFLINE");
}
