//! The console's page, in headless Chromium.

use presence_tests::{Browser, send};
use serde_json::json;

use super::{Fixture, one};

#[tokio::test]
async fn the_page_shows_a_player_going_online_and_offline() {
    let test = Fixture::new(&[]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;
    browser.until_shown("#health", "healthy").await;
    browser.until_shown("#counts .ONLINE dd", "0").await;

    test.connect("alice", "c1").await;
    browser.until_shown("#events tr:first-child", "alice").await;
    let change = browser
        .evaluate("document.querySelector('#events tr td:nth-child(3)').innerText")
        .await;
    assert_eq!(change, "OFFLINE→ONLINE");
    browser.until_shown("#counts .ONLINE dd", "1").await;
    browser
        .until("document.querySelector('#chart .area.ONLINE')")
        .await;
    browser
        .until(
            "document.querySelector('#chart').getAttribute('aria-label').includes('now 1 ONLINE')",
        )
        .await;

    test.server
        .post("/presence/disconnect", one("alice", "c1"))
        .await;
    browser
        .until_shown("#events tr:first-child td:nth-child(3)", "ONLINE→OFFLINE")
        .await;
    browser
        .until_shown("#events tr:first-child td:nth-child(4)", "disconnect")
        .await;
    browser.until_shown("#counts .ONLINE dd", "0").await;
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('#events tr').length")
            .await,
        2
    );
    browser.assert_no_complaints();
}

#[tokio::test]
async fn the_page_shows_gateways_with_their_connections_and_those_that_are_lost_held_and_leaving() {
    let test = Fixture::new(&[("PRESENCE_GATEWAY_TTL", "1h")]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser
        .until_shown("#gateways-note", "no gateway holds a lease")
        .await;
    for id in ["gw-1", "gw-2"] {
        assert_eq!(
            test.server
                .post("/presence/gateway", json!({"gateway_id": id}))
                .await
                .status,
            200
        );
    }
    let batch =
        json!({"gateway_id": "gw-1", "connections": [one("alice", "c1"), one("bob", "c2")]});
    assert_eq!(
        test.server.post("/presence/connect", batch).await.status,
        200
    );
    browser.until_shown("#gateways-note", "2 live").await;
    browser
        .until_shown("#gateways tr:first-child td:nth-child(2)", "2")
        .await;
    browser
        .until_shown("#gateways tr:first-child td:nth-child(3)", " s")
        .await;
    browser.until_shown("#gateways tr:last-child", "gw-2").await;

    // The entries that sweeps make while they work, with times that keep them for the whole test.
    let now = test.redis.now().await;
    let end = (now + 3_600_000).to_string();
    let leaving = format!("gw-3!{now}!lost!30000");
    let lost = format!("gw-4!{end}!lost!0");
    for member in [&leaving, &lost] {
        let () = test
            .redis
            .ask(&["ZADD", "presence:{all}:gateways-ending", &end, member])
            .await;
    }
    browser
        .until_shown("#gateways tr:nth-child(3) td:nth-child(4)", "leaving")
        .await;
    browser
        .until_shown("#gateways tr:nth-child(4) td:nth-child(4)", "lost")
        .await;
    let () = test
        .redis
        .ask(&["HSET", "presence:{all}:gateways-seen", "held_until", &end])
        .await;
    let () = test
        .redis
        .ask(&["ZADD", "presence:{all}:gateways", "1", "gw-2"])
        .await;
    browser
        .until_shown("#gateways tr:nth-child(2) td:nth-child(4)", "held")
        .await;
    browser
        .until_shown("#gateways-note", "1 live, 1 held, 1 leaving, 1 lost")
        .await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn the_page_asks_for_the_token_and_shows_nothing_before() {
    let test = Fixture::new(&[("PRESENCE_AUTH_TOKENS", "secret")]).await;
    let connect = reqwest::Client::new()
        .post(test.server.url("/presence/connect"))
        .json(&one("alice", "c1"));
    assert_eq!(send(connect.bearer_auth("secret")).await.status, 200);

    let mut browser = Browser::start().await;
    browser
        .open(&test.server.url("/console#player=alice"))
        .await;
    browser
        .until("document.querySelector('#token-dialog[open]')")
        .await;
    browser.enter("#token", "wrong").await;
    browser
        .until_shown("#token-error", "does not accept this token")
        .await;
    assert_eq!(
        browser
            .evaluate("document.querySelector('#counts .ONLINE dd').innerText")
            .await,
        "–"
    );
    assert_eq!(
        browser
            .evaluate("document.querySelector('#explanation').innerText.includes('ONLINE')")
            .await,
        false
    );

    browser.enter("#token", "secret").await;
    browser.until_shown("#counts .ONLINE dd", "1").await;
    browser.until_shown("#events-state", "live").await;
    browser.until_shown("#explanation", "ONLINE").await;
    assert_eq!(
        browser
            .evaluate("document.querySelector('#token-dialog').open")
            .await,
        false
    );
    assert_eq!(
        browser.evaluate("JSON.stringify(sessionStorage)").await,
        r#"{"presence-token":"secret"}"#
    );
    assert_eq!(
        browser
            .evaluate("localStorage.length + document.cookie.length")
            .await,
        0
    );

    browser
        .evaluate("document.querySelector('#forget').click()")
        .await;
    browser
        .until("document.querySelector('#token-dialog[open]')")
        .await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn searching_explains_a_player() {
    let test = Fixture::new(&[]).await;
    test.connect("alice|1", "phone").await;
    test.connect("alice|1", "desktop/2").await;
    test.server
        .post(
            "/presence/state",
            json!({"player_id": "alice|1", "state": "IN_QUEUE"}),
        )
        .await;

    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.enter("#player-id", "alice|1").await;
    for text in [
        "IN_QUEUE",
        "Connections (2)",
        "phone",
        "desktop/2",
        "Unless a heartbeat arrives",
        "Last transition",
    ] {
        browser.until_shown("#explanation", text).await;
    }
    browser.until_shown("#events-state", "live").await;
    // An activity is shown as text, even if it contains HTML.
    let activity = json!({
        "details": "<img src=x onerror=alert(1)><b>Ranked</b>",
        "party": {"id": "p7", "size": 2, "max": 4},
        "joinable": true,
        "custom": {"map": "<script>"},
    });
    let set = json!({"player_id": "alice|1", "activity": activity});
    assert_eq!(test.server.post("/presence/state", set).await.status, 200);
    let summary =
        r#"<img src=x onerror=alert(1)><b>Ranked</b>, 2/4 in p7, joinable, {"map":"<script>"}"#;
    browser.until_shown("#explanation", summary).await;
    browser
        .until_shown("#explanation", "a service or the game changed the activity")
        .await;
    let elements = "document.querySelectorAll('#explanation :is(img, b, script)').length";
    assert_eq!(browser.evaluate(elements).await, 0);
    test.server
        .post(
            "/presence/state",
            json!({"player_id": "alice|1", "activity": null}),
        )
        .await;
    browser
        .until("!document.querySelector('#explanation').innerText.includes('Ranked')")
        .await;
    browser.enter("#player-id", "nobody").await; // appended to the previous id
    browser
        .until_shown("#explanation", "This player is unknown")
        .await;
    browser
        .evaluate("document.querySelector('#player-id').value = ''")
        .await;
    browser.enter("#player-id", "no such id").await;
    browser
        .until_shown("#explanation", "an id has 1 to 128 characters")
        .await;

    // A player who is chosen from the events is explained, and refreshed.
    browser.until_shown("#events-state", "live").await;
    test.connect("bob", "c1").await;
    browser.until_shown("#events", "bob").await;
    browser
        .evaluate("document.querySelector('#events button').click()")
        .await;
    browser.until_shown("#explanation", "Connections (1)").await;
    browser
        .until_shown("#explanation", "the player connected")
        .await;
    test.server
        .post("/presence/disconnect", one("bob", "c1"))
        .await;
    browser.until_shown("#explanation", "the player left").await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn the_page_shows_the_rates_and_the_version_of_the_server() {
    let test = Fixture::new(&[]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    let version = test.server.get("/health/live").await.body["version"]
        .as_str()
        .unwrap()
        .to_owned();
    let build_selector = |number: usize| format!("#server div:nth-child({number}) dd");
    browser.until_shown(&build_selector(6), &version).await;
    browser.until_shown(&build_selector(1), "0.0").await;
    browser.until_shown(&build_selector(2), "–").await;
    browser.until_shown(&build_selector(4), "s").await;
    browser.until_shown(&build_selector(5), "0 s").await;
    // The rates of the last 10 s fall to zero again, and so does the p99.
    let until_rate = |number: usize| {
        format!(
            "Number(document.querySelector({:?}).innerText) > 0",
            build_selector(number)
        )
    };
    test.connect("alice", "c1").await;
    browser.until(&until_rate(1)).await;
    browser.until_shown(&build_selector(2), "s").await;
    browser.until_shown(&build_selector(3), "0.0").await;
    browser.until_shown(&build_selector(1), "0.0").await;
    browser.until_shown(&build_selector(2), "–").await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn failed_calls_are_counted_as_errors() {
    let mut test = Fixture::new(&[]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser
        .until_shown("#server div:nth-child(3) dd", "0.0")
        .await;
    test.redis.kill();
    let errors = "Number(document.querySelector('#server div:nth-child(3) dd').innerText) > 0";
    // A call may come before the first sample or after the last one that the page has.
    while browser.evaluate(errors).await != true {
        assert_eq!(test.server.get("/presence/alice").await.status, 503);
    }
    browser.until_shown("#health", "redis unavailable").await;
}

#[tokio::test]
async fn events_and_gateways_are_filtered() {
    let test = Fixture::new(&[("PRESENCE_GATEWAY_TTL", "1h")]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;
    test.connect("alice", "c1").await;
    test.connect("bob", "c1").await;
    test.server
        .post("/presence/disconnect", one("alice", "c1"))
        .await;
    browser
        .until("document.querySelectorAll('#events tr').length === 3")
        .await;
    let choose = |id: &str, value: &str| {
        format!(
            "(() => {{ const field = document.getElementById('{id}'); field.value = '{value}'; \
                 field.dispatchEvent(new Event('input')); return field.value; }})()"
        )
    };
    let shown =
        "[...document.querySelectorAll('#events tr')].map((row) => row.cells[1].innerText).join()";
    for (id, value, players) in [
        ("filter-state", "ONLINE", "bob,alice"),
        ("filter", "ali", "alice"),
        ("filter-state", "OFFLINE", "alice"),
        ("filter-reason", "lost", ""),
        ("filter-reason", "disconnect", "alice"),
        ("filter", "bob", ""),
        ("filter-reason", "", ""),
        ("filter-state", "", "bob"),
    ] {
        assert_eq!(browser.evaluate(&choose(id, value)).await, value);
        assert_eq!(browser.evaluate(shown).await, players, "{id} {value}");
    }
    // A filter also applies to later events.
    test.server
        .post("/presence/disconnect", one("bob", "c1"))
        .await;
    test.connect("alice", "c2").await;
    browser
        .until("document.querySelectorAll('#events tr').length === 2")
        .await;
    assert_eq!(browser.evaluate(shown).await, "bob,bob");

    for id in ["eu-1", "us-1"] {
        assert_eq!(
            test.server
                .post("/presence/gateway", json!({"gateway_id": id}))
                .await
                .status,
            200
        );
    }
    browser.until_shown("#gateways-note", "2 live").await;
    assert_eq!(
        browser.evaluate(&choose("filter-gateway", "us")).await,
        "us"
    );
    browser
        .until("document.querySelectorAll('#gateways tr').length === 1")
        .await;
    browser.until_shown("#gateways tr", "us-1").await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn a_player_has_the_events_from_before_the_page_was_opened() {
    let test = Fixture::new(&[]).await;
    test.connect("alice", "c1").await;
    test.server
        .post("/presence/disconnect", one("alice", "c1"))
        .await;
    while test.nats.messages("PRESENCE_EVENTS").await.len() < 2 {}
    let mut browser = Browser::start().await;
    browser
        .open(&test.server.url("/console#player=alice"))
        .await;
    let shown = "[...document.querySelectorAll('#explanation li .state')].map((state) => state.innerText).join()";
    browser
        .until(&format!("{shown} === 'OFFLINE,ONLINE'"))
        .await;
    browser.until_shown("#events-state", "live").await;
    test.server
        .post(
            "/presence/state",
            json!({"player_id": "alice", "state": "AWAY"}),
        )
        .await;
    browser
        .until(&format!("{shown} === 'AWAY,OFFLINE,ONLINE'"))
        .await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn messages_that_are_not_events_do_not_stop_the_feed() {
    let test = Fixture::new(&[]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;
    test.connect("alice", "c1").await;
    browser.until_shown("#events", "alice").await;
    let strange = [
        "not JSON",
        "",
        "null",
        "[]",
        "5",
        "{}",
        "{\n\"id\":\n1}",
        "a\r\n\r\nevent: ready",
        r#"{"player_id":"eve"}"#,
        r#"{"id":"eve:1","player_id":"eve","state":null,"previous_state":"OFFLINE","reason":5,"occurred_at":"now"}"#,
        r#"{"id":"eve:1","player_id":{},"state":"ONLINE","previous_state":"OFFLINE","reason":"connect","occurred_at":1}"#,
    ];
    let nats = test.nats.client().await;
    for message in strange {
        nats.publish("events.presence", message.into())
            .await
            .unwrap();
    }
    nats.flush().await.unwrap();
    test.connect("bob", "c1").await;
    browser.until_shown("#events tr:first-child", "bob").await;
    let rows = browser
        .evaluate("document.querySelectorAll('#events tr').length")
        .await;
    assert_eq!(rows, strange.len() + 2, "each of them is a row");
    assert_eq!(
        browser
            .evaluate("document.querySelectorAll('#events tr.missed').length")
            .await,
        strange.len()
    );
    browser.until_shown("#events-state", "live").await;
    browser.assert_no_complaints();
}

#[tokio::test]
async fn an_outage_is_a_gap_in_the_chart() {
    let mut test = Fixture::new(&[]).await;
    test.connect("alice", "c1").await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser
        .until("document.querySelector('#chart .area.ONLINE')")
        .await;
    test.redis.kill();
    browser
        .until("document.querySelector('#chart').getAttribute('aria-label').includes('unknown')")
        .await;
    test.redis.restart().await;
    browser
        .until("document.querySelectorAll('#chart .area.ONLINE').length == 2")
        .await;
    // The area of the time before the outage ends before the area of the time after it begins.
    let script = "JSON.stringify([...document.querySelectorAll('#chart .area.ONLINE')].map((area) => \
                 area.getAttribute('points').split(' ').map((point) => Number(point.split(',')[0]))))";
    let json = browser.evaluate(script).await;
    let edges: Vec<Vec<f64>> = serde_json::from_str(json.as_str().unwrap()).unwrap();
    let end = edges[0].iter().copied().fold(f64::MIN, f64::max);
    let begin = edges[1].iter().copied().fold(f64::MAX, f64::min);
    assert!(end < begin, "{end} and {begin}");
    browser.assert_no_complaints();
}

#[tokio::test]
async fn data_that_cannot_be_read_are_marked_as_outdated_with_the_reason() {
    let mut test = Fixture::new(&[]).await;
    test.connect("alice", "c1").await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#counts .ONLINE dd", "1").await;
    browser
        .until_shown("#gateways-note", "no gateway holds a lease")
        .await;
    let await_outdated = async |browser: &mut Browser, reason: &str| {
        for (part, note) in [("#counts", "#accuracy"), ("#gateways", "#gateways-note")] {
            browser
                .until(&format!("document.querySelector('{part}.outdated')"))
                .await;
            browser.until_shown(note, "not current since ").await;
            browser.until_shown(note, reason).await;
        }
    };
    test.redis.kill();
    await_outdated(&mut browser, "store").await;
    browser.until_shown("#health", "redis unavailable").await;
    browser.until_shown("#counts .ONLINE dd", "1").await; // the last known number, not a zero
    test.redis.restart().await;
    browser
        .until("document.querySelectorAll('.outdated').length === 0")
        .await;
    browser.until_shown("#counts .ONLINE dd", "0").await;
    test.server.kill();
    await_outdated(&mut browser, "the server does not respond").await;
    browser
        .until_shown("#health", "the server does not respond")
        .await;
    browser.until_shown("#events-state", "not connected").await;
}

#[tokio::test]
async fn without_nats_the_page_does_not_show_live_events() {
    let mut test = Fixture::new(&[]).await;
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;
    test.nats.kill();
    browser.until_shown("#events-state", "NATS is down").await;
    test.nats.restart().await;
    browser.until_shown("#events-state", "live").await;
    test.connect("alice", "c1").await;
    browser.until_shown("#events tr:first-child", "alice").await;
}

#[tokio::test]
async fn a_leases_bar_shows_the_remaining_share_of_the_ttl() {
    let test = Fixture::new(&[("PRESENCE_TTL", "60s")]).await;
    test.connect("alice", "phone").await;
    test.redis
        .advance_clock(std::time::Duration::from_secs(45))
        .await;
    let mut browser = Browser::start().await;
    browser
        .open(&test.server.url("/console#player=alice"))
        .await;
    browser.until_shown("#explanation", "phone").await;
    let bar = "(() => { const bar = document.querySelector('.lease progress'); return bar.value / bar.max; })()";
    let share = browser.evaluate(bar).await.as_f64().unwrap();
    assert!((0.01..=0.25).contains(&share), "{share}");
}

#[tokio::test]
async fn the_root_and_a_slash_lead_to_the_console() {
    let test = Fixture::new(&[]).await;
    let mut browser = Browser::start().await;
    for path in ["/", "/console/"] {
        let url = test.server.url(&format!("{path}#player=alice"));
        browser.call("Page.navigate", json!({"url": url})).await;
        browser
            .until("location.pathname === '/console' && document.readyState === 'complete'")
            .await;
        browser
            .until_shown("#explanation", "This player is unknown")
            .await;
        browser.until_shown("#events-state", "live").await;
    }
    let response = reqwest::get(test.server.url("/console/")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), response.url().path()),
        (200, "/console")
    );
    browser.assert_no_complaints();
}

#[tokio::test]
async fn long_ids_stay_within_the_page() {
    let test = Fixture::new(&[]).await;
    let player = "W".repeat(128);
    let connection = "w".repeat(128);
    let mut browser = Browser::start().await;
    browser.open(&test.server.url("/console")).await;
    browser.until_shown("#events-state", "live").await;
    test.connect(&player, &connection).await;
    browser.until_shown("#events", &player).await;
    browser
        .evaluate("document.querySelector('#events button').click()")
        .await;
    browser.until_shown("#explanation", &connection).await;
    for width in [1280, 901, 600, 360] {
        let metrics =
            json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": false});
        browser
            .call("Emulation.setDeviceMetricsOverride", metrics)
            .await;
        browser.until(&format!("innerWidth === {width}")).await;
        // Elements that are wider than their container. The table of events may scroll.
        let wide = "[document.documentElement, ...document.querySelectorAll('section, td, h3, code, .lease')] \
                    .filter((part) => part.scrollWidth > part.clientWidth + 1 && part.clientWidth) \
                    .map((part) => `${part.tagName}.${part.className} ${part.scrollWidth} > ${part.clientWidth}`).join()";
        assert_eq!(browser.evaluate(wide).await, "", "at {width}");
        let row = browser
            .evaluate("document.querySelector('#events tr').offsetHeight")
            .await;
        assert!(
            row.as_u64().unwrap() < 50,
            "an event is one line, not {row} pixels, at {width}"
        );
    }
}
