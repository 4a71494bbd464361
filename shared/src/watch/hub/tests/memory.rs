//! The memory of a hub that many streams use.

use super::*;

/// The memory that this process has allocated and uses, in bytes: without the pages of the program's
/// file, of which more are read as more code runs.
fn memory_in_use() -> usize {
    const PAGE_BYTES: usize = 4_096;
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let mut pages = statm.split(' ').skip(1);
    let mut read_next = || pages.next().unwrap().parse::<usize>().unwrap();
    let resident = read_next();
    let of_files = read_next();
    (resident - of_files) * PAGE_BYTES
}

/// Each test has a process of its own, so that nothing else counts.
#[test]
fn a_watched_player_costs_at_most_200_bytes_per_stream() {
    const STREAMS: usize = 20;
    const PER_STREAM: usize = 10_000;
    let build_id = |number: usize| PlayerId::parse(&format!("player-{number:0>13}")).unwrap();
    // Nearly every player is watched by one stream alone, which is the most expensive case.
    let mut number = 0_usize;
    let mut next_random = || {
        number = (number + 104_729) % 199_999;
        number * 31 % 200_000
    };
    let mut hub = Hub::default();
    let before = memory_in_use();
    for stream in 0..STREAMS {
        let stream_index = hub.open(stream);
        for _ in 0..PER_STREAM / 500 {
            let players: Vec<_> = (0..500).map(|_| build_id(next_random())).collect();
            hub.watch(stream_index, &players, 200_000).unwrap();
            for player in &players {
                let fact = Fact {
                    state: Online,
                    last_seen: Some(1),
                    version: Some(1),
                    activity: None,
                };
                hub.read(player.as_str(), fact, 1, hub.now());
            }
            hub.deliver_snapshot(stream_index, players.iter(), |_| {});
        }
    }
    let interests = hub.counts().interests;
    // All of them change, and no stream takes its changes.
    for player in 0..200_000 {
        let fact = Fact {
            state: InMatch,
            last_seen: Some(2),
            version: Some(2),
            activity: None,
        };
        hub.apply_event(build_id(player).as_str(), fact, 2);
    }
    let used = memory_in_use() - before;
    assert!(
        interests > STREAMS * PER_STREAM * 9 / 10,
        "{interests} interests"
    );
    assert!(used / interests <= 200, "{} bytes", used / interests);
    println!(
        "{} bytes per player and stream, {:?}",
        used / interests,
        hub.counts()
    );
}
