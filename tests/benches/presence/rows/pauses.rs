//! Memory accesses and arithmetic of a CPU after a pause, compared with those of a busy CPU. A
//! command that Redis executes after a pause takes longer, as far as it waits for memory.

use std::{
    hint::black_box,
    thread,
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};

use super::median;
use crate::{cpu, report::Report};

/// What a CPU's cache loads at once.
const CACHE_LINE_BYTES: usize = 64;

/// Memory that usually fits into a CPU's own caches, and memory that does not, with the number of
/// accesses of a burst: some milliseconds, as Redis needs for a batch of 1,000 heartbeats.
const WALKS: [(usize, usize); 2] = [(1 << 20, 500_000), (256 << 20, 50_000)];

/// The pause before each burst: the time from one batch to the next in `gateways`.
const PAUSE_INTERVAL: Duration = Duration::from_millis(200);

const BURSTS: usize = 31;

/// Calculations of a burst, each of which needs the result of the one before.
const CALCULATIONS: usize = 2_000_000;

pub(crate) fn measure(report: &mut Report) {
    cpu::pin(std::process::id(), "0");
    for (bytes, accesses) in WALKS {
        let walk = random_cycle(bytes / CACHE_LINE_BYTES);
        let what = format!("memory access within {} MiB", bytes >> 20);
        compare(report, &what, accesses, |line| walk[line][0]);
    }
    let calculate = |number: usize| number.wrapping_mul(7) ^ 1;
    compare(report, "arithmetic", CALCULATIONS, calculate);
    cpu::pin(std::process::id(), "0,1");
}

/// Adds a row on the time of a step, of which each begins with the result of the one before: bursts
/// after pauses, and bursts without pauses.
fn compare(report: &mut Report, what: &str, steps: usize, step: impl Fn(usize) -> usize) {
    let mut state = 0;
    let mut burst = |pause: Duration| {
        thread::sleep(pause);
        let start = Instant::now();
        for _ in 0..steps {
            state = step(state);
        }
        black_box(state);
        start.elapsed().as_secs_f64() / steps as f64
    };
    burst(Duration::ZERO);
    let busy = median((0..BURSTS).map(|_| burst(Duration::ZERO)));
    let paused = median((0..BURSTS).map(|_| burst(PAUSE_INTERVAL)));
    let format_nanos = |seconds: f64| format!("{:.2} ns", 1e9 * seconds);
    report.compare(
        &format!("{what}, after a pause of {} ms", PAUSE_INTERVAL.as_millis()),
        format_nanos(paused),
        format!("{} without a pause", format_nanos(busy)),
        paused / busy,
    );
}

/// Cache lines in random order: each contains the position of the next one, and the last one that of
/// the first.
fn random_cycle(lines: usize) -> Vec<[usize; CACHE_LINE_BYTES / size_of::<usize>()]> {
    let mut order: Vec<_> = (0..lines).collect();
    order.shuffle(&mut StdRng::seed_from_u64(1));
    let mut cycle = vec![[0; _]; lines];
    for (position, line) in order.iter().enumerate() {
        cycle[*line][0] = order[(position + 1) % lines];
    }
    cycle
}
