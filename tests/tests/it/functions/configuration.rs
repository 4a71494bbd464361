//! Invalid configuration: the program reports it in one line, and stops.

use presence_tests::{Function, command, event};
use serde_json::{Value, json};

/// Invalid values of each variable that a function reads.
const INVALID_VALUES: [(&str, &str); 60] = [
    ("PRESENCE_REDIS_URL", "http://user:hunter2@127.0.0.1"),
    ("PRESENCE_REDIS_URL", "127.0.0.1:6379"),
    ("PRESENCE_REDIS_URL", "redis://a,redis://b"),
    ("PRESENCE_REDIS_URL", "redis://a,"),
    ("PRESENCE_REDIS_URL", "redis://"),
    ("PRESENCE_REDIS_URL", "redis://:6379"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1:0"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1:65536"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1/zero"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1/-1"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1/0/1"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1?timeout=5s"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1/?protocol=resp3"),
    ("PRESENCE_REDIS_URL", "redis://127.0.0.1#insecure"),
    ("PRESENCE_REDIS_URL", "rediss://127.0.0.1#insecure"),
    ("PRESENCE_REDIS_URL", "redis://user@127.0.0.1"),
    ("PRESENCE_REDIS_MODE", "Cluster"),
    ("PRESENCE_REDIS_MODE", "replica"),
    ("PRESENCE_REDIS_AUTH", "password"),
    ("PRESENCE_REDIS_IAM_CACHE", "presence"),
    ("PRESENCE_SECRETS", "vault:/presence"),
    ("PRESENCE_SECRETS", "ssm:presence"),
    ("PRESENCE_SECRETS", "secretsmanager:"),
    ("PRESENCE_KEY_PREFIX", "{presence}:"),
    ("PRESENCE_KEY_PREFIX", "a b"),
    ("PRESENCE_NATS_URL", "127.0.0.1:4222"),
    ("PRESENCE_NATS_URL", "http://127.0.0.1:4222"),
    ("PRESENCE_NATS_CREDS", "/nowhere/user.creds"),
    ("PRESENCE_EVENTS_SUBJECT", "events.>"),
    ("PRESENCE_EVENTS_STREAM", "a.b"),
    ("PRESENCE_EVENTS_RETENTION", "0s"),
    ("PRESENCE_TTL", "0s"),
    ("PRESENCE_TTL", "1ms"),
    ("PRESENCE_TTL", "45"),
    ("PRESENCE_TTL", "-45s"),
    ("PRESENCE_TTL", "4.5s"),
    ("PRESENCE_TTL", " 45s"),
    ("PRESENCE_TTL", "45S"),
    ("PRESENCE_TTL", "1w"),
    ("PRESENCE_TTL", "soon"),
    ("PRESENCE_HEARTBEAT_INTERVAL", "45s"),
    ("PRESENCE_HEARTBEAT_INTERVAL", "0s"),
    ("PRESENCE_OFFLINE_GRACE", "46s"),
    ("PRESENCE_OFFLINE_GRACE", "0"),
    ("PRESENCE_OFFLINE_GRACE", "none"),
    ("PRESENCE_LAST_SEEN_RETENTION", "0d"),
    ("PRESENCE_SWEEP_INTERVAL", "0ms"),
    ("PRESENCE_MAX_BATCH", "0"),
    ("PRESENCE_MAX_BATCH", "many"),
    ("PRESENCE_MAX_BATCH", "2_000"),
    ("PRESENCE_MAX_CONNECTIONS", "-1"),
    ("PRESENCE_STORE_TIMEOUT", "0ms"),
    ("PRESENCE_LOG_FORMAT", "xml"),
    ("PRESENCE_LOG_FORMAT", "JSON"),
    ("RUST_LOG", "presence=loud"),
    ("RUST_LOG", "warning"),
    ("RUST_LOG", "info,presence"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
    ("OTEL_TRACES_SAMPLER", "sometimes"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "hunter2"),
];

/// Valid values at the boundaries.
const VALID_VALUES: [(&str, &str); 25] = [
    (
        "PRESENCE_REDIS_URL",
        "redis://user:p%40ss@localhost:6379/15",
    ),
    ("PRESENCE_REDIS_URL", "redis://:password@[::1]"),
    ("PRESENCE_REDIS_MODE", "cluster"),
    ("PRESENCE_KEY_PREFIX", "p"),
    (
        "PRESENCE_NATS_URL",
        "nats://127.0.0.1:4222,nats://localhost",
    ),
    ("PRESENCE_EVENTS_RETENTION", "1h"),
    ("PRESENCE_TTL", "2ms"),
    ("PRESENCE_TTL", "500ms"),
    ("PRESENCE_TTL", "3650d"),
    ("PRESENCE_HEARTBEAT_INTERVAL", "44999ms"),
    ("PRESENCE_OFFLINE_GRACE", "0s"),
    ("PRESENCE_OFFLINE_GRACE", "0ms"),
    ("PRESENCE_OFFLINE_GRACE", "45s"),
    ("PRESENCE_LAST_SEEN_RETENTION", "7d"),
    ("PRESENCE_SWEEP_INTERVAL", "15m"),
    ("PRESENCE_MAX_BATCH", "1"),
    ("PRESENCE_MAX_CONNECTIONS", "1"),
    ("PRESENCE_STORE_TIMEOUT", "5s"),
    ("PRESENCE_LOG_FORMAT", "text"),
    ("RUST_LOG", "info,presence=debug"),
    ("RUST_LOG", "info,hyper=off"),
    ("RUST_LOG", "WARN"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318/"),
    ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=secret"),
    ("PRESENCE_TTL", ""),
];

const PROGRAMS: [&str; 10] = [
    "connect",
    "heartbeat",
    "disconnect",
    "set-state",
    "get-state",
    "friends",
    "gateway",
    "health",
    "sweep",
    "presence-server",
];

/// Starts a function, which must stop immediately. Returns the line that it prints.
fn error_line(function: &str, variable: &str, value: &str) -> String {
    let output = command(function, "127.0.0.1:9", &[(variable, value)])
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        output.status.code(),
        Some(2),
        "{function} {variable}={value}: {stderr}"
    );
    assert_eq!(
        stderr.lines().count(),
        1,
        "{function} {variable}={value}: {stderr}"
    );
    assert!(output.stdout.is_empty(), "{function} {variable}={value}");
    stderr
}

#[test]
fn an_invalid_value_stops_a_function_with_one_line_that_names_the_variable() {
    for (variable, value) in INVALID_VALUES {
        let line = error_line("connect", variable, value);
        assert!(line.contains(variable), "{variable}={value}: {line}");
        assert!(
            line.trim().len() > variable.len() + 10,
            "the line says what is accepted: {line}"
        );
        assert!(!line.contains("hunter2"), "{line}");
    }
}

/// The other test covers all variables for one function. This one covers all programs.
#[test]
fn every_program_stops_for_an_invalid_value() {
    for function in PROGRAMS {
        for (variable, value) in [("PRESENCE_TTL", "0s"), ("RUST_LOG", "warning")] {
            assert!(
                error_line(function, variable, value).contains(variable),
                "{function}"
            );
        }
    }
}

#[tokio::test]
async fn a_valid_value_starts_a_function() {
    for (variable, value) in VALID_VALUES {
        let function = Function::start("get-state", &[(variable, value)]).await;
        // The method is refused before Redis is needed, which may not exist.
        let response = function
            .invoke(event::post("/presence/alice", &json!({})))
            .await;
        assert_eq!(response.unwrap()["statusCode"], 405, "{variable}={value}");
    }
}

#[test]
fn the_seeds_of_a_cluster_must_agree() {
    let cluster = ("PRESENCE_REDIS_MODE", "cluster");
    for urls in [
        "redis://a,rediss://b",
        "redis://a/1",
        "redis://:one@a,redis://:two@b",
        "redis://a,redis://:hunter2@b",
        "redis://a,redis://b?protocol=resp3",
    ] {
        let output = command(
            "connect",
            "127.0.0.1:9",
            &[cluster, ("PRESENCE_REDIS_URL", urls)],
        )
        .output()
        .unwrap();
        let line = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), line.lines().count()),
            (Some(2), 1),
            "{urls}: {line}"
        );
        assert!(
            line.starts_with("PRESENCE_REDIS_URL ") && !line.contains("hunter2"),
            "{urls}: {line}"
        );
    }
}

/// Credentials are useless without the URL of a server.
#[test]
fn credentials_without_a_nats_server_stop_a_function() {
    let credentials = "-----BEGIN NATS USER JWT-----
eyJ0eXAiOiJKV1QiLCJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.c2lnbmF0dXJl
------END NATS USER JWT------
-----BEGIN USER NKEY SEED-----
SUACH75SWCM5D2JMJM6EKLR2WDARVGZT4QC6LX3AGHSWOMVAKERABBBRWM
------END USER NKEY SEED------
";
    let line = error_line("connect", "PRESENCE_NATS_CREDS", credentials);
    assert!(
        line.starts_with("PRESENCE_NATS_CREDS ") && line.contains("PRESENCE_NATS_URL"),
        "{line}"
    );
}

#[tokio::test]
#[should_panic(expected = "the function ended without a response")]
async fn an_invocation_of_a_function_that_ends_at_its_start_does_not_wait() {
    let _ = Function::start("connect", &[("PRESENCE_TTL", "0s")])
        .await
        .invoke(Value::Null)
        .await;
}
