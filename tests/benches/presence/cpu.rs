//! CPU time and memory of a process, as Linux reports them.

use std::{fs, time::Duration};

/// The CPU time of a process so far, user and system time together, with a resolution of 10 ms.
pub(crate) fn time_of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux's /proc");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name
        .split_whitespace()
        .skip(11)
        .take(2)
        .filter_map(|ticks| ticks.parse::<u64>().ok())
        .sum();
    Duration::from_millis(10 * ticks)
}

/// The CPU time of the main thread of a process so far, with a resolution of 1 ns.
pub(crate) fn main_thread_time_of(process: u32) -> Duration {
    let schedstat =
        fs::read_to_string(format!("/proc/{process}/schedstat")).expect("Linux's /proc");
    let nanoseconds = schedstat
        .split_whitespace()
        .next()
        .and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a time"))
}

/// The CPU time of the threads of a process that have not ended, with a resolution of 1 ns.
pub(crate) fn time_of_threads(process: u32) -> Duration {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("Linux's /proc");
    threads
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("schedstat")).ok())
        .filter_map(|schedstat| schedstat.split_whitespace().next()?.parse().ok())
        .map(Duration::from_nanos)
        .sum()
}

/// The peak resident memory of a process, in MiB.
pub(crate) fn peak_memory_of(process: u32) -> f64 {
    mebibytes(process, "VmHWM:")
}

/// The resident memory of a process, in MiB.
pub(crate) fn memory_of(process: u32) -> f64 {
    mebibytes(process, "VmRSS:")
}

fn mebibytes(process: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux's /proc");
    let line = status
        .lines()
        .find(|line| line.starts_with(name))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<f64>().ok())
        .unwrap_or_default()
        / 1_024.0
}

/// Pins a process, and the processes that it starts later, to CPUs such as `0` or `0,1`. Does
/// nothing if `taskset` or a CPU is missing.
pub(crate) fn pin(process: u32, cpus: &str) {
    let pid = process.to_string();
    let _ = std::process::Command::new("taskset")
        .args(["-a", "-c", "-p", cpus, &pid])
        .output();
}
