//! The CPU time and memory of a process, as Linux tells them.

use std::{fs, time::Duration};

/// How long a process has run so far, user and system time together; a hundredth of a second is the finest step.
pub(crate) fn time_of(process: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux's /proc");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after_name.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Duration::from_millis(10 * ticks)
}

/// How long the main thread of a process has run so far, to the nanosecond.
pub(crate) fn main_thread_time_of(process: u32) -> Duration {
    let schedstat = fs::read_to_string(format!("/proc/{process}/schedstat")).expect("Linux's /proc");
    let nanoseconds = schedstat.split_whitespace().next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a time"))
}

/// The most memory that a process has held so far, in MiB.
pub(crate) fn peak_memory_of(process: u32) -> f64 {
    mebibytes(process, "VmHWM:")
}

/// The memory that a process holds, in MiB.
pub(crate) fn memory_of(process: u32) -> f64 {
    mebibytes(process, "VmRSS:")
}

fn mebibytes(process: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("Linux's /proc");
    let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() / 1_024.0
}

/// Ties a process, and what it starts from now on, to some CPUs, such as `0` or `0,1`; where `taskset` is not there, or
/// they are not, it stays as it is.
pub(crate) fn pin(process: u32, cpus: &str) {
    let pid = process.to_string();
    let _ = std::process::Command::new("taskset").args(["-a", "-c", "-p", cpus, &pid]).output();
}
