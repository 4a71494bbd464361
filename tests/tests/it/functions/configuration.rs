//! Values that cannot be used: the program says so in one line, and stops.

use presence_tests::command;

/// A bad value for each variable that a function reads.
const BAD_VALUES: [(&str, &str); 29] = [
    ("PRESENCE_REDIS_URL", "http://user:hunter2@127.0.0.1"),
    ("PRESENCE_REDIS_URL", "127.0.0.1:6379"),
    ("PRESENCE_REDIS_URL", "redis://a,redis://b"),
    ("PRESENCE_REDIS_MODE", "sentinel"),
    ("PRESENCE_REDIS_MODE", "Cluster"),
    ("PRESENCE_REDIS_AUTH", "password"),
    ("PRESENCE_SECRETS", "vault:/presence"),
    ("PRESENCE_KEY_PREFIX", "{presence}:"),
    ("PRESENCE_NATS_URL", "127.0.0.1:4222"),
    ("PRESENCE_NATS_URL", "http://127.0.0.1:4222"),
    ("PRESENCE_EVENTS_SUBJECT", "events.>"),
    ("PRESENCE_EVENTS_STREAM", "a.b"),
    ("PRESENCE_EVENTS_RETENTION", "0s"),
    ("PRESENCE_TTL", "0s"),
    ("PRESENCE_TTL", "45"),
    ("PRESENCE_TTL", "-45s"),
    ("PRESENCE_TTL", "soon"),
    ("PRESENCE_HEARTBEAT_INTERVAL", "45s"),
    ("PRESENCE_HEARTBEAT_INTERVAL", "0s"),
    ("PRESENCE_OFFLINE_GRACE", "46s"),
    ("PRESENCE_OFFLINE_GRACE", "none"),
    ("PRESENCE_LAST_SEEN_RETENTION", "0d"),
    ("PRESENCE_SWEEP_INTERVAL", "0ms"),
    ("PRESENCE_MAX_BATCH", "0"),
    ("PRESENCE_MAX_BATCH", "many"),
    ("PRESENCE_MAX_CONNECTIONS", "-1"),
    ("PRESENCE_STORE_TIMEOUT", "0ms"),
    ("PRESENCE_LOG_FORMAT", "xml"),
    ("RUST_LOG", "presence=loud"),
];

const FUNCTIONS: [&str; 6] = ["connect", "heartbeat", "disconnect", "set-state", "get-state", "friends"];

/// Starts a function, which must stop at once. Returns the line that it prints.
fn complaint(function: &str, variable: &str, value: &str) -> String {
    let output = command(function, "127.0.0.1:9", &[(variable, value)]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{function} {variable}={value}: {stderr}");
    assert_eq!(stderr.lines().count(), 1, "{function} {variable}={value}: {stderr}");
    assert!(output.stdout.is_empty(), "{function} {variable}={value}");
    stderr
}

#[test]
fn a_bad_value_stops_a_function_with_one_line_that_names_the_variable() {
    for (variable, value) in BAD_VALUES {
        let line = complaint("connect", variable, value);
        assert!(line.contains(variable), "{variable}={value}: {line}");
        assert!(line.trim().len() > variable.len() + 10, "it says what is accepted: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[test]
fn every_function_stops_for_a_bad_value() {
    for function in FUNCTIONS {
        assert!(complaint(function, "PRESENCE_TTL", "0s").contains("PRESENCE_TTL"), "{function}");
    }
}
