//! Repeated runs of one part of the request path, and nothing else, for a tool that counts
//! instructions.
//!
//!     hot <part> <times>

use std::hint::black_box;

use presence::{
    http::{ConnectionsBody, Request, json, parse_post},
    model::{Friends, PlayerId, Presence, State},
};
use serde::de::IgnoredAny;

/// Entries in one batch of a gateway.
const ENTRIES: usize = 1_000;
/// Players in one friends call.
const FRIENDS: usize = 500;

fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [part, times] = arguments.as_slice() else {
        panic!("usage: hot <part> <times>")
    };
    let run: Box<dyn Fn()> = match part.as_str() {
        "batch" => parsing(batch()),
        "batch-syntax" => scanning(batch()),
        "one" => parsing(one(0)),
        "one-syntax" => scanning(one(0)),
        "friends" => serializing(),
        "friends-syntax" => {
            scanning(String::from_utf8(json(&friends()).body().to_vec()).unwrap_or_default())
        }
        _ => panic!("no such part: {part}"),
    };
    for _ in 0..times.parse().expect("a number of times") {
        run();
    }
}

/// The work of the heartbeat handler before it calls Redis.
fn parsing(body: String) -> Box<dyn Fn()> {
    let mut request = black_box(Request::new(body.into()));
    *request.method_mut() = "POST".parse().expect("a method");
    Box::new(move || {
        let body = parse_post::<ConnectionsBody>(&request).expect("a good body");
        black_box(body.target_and_gateway(ENTRIES).expect("a target"));
    })
}

/// The minimum work on a JSON text: finding its end.
fn scanning(body: String) -> Box<dyn Fn()> {
    Box::new(move || drop(black_box(serde_json::from_str::<IgnoredAny>(&body))))
}

/// The work of the friends handler after Redis has replied.
fn serializing() -> Box<dyn Fn()> {
    let friends = friends();
    Box::new(move || drop(black_box(json(&friends))))
}

fn one(number: usize) -> String {
    format!(r#"{{"player_id":"player-{number:07}","connection_id":"conn-{number:07}"}}"#)
}

fn batch() -> String {
    let entries: Vec<_> = (0..ENTRIES).map(one).collect();
    format!(r#"{{"connections":[{}]}}"#, entries.join(","))
}

fn friends() -> Friends {
    let build_presence = |number| Presence {
        player_id: PlayerId::parse(&format!("player-{number:07}")).expect("an id"),
        state: State::Online,
        last_seen: Some(1_795_492_717_576),
        connection_count: 1,
        version: Some(1_795_492_717_576),
        activity: None,
    };
    Friends {
        as_of: 1_795_492_717_576,
        presences: (0..FRIENDS).map(build_presence).collect(),
    }
}
