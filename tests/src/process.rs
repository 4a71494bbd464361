//! Child processes that end with their owner.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// A process that is killed, by its own id, when this is dropped.
#[derive(Debug)]
pub(crate) struct Process(Child);

impl Process {
    /// Starts the command; its output is shown only if `PRESENCE_TEST_OUTPUT` is set.
    ///
    /// # Panics
    /// If the program does not exist.
    pub(crate) fn start(command: &mut Command) -> Self {
        if std::env::var_os("PRESENCE_TEST_OUTPUT").is_none() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let program = command.get_program().to_owned();
        Self(
            command
                .stdin(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| panic!("{}: {error}", program.display())),
        )
    }

    /// The process's id.
    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended.
    pub(crate) fn has_ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a process a signal, such as `STOP`.
///
/// # Panics
/// If it has ended.
pub(crate) fn signal(id: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &id.to_string()])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "kill -s {name}"
    );
}

/// The most memory that a process has had in use at a time, in MiB.
///
/// # Panics
/// If there is no such process.
pub fn peak_memory(id: u32) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{id}/status")).expect("the process's status");
    let peak = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("its peak");
    peak.trim()
        .trim_end_matches(" kB")
        .parse::<u64>()
        .expect("a number")
        / 1024
}

/// The memory that processes can still take without swapping, in MiB; `None` if the system does not
/// say.
pub fn available_memory() -> Option<u64> {
    parse_available_memory(&std::fs::read_to_string("/proc/meminfo").ok()?)
}

fn parse_available_memory(meminfo: &str) -> Option<u64> {
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(available.trim().strip_suffix(" kB")?.parse::<u64>().ok()? / 1024)
}

/// Lets this process, and those that it starts, have so many files open at a time.
///
/// # Panics
/// If the system does not allow it.
pub fn open_files(count: usize) {
    let id = std::process::id().to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &id, &format!("--nofile={count}:")])
        .status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "the system allows fewer than {count} open files: ulimit -Hn"
    );
}

/// Ports of servers. The system picks those of outgoing connections, and of listeners that do not
/// ask for one, above them (from 32,768 on), so nothing takes a port by chance between this choice
/// and the server's start, or while a killed server waits for its restart. The bus port of a
/// cluster node, 10,000 above, is below 32,768 as well.
const PORTS: std::ops::Range<u16> = 10_000..20_000;

/// A port that was free a moment ago, and that only another call of this function can take.
pub fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
        if is_free(port) && is_free(port + 10_000) {
            return port;
        }
    }
}

/// The path of one of the workspace's binaries, or of `examples/…`, in the directory above the
/// test's, or example's, own.
///
/// # Panics
/// If it has not been built.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    let path = test.ancestors().nth(2).expect("target/debug").join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build --workspace --bins --examples",
        path.display()
    );
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_available_memory_is_not_the_free_one() {
        let meminfo = "MemTotal:       24576000 kB\nMemFree:          204800 kB\nMemAvailable:   12288000 kB\n";
        assert_eq!(parse_available_memory(meminfo), Some(12_000));
        assert_eq!(
            parse_available_memory("MemTotal:       24576000 kB\n"),
            None
        );
        assert_eq!(parse_available_memory("MemAvailable:   much\n"), None);
        assert!(available_memory().is_some_and(|available| available > 0));
    }
}
