//! An outage is one line in the log when it begins, and one when it is over.

use std::time::Duration;

use presence_tests::{RedisServer, Server};
use serde_json::{Value, json};

fn lines(server: &Server, message: &str) -> Vec<Value> {
    let is_it = |line: &Value| {
        line["message"]
            .as_str()
            .is_some_and(|text| text.starts_with(message))
    };
    let log = server.log();
    log.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(is_it)
        .collect()
}

async fn connect(server: &Server) -> u16 {
    server
        .post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "c1"}),
        )
        .await
        .status
}

async fn errors(server: &Server, kind: &str) -> u64 {
    let name = format!("presence_store_errors_total{{kind=\"{kind}\"}}");
    server.metric(&name).await.unwrap_or(0)
}

#[tokio::test]
async fn refused_calls_are_one_line_with_their_cause_and_counted_each() {
    const CALLS: u64 = 20;
    let redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    assert_eq!(connect(&server).await, 200);
    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "1"]).await;
    for _ in 0..CALLS {
        let response = server
            .post(
                "/presence/heartbeat",
                json!({"player_id": "alice", "connection_id": "c1"}),
            )
            .await;
        assert_eq!(response.status, 503);
        assert!(
            response.body["detail"]
                .as_str()
                .unwrap()
                .contains("memory is full"),
            "{:?}",
            response.body
        );
    }
    let began = lines(&server, "Redis cannot be used");
    assert_eq!(began.len(), 1, "{began:?}");
    assert_eq!(
        (&began[0]["kind"], &began[0]["level"]),
        (&json!("out_of_memory"), &json!("ERROR"))
    );
    assert_eq!(
        began[0].to_string().matches("OOM").count(),
        1,
        "the cause once: {}",
        began[0]
    );
    assert_eq!(errors(&server, "out_of_memory").await, CALLS);

    let () = redis.ask(&["CONFIG", "SET", "maxmemory", "0"]).await;
    while lines(&server, "Redis can be used again").is_empty() {
        assert_eq!(connect(&server).await, 200);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(lines(&server, "Redis cannot be used").len(), 1);
}

#[tokio::test]
async fn calls_without_redis_are_one_line_for_each_kind_of_failure() {
    let mut redis = RedisServer::start().await;
    let server = Server::start(&[("PRESENCE_REDIS_URL", &redis.url())]);
    assert_eq!(connect(&server).await, 200);
    redis.kill();
    for _ in 0..20 {
        assert_eq!(connect(&server).await, 503);
    }
    let began = lines(&server, "Redis cannot be used");
    let count_of = |kind: &str| began.iter().filter(|line| line["kind"] == kind).count();
    assert_eq!(count_of("unreachable"), 1, "{began:?}");
    assert!(began.len() <= 2, "at most a time-out besides: {began:?}");
    redis.restart().await;
    assert_eq!(connect(&server).await, 200);
}
