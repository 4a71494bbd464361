//! `PRESENCE_SECRETS`: variables from Systems Manager's parameters and from Secrets Manager.

use presence_tests::{Function, Moto, OtlpReceiver, RedisServer, Server, command, event};
use serde_json::{Value, json};

/// What AWS Lambda sets, and where AWS is.
fn environment<'a>(endpoint: &'a str, source: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI"),
        ("AWS_SESSION_TOKEN", "FwoGZXIvYXdz"),
        ("AWS_ENDPOINT_URL", endpoint),
        ("PRESENCE_SECRETS", source),
    ]
}

async fn connect(variables: &[(&str, &str)]) -> Value {
    let body = json!({"player_id": "alice", "connection_id": "c1"});
    let response = Function::start("connect", variables)
        .await
        .invoke(event::post("/presence/connect", &body))
        .await;
    serde_json::from_str(response.unwrap()["body"].as_str().unwrap()).unwrap()
}

/// Starts a function, which must stop at once. Returns the line that it prints.
fn complaint(variables: &[(&str, &str)]) -> String {
    let output = command("connect", "127.0.0.1:9", variables)
        .output()
        .unwrap();
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), line.lines().count()),
        (Some(2), 1),
        "{line}"
    );
    assert!(output.stdout.is_empty());
    line
}

#[tokio::test]
async fn parameters_fill_variables_that_are_unset() {
    let redis = RedisServer::start().await;
    let moto = Moto::start().await;
    for n in 0..12 {
        moto.put_parameter(
            &format!("/presence/prod/UNUSED_{n}"),
            "more than one page holds",
        )
        .await;
    }
    moto.put_parameter("/presence/prod/PRESENCE_REDIS_URL", &redis.url())
        .await;
    moto.put_parameter("/presence/prod/PRESENCE_TTL", "9s")
        .await;
    moto.put_parameter("/presence/prod/PRESENCE_HEARTBEAT_INTERVAL", "3s")
        .await;
    moto.put_parameter("/presence/prod/deeper/PRESENCE_KEY_PREFIX", "deeper:")
        .await;
    let mut variables = environment(moto.url(), "ssm:/presence/prod/");
    variables.extend([
        ("PRESENCE_HEARTBEAT_INTERVAL", "2s"),
        ("PRESENCE_REDIS_URL", ""),
    ]);
    let connected = connect(&variables).await;
    assert_eq!(
        (&connected["ttl_ms"], &connected["heartbeat_interval_ms"]),
        (&json!(9_000), &json!(2_000))
    );
    assert!(
        redis.keys().await.contains(&"presence:alice".to_owned()),
        "what lies deeper is not ours"
    );
}

#[tokio::test]
async fn a_secret_fills_variables_that_are_unset() {
    let redis = RedisServer::start().await;
    let moto = Moto::start().await;
    let secret = json!({"PRESENCE_REDIS_URL": redis.url(), "PRESENCE_TTL": "9s"}).to_string();
    moto.put_secret("presence/prod", &secret).await;
    assert_eq!(
        connect(&environment(moto.url(), "secretsmanager:presence/prod")).await["ttl_ms"],
        9_000
    );
}

#[tokio::test]
async fn the_server_takes_its_tokens_from_a_secret() {
    let redis = RedisServer::start().await;
    let moto = Moto::start().await;
    moto.put_secret("presence/prod", r#"{"PRESENCE_AUTH_TOKENS":"swordfish"}"#)
        .await;
    let url = redis.url();
    let mut variables = environment(moto.url(), "secretsmanager:presence/prod");
    variables.push(("PRESENCE_REDIS_URL", &url));
    let server = Server::start(&variables);
    let ask = |token: &str| {
        reqwest::Client::new()
            .get(server.url("/presence/alice"))
            .bearer_auth(token)
            .send()
    };
    assert_eq!(ask("swordfish").await.unwrap().status(), 200);
    assert_eq!(ask("guess").await.unwrap().status(), 401);
}

/// An API key is just what a secret is for, and OpenTelemetry's SDK would look for it in the
/// process's environment alone.
#[tokio::test]
async fn a_secret_configures_traces() {
    let redis = RedisServer::start().await;
    let moto = Moto::start().await;
    let receiver = OtlpReceiver::start().await;
    let secret = json!({
        "OTEL_EXPORTER_OTLP_HEADERS": "api-key=hunter%2C2",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=eu%20west,service.version=blue",
        "OTEL_SERVICE_NAME": "presence-eu",
        "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "0",
    });
    moto.put_secret("presence/prod", &secret.to_string()).await;
    let redis = redis.url();
    let endpoint = receiver.url();
    let mut variables = environment(moto.url(), "secretsmanager:presence/prod");
    variables.extend([
        ("PRESENCE_REDIS_URL", &*redis),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
    ]);
    let function = Function::start("connect", &variables).await;
    let body = json!({"player_id": "alice", "connection_id": "c1"});
    function
        .invoke(event::post("/presence/connect", &body))
        .await
        .unwrap();
    let span = receiver.await_span("connect").await;
    assert_eq!(receiver.headers()["api-key"], "hunter,2");
    let of_program = [
        "deployment.environment.name",
        "service.version",
        "service.name",
    ]
    .map(|name| &*span.resource[name]);
    assert_eq!(of_program, ["eu west", "blue", "presence-eu"]);
    assert!(span.attributes.is_empty(), "{:?}", span.attributes);
}

#[tokio::test]
async fn a_wrong_or_missing_secret_stops_the_program_with_one_line_that_says_why() {
    let moto = Moto::start().await;
    // moto loads each service at its first call. On a busy machine that takes longer than a program
    // waits for AWS.
    moto.put_parameter("/elsewhere/PRESENCE_REDIS_URL", "redis://127.0.0.1")
        .await;
    moto.put_secret("text", "hunter2").await;
    moto.put_secret("numbers", r#"{"PRESENCE_MAX_BATCH":7}"#)
        .await;
    moto.put_secret(
        "bad-value",
        r#"{"PRESENCE_REDIS_URL":"http://user:hunter2@127.0.0.1"}"#,
    )
    .await;
    for (source, expected) in [
        (
            "ssm:/nowhere",
            "PRESENCE_SECRETS: there are no parameters right below ssm:/nowhere",
        ),
        (
            "secretsmanager:nowhere",
            "PRESENCE_SECRETS: secretsmanager:nowhere cannot be read: ResourceNotFoundException",
        ),
        (
            "secretsmanager:text",
            "PRESENCE_SECRETS: secretsmanager:text must be a JSON object",
        ),
        (
            "secretsmanager:numbers",
            "PRESENCE_SECRETS: secretsmanager:numbers must be a JSON object",
        ),
        ("secretsmanager:bad-value", "PRESENCE_REDIS_URL accepts"),
        ("presence/prod", "PRESENCE_SECRETS accepts ssm:/"),
    ] {
        let line = complaint(&environment(moto.url(), source));
        assert!(
            line.starts_with(expected) && !line.contains("hunter2"),
            "{source}: {line}"
        );
    }
}

#[test]
fn without_a_region_credentials_or_a_response_the_program_stops_with_one_line_that_says_why() {
    let mut all = environment("http://127.0.0.1:9", "ssm:/presence/prod");
    all.push(("AWS_EC2_METADATA_DISABLED", "true"));
    let without = |name: &str| -> Vec<_> {
        all.iter()
            .copied()
            .filter(|(other, _)| *other != name)
            .collect()
    };
    for (variables, expected) in [
        (without("AWS_REGION"), "PRESENCE_SECRETS needs AWS_REGION"),
        (
            without("AWS_SECRET_ACCESS_KEY"),
            "there are no AWS credentials",
        ),
        (all.clone(), "http://127.0.0.1:9 cannot be reached"),
    ] {
        let line = complaint(&variables);
        assert!(
            line.starts_with("PRESENCE_SECRETS") && line.contains(expected),
            "{line}"
        );
    }
}
