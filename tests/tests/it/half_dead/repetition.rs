//! Repetition after a lost socket: the commands that are sent again, and those that are not.

use presence_tests::{MovingEndpoint, RedisServer, Server};
use serde_json::{Value, json};

struct Fixture {
    redis: RedisServer,
    endpoint: MovingEndpoint,
    server: Server,
}

impl Fixture {
    async fn start() -> Self {
        let redis = RedisServer::start().await;
        let endpoint = MovingEndpoint::start(redis.port()).await;
        let url = endpoint.url();
        // Two workers at most share the machine; the time limit is not what is tested.
        let server = Server::start(&[
            ("PRESENCE_REDIS_URL", &url),
            ("PRESENCE_STORE_TIMEOUT", "5s"),
        ]);
        Self {
            redis,
            endpoint,
            server,
        }
    }

    /// Posts a call whose response is lost with its connection; the status, and how often a script
    /// was called for it.
    async fn lose_reply(&self, path: &str, text: &str, body: Value) -> (u16, u64) {
        let before = self.script_calls().await;
        self.endpoint.cut_before_reply_to(text);
        let status = self.server.post(path, body).await.status;
        assert!(!self.endpoint.is_cut_due(), "{path} was sent");
        (status, self.script_calls().await - before)
    }

    async fn script_calls(&self) -> u64 {
        let stats: String = self.redis.ask(&["INFO", "commandstats"]).await;
        let calls = stats
            .lines()
            .find_map(|line| line.strip_prefix("cmdstat_evalsha:calls="));
        calls.map_or(0, |rest| rest.split(',').next().unwrap().parse().unwrap())
    }

    /// Has all scripts loaded, so that each call is one call of a script.
    async fn warm_up(&self) {
        let one = json!({"player_id": "zoe", "connection_id": "z"});
        for (path, body) in [
            ("/presence/connect", one.clone()),
            ("/presence/heartbeat", one.clone()),
            (
                "/presence/state",
                json!({"player_id": "zoe", "state": "AWAY"}),
            ),
            ("/presence/disconnect", one),
        ] {
            assert_eq!(self.server.post(path, body).await.status, 200, "{path}");
        }
    }
}

fn alice() -> Value {
    json!({"player_id": "alice", "connection_id": "c1"})
}

#[tokio::test]
async fn a_state_whose_response_was_lost_is_not_set_again() {
    let fixture = Fixture::start().await;
    fixture.warm_up().await;
    assert_eq!(
        fixture
            .server
            .post("/presence/connect", alice())
            .await
            .status,
        200
    );
    for state in ["IN_MATCH", "OFFLINE"] {
        let body = json!({"player_id": "alice", "state": state});
        assert_eq!(
            fixture.lose_reply("/presence/state", state, body).await,
            (503, 1),
            "{state}"
        );
        assert_eq!(
            fixture.server.get("/presence/alice").await.body["state"],
            state,
            "it was carried out"
        );
    }
    // The next state, whose connection is a new one, is set.
    let away = fixture
        .server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "state": "AWAY"}),
        )
        .await;
    assert_eq!((away.status, &away.body["state"]), (200, &json!("AWAY")));
}

#[tokio::test]
async fn what_may_be_repeated_is_sent_again() {
    let fixture = Fixture::start().await;
    fixture.warm_up().await;
    for call in ["connect", "heartbeat", "disconnect"] {
        let path = format!("/presence/{call}");
        assert_eq!(
            fixture.lose_reply(&path, "alice", alice()).await,
            (200, 2),
            "{call}"
        );
        let batch = json!({"connections": [{"player_id": "bob", "connection_id": "c1"}]});
        assert_eq!(
            fixture.lose_reply(&path, "bob", batch).await,
            (200, 2),
            "{call} of a batch"
        );
    }
    fixture.endpoint.cut_before_reply_to("presence:alice");
    assert_eq!(fixture.server.get("/presence/alice").await.status, 200);
    fixture.endpoint.cut_before_reply_to("presence:bob");
    let friends = json!({"player_ids": ["alice", "bob"]});
    assert_eq!(
        fixture
            .server
            .post("/presence/friends", friends)
            .await
            .status,
        200
    );
    assert!(!fixture.endpoint.is_cut_due());
}

#[tokio::test]
async fn a_state_that_was_certainly_not_set_is_set_on_the_new_primary() {
    let mut pair = super::Pair::start().await;
    super::play(&pair.old, presence::model::State::Online).await;
    let url = pair.endpoint.url();
    let server = Server::start(&[
        ("PRESENCE_REDIS_URL", &url),
        ("PRESENCE_STORE_TIMEOUT", "5s"),
    ]);
    let set = async |state: &str| {
        let response = server
            .post(
                "/presence/state",
                json!({"player_id": "alice", "state": state}),
            )
            .await;
        (response.status, response.body["state"].clone())
    };
    for _ in 0..4 {
        assert_eq!(set("IN_QUEUE").await, (200, json!("IN_QUEUE"))); // each worker has its connection
    }
    pair.suffer(super::Fault::Demoted).await;
    // READONLY: the command was not carried out, and is sent to the node that the endpoint leads to
    // now.
    for _ in 0..4 {
        assert_eq!(set("IN_MATCH").await, (200, json!("IN_MATCH")));
    }
}
