//! The picture of the console in the documentation.

use std::{fs, ops::Range};

use data_encoding::BASE64;
use presence_tests::Browser;
use serde_json::{Value, json};

use super::{Fixture, one};

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/console.png");
const GATEWAYS: [&str; 3] = ["eu-1-5c1f", "eu-2-90be", "us-1-17ad"];
const PLAYERS: usize = 240;

#[tokio::test]
#[ignore = "it writes docs/console.png: make console-picture"]
async fn console_picture() {
    // Gateways do not send heartbeats here: their leases outlive the test.
    let test = Fixture::new(&[("PRESENCE_TTL", "10m"), ("PRESENCE_GATEWAY_TTL", "10m")]).await;
    let mut browser = Browser::start().await;
    let size = json!({"width": 1280, "height": 1240, "deviceScaleFactor": 1, "mobile": false});
    browser
        .call("Emulation.setDeviceMetricsOverride", size)
        .await;
    let dark = json!({"features": [{"name": "prefers-color-scheme", "value": "dark"}]});
    browser.call("Emulation.setEmulatedMedia", dark).await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;

    play(&test, &mut browser).await;
    browser.enter("#player-id", &player(0)).await;
    browser.until_shown("#explanation", "Connections (2)").await;
    browser.until_shown("#explanation", "Ranked").await;
    browser
        .until("!document.querySelector('#explanation').innerText.includes('this page was opened')")
        .await;
    browser.until_shown("#gateways-note", "3 live").await;

    let encoded = browser
        .call("Page.captureScreenshot", json!({"format": "png"}))
        .await;
    let image = BASE64
        .decode(encoded["data"].as_str().unwrap().as_bytes())
        .unwrap();
    fs::write(PICTURE, image).unwrap();
    browser.assert_no_complaints();
}

/// Players come online, queue, play and leave their keyboards; a gateway crashes, and its players
/// return.
async fn play(test: &Fixture, browser: &mut Browser) {
    for gateway in GATEWAYS {
        send(test, "gateway", json!({"gateway_id": gateway})).await;
    }
    for arrived in (0..PLAYERS).step_by(60) {
        for gateway in 0..GATEWAYS.len() {
            connect(test, gateway, "phone", arrived..arrived + 60).await;
        }
        counted(browser, "ONLINE", arrived + 60).await;
    }
    send(
        test,
        "connect",
        json!({"gateway_id": GATEWAYS[1], "connections": [one(&player(0), "desktop-1")]}),
    )
    .await;
    set_state(test, 0..90, "IN_QUEUE").await;
    counted(browser, "IN_QUEUE", 90).await;
    set_state(test, 0..60, "IN_MATCH").await;
    counted(browser, "IN_MATCH", 60).await;
    set_state(test, 210..PLAYERS, "AWAY").await;
    counted(browser, "AWAY", 30).await;

    send(
        test,
        "gateway",
        json!({"gateway_id": GATEWAYS[2], "leaving": "lost"}),
    )
    .await;
    counted(browser, "AWAY", 20).await;
    send(test, "gateway", json!({"gateway_id": GATEWAYS[2]})).await;
    connect(test, 2, "phone-2", 0..PLAYERS).await;
    counted(browser, "ONLINE", 160).await;
    let activity =
        json!({"details": "Ranked", "party": {"id": "p7", "size": 2, "max": 4}, "joinable": true});
    send(
        test,
        "state",
        json!({"player_id": player(0), "activity": activity}),
    )
    .await;
    set_state(test, 100..104, "IN_QUEUE").await;
    set_state(test, 104..108, "AWAY").await;
    counted(browser, "AWAY", 24).await;
}

/// Connects those of the players who belong to a gateway.
async fn connect(test: &Fixture, gateway: usize, device: &str, players: Range<usize>) {
    let its_players = players.filter(|n| n % GATEWAYS.len() == gateway);
    let connections: Vec<_> = its_players
        .map(|n| one(&player(n), &format!("{device}-{n}")))
        .collect();
    send(
        test,
        "connect",
        json!({"gateway_id": GATEWAYS[gateway], "connections": connections}),
    )
    .await;
}

async fn set_state(test: &Fixture, players: Range<usize>, state: &str) {
    for n in players {
        send(
            test,
            "state",
            json!({"player_id": player(n), "state": state}),
        )
        .await;
    }
}

async fn send(test: &Fixture, call: &str, body: Value) {
    let response = test.server.post(&format!("/presence/{call}"), body).await;
    assert_eq!(response.status, 200, "{call}: {}", response.body);
}

/// Waits until the page, and so its chart, shows that many players in a state.
async fn counted(browser: &mut Browser, state: &str, players: usize) {
    browser
        .until(&format!(
            "document.querySelector('#counts .{state} dd').innerText === '{players}'"
        ))
        .await;
}

fn player(n: usize) -> String {
    format!("player-{n:03}")
}
