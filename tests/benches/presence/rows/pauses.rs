//! Accesses to memory by a CPU that has just been idle, compared with those of a CPU that is always
//! busy. What Redis does once in a while takes as much longer, whatever it does.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::median;
use crate::{cpu, report::Report};

/// The bytes that a CPU's cache loads at once.
const CACHE_LINE: usize = 64;

/// Memory that fits into a CPU's own caches, and memory that does not, with the number of accesses
/// of a burst: some milliseconds, as Redis needs for a batch of 1,000 heartbeats.
const WALKS: [(usize, usize); 2] = [(1 << 20, 500_000), (256 << 20, 50_000)];

/// The pause before each burst: the time from one batch to the next in `gateways`.
const PAUSE: Duration = Duration::from_millis(200);

const BURSTS: usize = 31;

pub(crate) fn measure(report: &mut Report) {
    cpu::pin(std::process::id(), "0");
    for (bytes, accesses) in WALKS {
        let walk = random_cycle(bytes / CACHE_LINE);
        let mut position = 0;
        let mut burst = |pause: Duration| {
            thread::sleep(pause);
            let start = Instant::now();
            for _ in 0..accesses {
                position = walk[position][0];
            }
            black_box(position);
            start.elapsed().as_secs_f64() / accesses as f64
        };
        burst(Duration::ZERO);
        let busy = median((0..BURSTS).map(|_| burst(Duration::ZERO)));
        let paused = median((0..BURSTS).map(|_| burst(PAUSE)));
        let format_nanos = |seconds: f64| format!("{:.1} ns", 1e9 * seconds);
        report.compare(
            &format!("an access to one of {} MiB after a pause", bytes >> 20),
            format_nanos(paused),
            format!("{} without a pause", format_nanos(busy)),
            paused / busy,
        );
    }
}

/// Cache lines in random order: each contains the position of the next one, and the last one that of
/// the first.
fn random_cycle(lines: usize) -> Vec<[usize; CACHE_LINE / size_of::<usize>()]> {
    let mut order: Vec<_> = (0..lines).collect();
    order.shuffle(&mut StdRng::seed_from_u64(1));
    let mut cycle = vec![[0; _]; lines];
    for (position, line) in order.iter().enumerate() {
        cycle[*line][0] = order[(position + 1) % lines];
    }
    cycle
}
