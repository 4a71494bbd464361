//! Sentinels that are out of date, or do not agree.

use std::time::Duration;

use presence::model::State;
use presence_tests::{RedisServer, SentinelReply, SentinelStub, app_with, player};

use super::unavailable::{names, variables};
use crate::half_dead::{Service, borrowed, heal, play};

/// Far longer than a check of the primary's name takes: the machine may be busy.
const TIMEOUT: Duration = Duration::from_secs(40);

/// Three Sentinels with these replies.
async fn sentinels(replies: [SentinelReply; 3]) -> [SentinelStub; 3] {
    let [first, second, third] = replies;
    [
        SentinelStub::start(first).await,
        SentinelStub::start(second).await,
        SentinelStub::start(third).await,
    ]
}

async fn services(sentinels: &[SentinelStub; 3]) -> [Service; 2] {
    let mut variables = variables(&sentinels.each_ref());
    // What is tested is that no call fails, not how long it takes.
    variables.push(("PRESENCE_STORE_TIMEOUT", "5s".to_owned()));
    [
        Service::server(&variables),
        Service::functions(&variables).await,
    ]
}

/// Two primaries, each without the other's data: alice is AWAY on the second one.
async fn two_primaries() -> [RedisServer; 2] {
    let primaries = [RedisServer::start().await, RedisServer::start().await];
    play(&primaries[0], State::InMatch).await;
    play(&primaries[1], State::Away).await;
    primaries
}

/// Reads until the state is AWAY. No read may fail.
async fn await_away(service: &Service) {
    let away = async {
        loop {
            let (status, body) = service.read().await;
            assert_eq!(status, 200, "{body}");
            if body["state"] == "AWAY" {
                return;
            }
            assert_eq!(body["state"], "IN_MATCH");
        }
    };
    tokio::time::timeout(TIMEOUT, away)
        .await
        .expect("the node that most Sentinels name is read");
}

#[tokio::test]
async fn a_sentinel_that_names_a_replica_fails_no_call() {
    let primary = RedisServer::start().await;
    let replica = RedisServer::start().await;
    play(&primary, State::InMatch).await;
    replica.replicate(&primary).await;
    let sentinels = sentinels([names(&replica), names(&primary), names(&replica)]).await;
    for service in services(&sentinels).await {
        for _ in 0..10 {
            assert_eq!(service.heartbeat().await.0, 200);
            assert_eq!(service.read().await.1["state"], "IN_MATCH");
        }
    }
}

#[tokio::test]
async fn a_sentinel_that_names_a_node_that_hangs_fails_no_call() {
    let [primary, old] = two_primaries().await;
    old.pause();
    let sentinels = sentinels([names(&old), names(&primary), names(&old)]).await;
    for service in services(&sentinels).await {
        for _ in 0..10 {
            assert_eq!(service.heartbeat().await.0, 200);
            assert_eq!(service.read().await.1["state"], "IN_MATCH");
        }
    }
    old.resume();
}

#[tokio::test]
async fn sentinels_that_know_nothing_say_nothing_or_hang_up_are_passed_over() {
    let redis = RedisServer::start().await;
    play(&redis, State::InMatch).await;
    let sentinels = sentinels([
        SentinelReply::Unknown,
        SentinelReply::Silence,
        names(&redis),
    ])
    .await;
    for service in services(&sentinels).await {
        heal(&service, "unknown and silence").await;
    }
    sentinels[1].set(SentinelReply::Close);
    for service in services(&sentinels).await {
        heal(&service, "unknown and close").await;
    }
}

#[tokio::test]
async fn a_primary_that_is_named_by_its_hostname_is_found() {
    let redis = RedisServer::start().await;
    play(&redis, State::InMatch).await;
    let by_name = SentinelReply::Primary("localhost".to_owned(), redis.port());
    for service in services(&sentinels([by_name.clone(), by_name.clone(), by_name]).await).await {
        heal(&service, "a hostname").await;
    }
}

/// An old primary that responds, and that is connected, is left once most Sentinels name another
/// node.
#[tokio::test]
async fn a_connection_follows_the_majority_of_the_sentinels() {
    let [old, new] = two_primaries().await;
    let sentinels = sentinels([names(&old), names(&old), names(&old)]).await;
    let services = services(&sentinels).await;
    for service in &services {
        assert_eq!(service.read().await.1["state"], "IN_MATCH");
    }
    sentinels[0].set(names(&new));
    sentinels[1].set(names(&new));
    // A function is checked when it has not been called for 2 s; here it is called all the time,
    // and checks by itself.
    for service in &services {
        await_away(service).await;
    }
}

#[tokio::test]
async fn a_connection_is_kept_if_one_sentinel_names_another_node() {
    let [old, other] = two_primaries().await;
    let sentinels = sentinels([names(&old), names(&old), names(&old)]).await;
    let variables = variables(&sentinels.each_ref());
    // In this process, as it has one connection; each thread of the server has one, and may make it
    // when it likes.
    let service = app_with(&borrowed(&variables)).presence();
    let alice = [player("alice")];
    let read = async || service.presences(&alice, false).await.unwrap().presences[0].state;
    assert_eq!(read().await, State::InMatch);
    sentinels[0].set(names(&other));
    sentinels[1].set(SentinelReply::Silence);
    sentinels[2].set(SentinelReply::Close);
    let before = role_calls(&old).await;
    while role_calls(&old).await < before + 6 {
        assert_eq!(read().await, State::InMatch);
        tokio::time::sleep(Duration::from_millis(50)).await; // each second there is a check, with ROLE
    }
}

async fn role_calls(redis: &RedisServer) -> u64 {
    let stats: String = redis.ask(&["INFO", "commandstats"]).await;
    let calls = stats
        .lines()
        .find_map(|line| line.strip_prefix("cmdstat_role:calls="))
        .unwrap_or("0,");
    calls.split(',').next().unwrap().parse().unwrap()
}
