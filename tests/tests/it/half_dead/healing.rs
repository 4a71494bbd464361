//! Server and warm functions find the new primary by themselves.

use std::time::Duration;

use presence::model::State;

use super::{Fault, Pair, Service, heal, play};

const FAULTS: [Fault; 5] = [
    Fault::Demoted,
    Fault::FailedOver,
    Fault::Hung,
    Fault::Swallowed,
    Fault::Killed,
];

#[tokio::test]
async fn a_server_follows_its_endpoint_to_the_new_primary() {
    for fault in FAULTS {
        let mut pair = Pair::start().await;
        play(&pair.old, State::InMatch).await;
        let service = Service::server(&pair.variables());
        heal(&service, fault).await;
        pair.suffer(fault).await;
        heal(&service, fault).await;
    }
}

#[tokio::test]
async fn a_warm_function_follows_its_endpoint_to_the_new_primary() {
    for fault in FAULTS {
        let mut pair = Pair::start().await;
        play(&pair.old, State::InMatch).await;
        let service = Service::functions(&pair.variables()).await;
        heal(&service, fault).await;
        pair.suffer(fault).await;
        heal(&service, fault).await;
    }
}

#[tokio::test]
async fn an_endpoint_that_moves_later_is_found_then() {
    let mut pair = Pair::start().await;
    play(&pair.old, State::InMatch).await;
    let server = Service::server(&pair.variables());
    let functions = Service::functions(&pair.variables()).await;
    for service in [&server, &functions] {
        heal(service, Fault::Hung).await;
    }
    let old = pair.old.port();
    let new = pair.new.port();
    pair.suffer(Fault::Hung).await;
    pair.endpoint.move_to(old); // as a DNS name whose record is still cached
    for service in [&server, &functions] {
        for _ in 0..3 {
            assert_eq!(service.read().await.0, 503);
        }
    }
    pair.endpoint.move_to(new);
    for service in [&server, &functions] {
        heal(service, Fault::Hung).await;
    }
}

#[tokio::test]
async fn a_network_that_swallows_everything_for_a_while_is_survived() {
    let pair = Pair::start().await;
    play(&pair.old, State::InMatch).await;
    let server = Service::server(&pair.variables());
    let functions = Service::functions(&pair.variables()).await;
    for service in [&server, &functions] {
        heal(service, Fault::Swallowed).await;
    }
    pair.endpoint.silence_all();
    for service in [&server, &functions] {
        for _ in 0..3 {
            assert_eq!(
                (service.heartbeat().await.0, service.read().await.0),
                (503, 503)
            );
        }
    }
    pair.endpoint.end_silence();
    for service in [&server, &functions] {
        heal(service, Fault::Swallowed).await;
    }
}

#[tokio::test]
async fn a_node_that_is_slow_and_not_silent_keeps_its_connection() {
    let pair = Pair::start().await;
    play(&pair.old, State::InMatch).await;
    let variables = [
        pair.variables()[0].clone(),
        ("PRESENCE_STORE_TIMEOUT", "20s".to_owned()),
    ];
    let server = Service::server(&variables);
    heal(&server, Fault::Hung).await;
    pair.old.pause();
    let heartbeat = async {
        let response = server.heartbeat().await;
        assert_eq!(
            (response.0, &response.1["state"]),
            (200, &serde_json::json!("IN_MATCH"))
        );
    };
    let resume = async {
        let before = pair.endpoint.accepted();
        while pair.endpoint.accepted() == before {
            tokio::time::sleep(Duration::from_millis(10)).await; // another connection is tried beside it
        }
        pair.old.resume();
    };
    tokio::join!(heartbeat, resume);
    heal(&server, Fault::Hung).await;
}
