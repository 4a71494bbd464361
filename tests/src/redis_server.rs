//! A throwaway Redis.

use std::{path::PathBuf, process::Command, time::Duration};

use redis::{AsyncConnectionConfig, AsyncTypedCommands as _, aio::MultiplexedConnection};
use tempfile::TempDir;

use crate::{
    VirtualClock,
    process::{Process, free_port, signal},
    redis_cluster::valkey,
};

/// A Redis of its own, without persistence.
#[derive(Debug)]
pub struct RedisServer {
    process: Process,
    program: Program,
    port: u16,
    directory: TempDir,
}

/// What runs, and the variables of its environment.
#[derive(Debug)]
struct Program {
    path: PathBuf,
    arguments: &'static [&'static str],
    environment: Vec<(&'static str, PathBuf)>,
}

/// The allocator's thread waits until a time of the wall clock, and would wait in a loop if that
/// stands still.
const WITHOUT_BACKGROUND_THREAD: [&str; 2] = ["--jemalloc-bg-thread", "no"];

impl RedisServer {
    /// Starts a Redis and waits until it responds.
    pub async fn start() -> Self {
        Self::of(Program {
            path: "redis-server".into(),
            arguments: &[],
            environment: Vec::new(),
        })
        .await
    }

    /// Starts a Redis that reads its wall clock from `clock`.
    pub async fn start_with_clock(clock: &VirtualClock) -> Self {
        Self::of(Program::with_clock("redis-server".into(), clock)).await
    }

    /// Like [`start_with_clock`](Self::start_with_clock), but with Valkey; `None` if it is not
    /// installed.
    pub async fn start_valkey_with_clock(clock: &VirtualClock) -> Option<Self> {
        Some(Self::of(Program::with_clock(valkey()?, clock)).await)
    }

    async fn of(program: Program) -> Self {
        loop {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let mut process = Process::start(&mut command(&program, port, &directory));
            if is_up(&mut process, port).await {
                return Self {
                    process,
                    program,
                    port,
                    directory,
                };
            }
        }
    }

    /// `redis://…` of this server.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// A connection for raw keys.
    pub async fn connection(&self) -> MultiplexedConnection {
        connect(self.port).await.expect("Redis responds")
    }

    /// Stops the server for a while, as a machine that hangs does.
    pub fn pause(&self) {
        signal(self.id(), "STOP");
    }

    /// Lets a stopped server continue.
    pub fn resume(&self) {
        signal(self.id(), "CONT");
    }

    /// Ends the server, as kill -9 does.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts an empty server on the same port.
    pub async fn restart(&mut self) {
        self.kill();
        while {
            self.process = Process::start(&mut command(&self.program, self.port, &self.directory));
            !is_up(&mut self.process, self.port).await
        } {}
    }

    /// Sends a command.
    ///
    /// # Panics
    /// If Redis refuses it.
    pub async fn ask<T: redis::FromRedisValue>(&self, command: &[&str]) -> T {
        let mut raw = self.connection().await;
        redis::cmd(command[0])
            .arg(&command[1..])
            .query_async(&mut raw)
            .await
            .expect("a reply")
    }

    /// The clock, in Unix milliseconds.
    ///
    /// # Panics
    /// If Redis refuses.
    pub async fn now(&self) -> u64 {
        let (seconds, micros): (u64, u64) = self.ask(&["TIME"]).await;
        seconds * 1_000 + micros / 1_000
    }

    /// Makes this server a replica of another one, and waits until it holds the same.
    ///
    /// # Panics
    /// If Redis refuses.
    pub async fn replicate(&self, primary: &Self) {
        let () = self
            .ask(&["REPLICAOF", "127.0.0.1", &primary.port.to_string()])
            .await;
        while !self
            .ask::<String>(&["INFO", "replication"])
            .await
            .contains("master_link_status:up")
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a replica holds everything that was written so far.
    ///
    /// # Panics
    /// If Redis refuses.
    pub async fn await_replica(&self) {
        let mut raw = self.connection().await;
        // Redis waits for what the same connection wrote, and for nothing if it wrote nothing.
        let () = redis::cmd("SET")
            .arg("in-step")
            .arg(1)
            .arg("PX")
            .arg(1)
            .query_async(&mut raw)
            .await
            .expect("OK");
        while redis::cmd("WAIT")
            .arg(1)
            .arg(100)
            .query_async::<usize>(&mut raw)
            .await
            .expect("a count")
            < 1
        {}
    }

    /// Saves the data, and starts the server again on the same port: it loads them, and takes
    /// `delay` for each key.
    ///
    /// # Panics
    /// If the data cannot be saved.
    pub async fn reload_slowly(&mut self, delay: Duration) {
        // While it loads it replies once per so many bytes.
        let () = self.ask(&["CONFIG", "SET", "rdbcompression", "no"]).await;
        let () = self.ask(&["SAVE"]).await;
        self.kill();
        let mut command = command(&self.program, self.port, &self.directory);
        command.args(["--key-load-delay", &delay.as_micros().to_string()]);
        command.args(["--loading-process-events-interval-bytes", "1024"]);
        self.process = Process::start(&mut command);
    }

    /// Moves everything that Redis holds into the past by `elapsed`, as if this much time had gone
    /// by: times, leases, closed connections, expiries. Versions stay. Expired keys are deleted.
    pub async fn advance_clock(&self, elapsed: Duration) {
        let script = redis::Script::new(include_str!("advance_clock.lua"));
        let mut connection = self.connection().await;
        let elapsed = elapsed.as_millis() as u64;
        script
            .arg(elapsed)
            .invoke_async::<()>(&mut connection)
            .await
            .expect("time passes");
    }

    /// All keys, sorted.
    pub async fn keys(&self) -> Vec<String> {
        let mut keys = self.connection().await.keys("*").await.expect("keys");
        keys.sort();
        keys
    }
}

impl Program {
    fn with_clock(path: PathBuf, clock: &VirtualClock) -> Self {
        Self {
            path,
            arguments: &WITHOUT_BACKGROUND_THREAD,
            environment: clock.environment().into(),
        }
    }
}

fn command(program: &Program, port: u16, directory: &TempDir) -> Command {
    let mut command = Command::new(&program.path);
    command
        .envs(
            program
                .environment
                .iter()
                .map(|(name, value)| (name, value)),
        )
        .args(program.arguments);
    command.args([
        "--bind",
        "127.0.0.1",
        "--port",
        &port.to_string(),
        "--save",
        "",
        "--appendonly",
        "no",
    ]);
    command.arg("--dir").arg(directory.path());
    command
}

async fn connect(port: u16) -> redis::RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    redis::Client::open(("127.0.0.1", port))?
        .get_multiplexed_async_connection_with_config(&config)
        .await
}

/// Waits for the process's own first reply; `false` if it ended instead, because its port was
/// taken.
async fn is_up(process: &mut Process, port: u16) -> bool {
    let own = format!("process_id:{}\r", process.id());
    while !process.has_ended() {
        if let Ok(mut connection) = connect(port).await
            && let Ok(info) = redis::cmd("INFO")
                .arg("server")
                .query_async::<String>(&mut connection)
                .await
            && info.contains(&own)
        {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}
