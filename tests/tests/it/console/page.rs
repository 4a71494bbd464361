//! The page, in headless Chromium.

use presence_tests::{Browser, answer};
use serde_json::json;

use super::{World, one};

#[tokio::test]
async fn the_page_shows_a_player_going_online_and_offline() {
    let world = World::new(&[]).await;
    let mut browser = Browser::start().await;
    browser.open(&world.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;
    browser.until_shown("#health", "all is well").await;
    browser.until_shown("#counts .ONLINE dd", "0").await;

    world.connect("alice", "c1").await;
    browser.until_shown("#events tr:first-child", "alice").await;
    let change = browser.evaluate("document.querySelector('#events tr td:nth-child(3)').innerText").await;
    assert_eq!(change, "OFFLINE→ONLINE");
    browser.until_shown("#counts .ONLINE dd", "1").await;
    browser.until("document.querySelector('#chart .area.ONLINE')").await;
    browser.until("document.querySelector('#chart').getAttribute('aria-label').includes('now 1 ONLINE')").await;

    world.server.post("/presence/disconnect", one("alice", "c1")).await;
    browser.until_shown("#events tr:first-child td:nth-child(3)", "ONLINE→OFFLINE").await;
    browser.until_shown("#events tr:first-child td:nth-child(4)", "disconnect").await;
    browser.until_shown("#counts .ONLINE dd", "0").await;
    assert_eq!(browser.evaluate("document.querySelectorAll('#events tr').length").await, 2);
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn the_page_asks_for_the_token_and_shows_nothing_before() {
    let world = World::new(&[("PRESENCE_AUTH_TOKENS", "secret")]).await;
    let connect = reqwest::Client::new().post(world.server.url("/presence/connect")).json(&one("alice", "c1"));
    assert_eq!(answer(connect.bearer_auth("secret")).await.status, 200);

    let mut browser = Browser::start().await;
    browser.open(&world.server.url("/console#player=alice")).await;
    browser.until("document.querySelector('#token-dialog[open]')").await;
    browser.enter("#token", "wrong").await;
    browser.until_shown("#token-error", "does not know this token").await;
    assert_eq!(browser.evaluate("document.querySelector('#counts .ONLINE dd').innerText").await, "–");
    assert_eq!(browser.evaluate("document.querySelector('#explanation').innerText.includes('ONLINE')").await, false);

    browser.enter("#token", "secret").await;
    browser.until_shown("#counts .ONLINE dd", "1").await;
    browser.until_shown("#events-state", "live").await;
    browser.until_shown("#explanation", "ONLINE").await;
    assert_eq!(browser.evaluate("document.querySelector('#token-dialog').open").await, false);
    assert_eq!(browser.evaluate("JSON.stringify(sessionStorage)").await, r#"{"presence-token":"secret"}"#);
    assert_eq!(browser.evaluate("localStorage.length + document.cookie.length").await, 0);

    browser.evaluate("document.querySelector('#forget').click()").await;
    browser.until("document.querySelector('#token-dialog[open]')").await;
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}

#[tokio::test]
async fn searching_explains_a_player() {
    let world = World::new(&[]).await;
    world.connect("alice|1", "phone").await;
    world.connect("alice|1", "desktop/2").await;
    world.server.post("/presence/state", json!({"player_id": "alice|1", "state": "IN_QUEUE"})).await;

    let mut browser = Browser::start().await;
    browser.open(&world.server.url("/console")).await;
    browser.enter("#player-id", "alice|1").await;
    for text in ["IN_QUEUE", "Connections (2)", "phone", "desktop/2", "Unless a connection beats", "Last transition"] {
        browser.until_shown("#explanation", text).await;
    }
    browser.enter("#player-id", "nobody").await; // behind what stands there
    browser.until_shown("#explanation", "Nothing is known of this player").await;
    browser.evaluate("document.querySelector('#player-id').value = ''").await;
    browser.enter("#player-id", "no such id").await;
    browser.until_shown("#explanation", "an id has 1 to 128 characters").await;

    // A player who is chosen among the events is explained, and kept fresh.
    browser.until_shown("#events-state", "live").await;
    world.connect("bob", "c1").await;
    browser.until_shown("#events", "bob").await;
    browser.evaluate("document.querySelector('#events button').click()").await;
    browser.until_shown("#explanation", "Connections (1)").await;
    browser.until_shown("#explanation", "the player connected").await;
    world.server.post("/presence/disconnect", one("bob", "c1")).await;
    browser.until_shown("#explanation", "the player left").await;
    assert!(browser.complaints().is_empty(), "{:?}", browser.complaints());
}
