//! Tests of the request queue.

use super::*;

fn player(id: &str) -> PlayerId {
    PlayerId::parse(id).unwrap()
}

fn names(request: &Request) -> Vec<&str> {
    request.players.iter().map(PlayerId::as_str).collect()
}

fn next(queue: &mut RequestQueue) -> Option<Request> {
    queue.next(Instant::now(), |_| None)
}

fn problem(slug: &str, field: Option<&str>) -> Problem {
    Problem {
        status: 503,
        slug: slug.into(),
        detail: String::new(),
        message: None,
        is_via_api_gateway: false,
        field: field.map(Into::into),
        retry_after: None,
    }
}

fn queue(players: &[&str]) -> RequestQueue {
    let mut queue = RequestQueue::new();
    players.iter().for_each(|name| queue.add(&player(name)));
    queue
}

#[tokio::test(start_paused = true)]
async fn while_a_request_is_in_flight_further_players_gather_behind_it() {
    let mut queue = queue(&["a"]);
    let first = next(&mut queue).unwrap();
    assert_eq!((first.kind, names(&first)), (RequestKind::Watch, vec!["a"]));
    ["b", "c"].iter().for_each(|name| queue.add(&player(name)));
    assert_eq!((next(&mut queue), queue.waiting()), (None, 3));
    queue.complete(first.id + 1);
    assert_eq!(next(&mut queue), None, "another request's reply");
    queue.complete(first.id);
    assert_eq!(names(&next(&mut queue).unwrap()), ["b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn on_a_new_stream_all_players_are_requested_with_their_known_versions() {
    let mut queue = queue(&["a", "b"]);
    let request = next(&mut queue).unwrap();
    queue.complete(request.id);
    queue.add(&player("c"));
    queue.restart();
    assert!(!queue.is_resumed());
    let again = queue
        .next(Instant::now(), |name| (name == &player("b")).then_some(17))
        .unwrap();
    let mut requested = names(&again);
    requested.sort_unstable();
    assert_eq!(
        (requested, &again.known),
        (vec!["a", "b", "c"], &vec![(player("b"), 17)])
    );
    assert_ne!(again.id, request.id);
    queue.add(&player("d"));
    queue.complete(again.id);
    assert!(queue.is_resumed(), "the new player was not watched before");
}

#[tokio::test(start_paused = true)]
async fn a_player_that_is_removed_is_unwatched_only_if_it_was_requested() {
    let mut queue = queue(&["a", "b"]);
    queue.remove(&player("b"));
    let request = next(&mut queue).unwrap();
    assert_eq!(names(&request), ["a"]);
    queue.remove(&player("a"));
    queue.complete(request.id);
    let unwatch = next(&mut queue).unwrap();
    assert_eq!(
        (unwatch.kind, names(&unwatch)),
        (RequestKind::Unwatch, vec!["a"])
    );
    queue.add(&player("a"));
    queue.complete(unwatch.id);
    assert_eq!(
        names(&next(&mut queue).unwrap()),
        ["a"],
        "requested again, since its presence is no longer known"
    );
    assert!(!queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_refused_request_is_sent_again_after_a_growing_pause() {
    let mut queue = queue(&["a"]);
    queue.restart();
    let mut pauses = Vec::new();
    for _ in 0..8 {
        let request = next(&mut queue).unwrap();
        queue.refused(
            Some(request.id),
            &problem("store-unavailable", None),
            Instant::now(),
        );
        assert!(next(&mut queue).is_none() && !queue.is_resumed());
        let pause = queue.next_at().unwrap() - Instant::now();
        pauses.push(pause.as_millis());
        tokio::time::advance(pause).await;
    }
    assert!(
        (100..=200).contains(&pauses[0]) && (2_000..=4_000).contains(&pauses[7]),
        "{pauses:?}"
    );
    let request = next(&mut queue).unwrap();
    queue.complete(request.id);
    assert!(queue.is_resumed());
    queue.add(&player("b"));
    assert!(next(&mut queue).is_some(), "no pause is left");
}

#[tokio::test(start_paused = true)]
async fn a_refused_unwatch_is_sent_again_and_a_refused_watch_leaves_nothing_to_unwatch() {
    let mut queue = queue(&["a"]);
    next(&mut queue).unwrap();
    queue.remove(&player("a"));
    queue.refused(None, &problem("store-unavailable", None), Instant::now());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(next(&mut queue), None);
    queue.add(&player("b"));
    let watch = next(&mut queue).unwrap();
    queue.complete(watch.id);
    queue.remove(&player("b"));
    let unwatch = next(&mut queue).unwrap();
    queue.refused(Some(unwatch.id), &problem("internal", None), Instant::now());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(next(&mut queue).unwrap().players, unwatch.players);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_too_long_is_halved() {
    let mut queue = queue(&["a", "b", "c", "d"]);
    let mut sizes = Vec::new();
    while let Some(request) = next(&mut queue) {
        sizes.push(request.players.len());
        if request.players.len() > 1 {
            queue.refused(
                Some(request.id),
                &problem("invalid-request", Some("watch")),
                Instant::now(),
            );
        } else {
            queue.complete(request.id);
        }
    }
    assert_eq!(sizes, [4, 2, 1, 1, 1, 1]);
    assert_eq!(queue.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn both_kinds_of_requests_take_turns() {
    let mut queue = queue(&["a", "b", "c", "d"]);
    queue.max_batch = 1;
    let mut kinds = Vec::new();
    while let Some(request) = next(&mut queue) {
        kinds.push(request.kind);
        queue.complete(request.id);
        if request.kind == RequestKind::Watch {
            queue.remove(&request.players[0]);
        }
    }
    let turns = [RequestKind::Watch, RequestKind::Unwatch].repeat(4);
    assert_eq!(kinds, turns);
}
