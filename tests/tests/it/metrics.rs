//! Metrics: for Prometheus from the server, for CloudWatch from the functions.

use std::{collections::BTreeMap, process::Stdio, time::Duration};

use presence_tests::{NatsServer, RedisServer, RuntimeApi, Server, command, event};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};

fn one(player: &str, connection: &str) -> Value {
    json!({"player_id": player, "connection_id": connection})
}

#[tokio::test]
async fn metrics_count_calls_by_route_and_status() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    server.post("/presence/connect", one("alice", "c1")).await;
    server.get("/presence/alice").await;
    let text = server.metrics().await;
    assert!(
        text.contains(r#"presence_calls_total{call="/presence/connect",status="200"} 1"#),
        "{text}"
    );
    assert!(
        text.contains(r#"presence_calls_total{call="/presence/{player_id}",status="200"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"presence_build_info{version=""#), "{text}");
    assert!(text.contains("\nprocess_start_time_seconds 1"), "{text}");
    assert!(!text.contains("alice"));
}

#[tokio::test]
async fn operators_see_how_many_players_there_are() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    server
        .post("/presence/connect", one("alice", "phone"))
        .await;
    server
        .post("/presence/connect", one("alice", "desktop"))
        .await;
    server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "state": "IN_MATCH"}),
        )
        .await;
    server.get("/presence").await; // as each read of it does, also the one every ten seconds
    let text = server.metrics().await;
    for line in [
        r#"presence_players{state="IN_MATCH"} 1"#,
        r#"presence_players{state="ONLINE"} 0"#,
        "presence_connections 2",
    ] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
}

#[tokio::test]
async fn callers_cannot_make_series() {
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    let count_series = |text: &str| {
        text.lines()
            .filter(|line| line.starts_with("presence_call"))
            .count()
    };
    let client = reqwest::Client::new();
    let round = async |round: usize| {
        for (method, path) in [
            ("GET", "presence/p"),
            ("PURGE", "presence/p"),
            ("GET", "nothing"),
            ("X", "presence/connect/"),
        ] {
            for n in 0..10 {
                let url = server.url(&format!("/{path}{round}-{n}?history=true"));
                client
                    .request(method.parse().unwrap(), url)
                    .header("traceparent", n)
                    .send()
                    .await
                    .unwrap();
            }
        }
        count_series(&server.metrics().await)
    };
    round(1).await; // the first read of the metrics is a call, too
    let second = round(2).await;
    assert_eq!(round(3).await, second);
}

#[tokio::test]
async fn a_call_that_redis_failed_is_counted_by_its_kind() {
    let mut redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    redis.kill();
    assert_eq!(server.get("/presence/alice").await.status, 503);
    let text = server.metrics().await;
    assert!(
        text.contains(r#"presence_store_errors_total{kind="unreachable"} 1"#),
        "{text}"
    );
}

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html>
#[tokio::test]
async fn a_function_writes_the_same_metrics_for_cloudwatch() {
    let redis = RedisServer::start().await;
    let nats = NatsServer::start().await;
    let api = RuntimeApi::start().await;
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("PRESENCE_NATS_URL", &*nats.url()),
    ];
    let mut command_with_pipes =
        tokio::process::Command::from(command("health", api.address(), &variables));
    let mut health = command_with_pipes
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(health.stdout.take().unwrap()).lines();
    let schedule = json!({"source": "aws.events", "detail-type": "Scheduled Event", "detail": {}});
    api.invoke(schedule, Duration::from_secs(10)).await.unwrap();

    let mut found = BTreeMap::new();
    while [
        "presence_redis_up",
        "presence_outbox_age_seconds",
        "presence_players",
    ]
    .iter()
    .any(|name| !found.contains_key(*name))
    {
        let line: Value = serde_json::from_str(&lines.next_line().await.unwrap().unwrap()).unwrap();
        let directive = &line["_aws"]["CloudWatchMetrics"][0];
        assert_eq!(directive["Namespace"], "Presence");
        for metric in directive["Metrics"].as_array().unwrap() {
            let name = metric["Name"].as_str().unwrap();
            found.insert(
                name.to_owned(),
                (
                    metric["Unit"].clone(),
                    line[name].clone(),
                    directive["Dimensions"].clone(),
                ),
            );
        }
    }
    let function = json!([["function"]]);
    assert_eq!(
        found["presence_redis_up"],
        (json!("Count"), json!(1.0), function.clone())
    );
    assert_eq!(
        found["presence_outbox_age_seconds"],
        (json!("Seconds"), json!(0.0), function)
    );
    assert_eq!(found["presence_players"].2, json!([["function", "state"]]));
}

/// The estimate of the costs in AWS (`scripts/aws-cost`) counts these bytes.
#[tokio::test]
async fn a_call_of_a_function_logs_as_much_as_the_cost_estimate_says() {
    let text = include_str!("../../../scripts/aws-cost")
        .split_once("Log per call, measured: ")
        .unwrap()
        .1;
    let estimate: usize = text.split_once(' ').unwrap().0.parse().unwrap();
    let redis = RedisServer::start().await;
    let api = RuntimeApi::start().await;
    let name = "presence-HeartbeatFunction-0A1B2C3D4E5F"; // as long as CloudFormation makes it
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis.url()),
        ("AWS_LAMBDA_FUNCTION_NAME", name),
    ];
    let mut heartbeat =
        tokio::process::Command::from(command("heartbeat", api.address(), &variables));
    let mut heartbeat = heartbeat
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(heartbeat.stdout.take().unwrap()).lines();
    let event = event::post(
        "/presence/heartbeat",
        &json!({"player_id": "alice", "connection_id": "c1"}),
    );
    // The first call also reports the connections that it opened.
    for call in [1, 2] {
        api.invoke(event.clone(), Duration::from_secs(10))
            .await
            .unwrap();
        let mut bytes = 0;
        let mut missing = vec!["presence_calls_total", "presence_call_duration_seconds"];
        while !missing.is_empty() {
            let line = lines.next_line().await.unwrap().unwrap();
            bytes += line.len() + 1;
            missing.retain(|name| !line.contains(name));
        }
        assert!(
            call == 1 || bytes.abs_diff(estimate) <= estimate / 10,
            "{bytes} bytes, and not {estimate}"
        );
    }
}
