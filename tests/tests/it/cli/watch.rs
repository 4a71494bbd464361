//! `presence watch`.

use std::process::Stdio;

use presence_tests::Server;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStderr, ChildStdout, Command},
};

use super::{Fixture, command};

pub(super) struct Watch {
    process: Child,
    out: Lines<BufReader<ChildStdout>>,
    pub(super) err: Lines<BufReader<ChildStderr>>,
}

impl Watch {
    fn start(fixture: &Fixture, arguments: &[&str]) -> Self {
        Self::spawn(command(
            &fixture.server.url(""),
            &[&["watch"], arguments].concat(),
        ))
    }

    pub(super) fn spawn(command: std::process::Command) -> Self {
        let mut command = Command::from(command);
        command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let out = BufReader::new(process.stdout.take().unwrap()).lines();
        let err = BufReader::new(process.stderr.take().unwrap()).lines();
        Self { process, out, err }
    }

    /// The next line's words, after the time.
    pub(super) async fn line(&mut self) -> String {
        let line = self.out.next_line().await.unwrap().expect("it goes on");
        line.split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

#[tokio::test]
async fn a_friend_who_comes_online_is_shown_without_waiting_for_a_sweep() {
    let fixture = Fixture::new().await;
    let mut watch = Watch::start(&fixture, &["alice", "bob"]);
    assert_eq!(
        [watch.line().await, watch.line().await],
        ["alice OFFLINE", "bob OFFLINE"]
    );
    fixture.connect("bob", "phone").await;
    assert_eq!(watch.line().await, "bob OFFLINE → ONLINE");
}

#[tokio::test]
async fn an_activity_is_shown_when_it_changes() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    let set = async |change: Value| {
        let mut body = json!({"player_id": "alice"});
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        assert_eq!(
            fixture.server.post("/presence/state", body).await.status,
            200
        );
    };
    set(json!({"activity": {"details": "Lobby"}})).await;
    let mut watch = Watch::start(&fixture, &["alice"]);
    assert_eq!(watch.line().await, "alice ONLINE: Lobby");
    let ranked =
        json!({"details": "Ranked", "party": {"id": "p7", "size": 2, "max": 4}, "joinable": true});
    set(json!({"state": "IN_MATCH", "activity": ranked})).await;
    assert_eq!(
        watch.line().await,
        "alice ONLINE → IN_MATCH: Ranked, 2/4, joinable"
    );
    set(json!({"activity": {"details": "\u{1b}[2J"}})).await;
    assert_eq!(watch.line().await, r"alice IN_MATCH: \u{1b}[2J");
    set(json!({"activity": null})).await;
    assert_eq!(watch.line().await, "alice IN_MATCH");
}

#[tokio::test]
async fn only_the_named_players_are_shown() {
    let fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    let mut watch = Watch::start(&fixture, &["alice", "--count", "2"]);
    assert_eq!(watch.line().await, "alice ONLINE");
    fixture.connect("mallory", "phone").await;
    for (state, shown) in [
        ("IN_QUEUE", "alice ONLINE → IN_QUEUE"),
        ("IN_MATCH", "alice IN_QUEUE → IN_MATCH"),
    ] {
        fixture
            .server
            .post(
                "/presence/state",
                json!({"player_id": "alice", "state": state}),
            )
            .await;
        assert_eq!(watch.line().await, shown);
    }
    assert_eq!(
        watch.process.wait().await.unwrap().code(),
        Some(0),
        "it ends after two events"
    );
}

#[tokio::test]
async fn json_is_one_object_per_line() {
    let fixture = Fixture::new().await;
    let mut watch = Watch::start(&fixture, &["alice", "--json"]);
    let mut read_next = async || -> Value {
        serde_json::from_str(&watch.out.next_line().await.unwrap().unwrap()).unwrap()
    };
    assert_eq!(
        read_next().await,
        json!({"player_id": "alice", "state": "OFFLINE", "last_seen": null, "version": null})
    );
    fixture.connect("alice", "phone").await;
    let change = read_next().await;
    let stored = fixture.server.get("/presence/alice").await.body;
    for member in ["player_id", "state", "last_seen", "version"] {
        assert_eq!(change[member], stored[member], "{member}");
    }
}

#[tokio::test]
async fn a_watch_reconnects_to_a_restarted_server_and_shows_the_changes_in_between() {
    let mut fixture = Fixture::new().await;
    fixture.connect("bob", "phone").await;
    let mut watch = Watch::start(&fixture, &["alice", "bob"]);
    assert_eq!(
        [watch.line().await, watch.line().await],
        ["alice OFFLINE", "bob ONLINE"]
    );
    let address = fixture.server.address().to_owned();
    fixture.server.kill();
    let lost = watch.err.next_line().await.unwrap().unwrap();
    assert!(lost.ends_with("trying again"), "{lost}");

    let redis = fixture.redis.url();
    let nats = fixture.nats.url();
    let variables = [
        ("PRESENCE_REDIS_URL", &*redis),
        ("PRESENCE_NATS_URL", &*nats),
    ];
    // The change goes through another server, to which the watch has no connection.
    let other = Server::start(&variables);
    other
        .post(
            "/presence/connect",
            json!({"player_id": "alice", "connection_id": "phone"}),
        )
        .await;
    fixture.server = Server::start(&[variables[0], variables[1], ("PRESENCE_BIND", &address)]);
    assert_eq!(watch.line().await, "alice OFFLINE → ONLINE");
    fixture
        .server
        .post(
            "/presence/state",
            json!({"player_id": "bob", "state": "AWAY"}),
        )
        .await;
    assert_eq!(watch.line().await, "bob ONLINE → AWAY");
}

#[tokio::test]
async fn a_closed_pipe_ends_the_watch_without_an_error() {
    let fixture = Fixture::new().await;
    let mut watch = Watch::start(&fixture, &["alice"]);
    assert_eq!(watch.line().await, "alice OFFLINE");
    drop(watch.out);
    fixture.connect("alice", "phone").await;
    assert_eq!(watch.process.wait().await.unwrap().code(), Some(0));
    assert_eq!(watch.err.next_line().await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_reports_when_changes_are_not_live_and_still_shows_them() {
    let mut fixture = Fixture::new().await;
    fixture.connect("alice", "phone").await;
    let mut watch = Watch::start(&fixture, &["alice"]);
    assert_eq!(watch.line().await, "alice ONLINE");
    fixture.nats.kill();
    let down = watch.err.next_line().await.unwrap().unwrap();
    assert!(
        down.starts_with("presence: the service has no live events"),
        "{down}"
    );
    // A watch that begins now reports it as well.
    let mut late = Watch::start(&fixture, &["alice"]);
    assert_eq!(
        (
            late.line().await,
            late.err.next_line().await.unwrap().unwrap()
        ),
        ("alice ONLINE".to_owned(), down)
    );

    fixture
        .server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "state": "IN_QUEUE"}),
        )
        .await;
    for watch in [&mut watch, &mut late] {
        assert_eq!(watch.line().await, "alice ONLINE → IN_QUEUE");
    }
    fixture.nats.restart().await;
    for watch in [&mut watch, &mut late] {
        assert_eq!(
            watch.err.next_line().await.unwrap().unwrap(),
            "presence: changes are live again"
        );
    }
}

#[tokio::test]
async fn without_names_all_players_are_shown_with_reasons_and_missing_events_are_reported() {
    let mut fixture = Fixture::new().await;
    let mut watch = Watch::start(&fixture, &[]);
    // The watch is connected once it shows a change.
    let come_and_go = async {
        for number in 0.. {
            fixture.connect("alice", &format!("phone-{number}")).await;
            fixture
                .server
                .post(
                    "/presence/state",
                    json!({"player_id": "alice", "state": "OFFLINE"}),
                )
                .await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = come_and_go => {}
        line = watch.line() => assert!(line.starts_with("alice O"), "{line}"),
    }
    fixture.nats.kill();
    let down = watch.err.next_line().await.unwrap().unwrap();
    assert_eq!(
        down,
        "presence: no live events: the service's NATS is down; changes are shown when it is back"
    );
    fixture.nats.restart().await;
    assert_eq!(
        watch.err.next_line().await.unwrap().unwrap(),
        "presence: events are live again"
    );
    fixture.connect("bob", "phone").await;
    let mut shown = watch.line().await;
    while shown != "bob OFFLINE → ONLINE connect" {
        shown = watch.line().await;
    }
}
