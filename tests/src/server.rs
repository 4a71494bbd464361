//! The server's real binary.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde_json::Value;

use crate::process::{binary, signal};

/// A `presence-server` on a free port, ended when this is dropped.
#[derive(Debug)]
pub struct Server {
    process: Child,
    address: String,
    log: Arc<Mutex<Vec<String>>>,
}

/// A response of the server.
#[derive(Debug)]
pub struct Response {
    /// The status code.
    pub status: u16,
    /// The headers, by lower-case name.
    pub headers: reqwest::header::HeaderMap,
    /// The body; null if it is not JSON.
    pub body: Value,
}

impl Server {
    /// Starts the server with `variables` in an otherwise empty environment, and waits until it
    /// listens.
    ///
    /// # Panics
    /// If the process ends instead.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        Self::start_program(&binary("presence-server"), variables)
    }

    /// Starts another build of the server with `variables` in an otherwise empty environment, and
    /// waits until it listens.
    ///
    /// # Panics
    /// If the process ends instead.
    pub fn start_program(program: &Path, variables: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program), variables)
    }

    /// Starts the server, and lets it have `files` files open at a time, and no more.
    ///
    /// # Panics
    /// If the process ends instead.
    pub fn start_with_files(files: usize, variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--nofile={files}:{files}"))
            .arg(binary("presence-server"));
        Self::spawn(command, variables)
    }

    fn spawn(mut command: Command, variables: &[(&str, &str)]) -> Self {
        command
            .env_clear()
            .env("PRESENCE_BIND", "127.0.0.1:0")
            .env("PRESENCE_LOG_FORMAT", "json");
        command
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .stderr(Stdio::piped());
        let mut process = command.spawn().expect("presence-server starts");
        let mut lines = BufReader::new(process.stderr.take().expect("its log"))
            .lines()
            .map_while(Result::ok);
        let log = Arc::<Mutex<Vec<String>>>::default();
        let keep = |log: &Mutex<Vec<String>>, line: &str| {
            log.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(line.to_owned());
        };
        let address = lines
            .by_ref()
            .inspect(|line| keep(&log, line))
            .find_map(|line| {
                serde_json::from_str::<Value>(&line)
                    .ok()?
                    .get("address")?
                    .as_str()
                    .map(str::to_owned)
            })
            .expect("presence-server listens");
        let is_shown = std::env::var_os("PRESENCE_TEST_OUTPUT").is_some();
        let kept = Arc::clone(&log);
        std::thread::spawn(move || {
            for line in lines {
                keep(&kept, &line);
                if is_shown {
                    eprintln!("{line}");
                }
            }
        });
        Self {
            process,
            address,
            log,
        }
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .join("\n")
    }

    /// The lines that the server has logged so far and that contain `text`.
    pub fn logged(&self, text: &str) -> Vec<Value> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = log.iter().filter(|line| line.contains(text));
        lines
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Waits until the server has logged a line that contains `text`, and returns the first one.
    pub async fn await_log(&self, text: &str) -> Value {
        loop {
            if let Some(line) = self.logged(text).into_iter().next() {
                return line;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The address on which the server listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// The URL of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// The server's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Posts a JSON body.
    pub async fn post(&self, path: &str, body: Value) -> Response {
        send(reqwest::Client::new().post(self.url(path)).json(&body)).await
    }

    /// Gets a path.
    pub async fn get(&self, path: &str) -> Response {
        send(reqwest::Client::new().get(self.url(path))).await
    }

    /// All metrics, as Prometheus gets them.
    ///
    /// # Panics
    /// If the server does not respond.
    pub async fn metrics(&self) -> String {
        let response = reqwest::get(self.url("/metrics"))
            .await
            .expect("a response");
        response.text().await.expect("the metrics")
    }

    /// The value of a metric, named with its labels. `None` if the server does not export it.
    ///
    /// # Panics
    /// If the server does not respond, or the value is not a whole number.
    pub async fn metric(&self, name: &str) -> Option<u64> {
        let metrics = self.metrics().await;
        let value = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map(|value| value.parse().expect("a whole number"))
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
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Sends SIGTERM.
    pub fn begin_termination(&self) {
        signal(self.id(), "TERM");
    }

    /// Sends SIGTERM and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.begin_termination();
        self.ended().await
    }

    /// Waits for the end.
    pub async fn ended(&mut self) -> ExitStatus {
        loop {
            if let Some(status) = self.process.try_wait().expect("a status") {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a request.
///
/// # Panics
/// If there is no response.
pub async fn send(request: reqwest::RequestBuilder) -> Response {
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    let headers = response.headers().clone();
    let body = serde_json::from_slice(&response.bytes().await.expect("a body")).unwrap_or_default();
    Response {
        status,
        headers,
        body,
    }
}
