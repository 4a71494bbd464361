//! The client's example gateway, as a process.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    process::{binary, signal},
    server::send,
};

/// A `ws_gateway` on a free port, ended when this is dropped.
#[derive(Debug)]
pub struct Gateway {
    process: Child,
    address: String,
}

impl Gateway {
    /// Starts the gateway with `variables` in an otherwise empty environment, and waits until it
    /// listens.
    ///
    /// # Panics
    /// If the process ends instead.
    pub fn start(variables: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary("examples/ws_gateway"));
        command
            .env_clear()
            .env("GATEWAY_BIND", "127.0.0.1:0")
            .envs(variables.iter().copied());
        let mut process = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the gateway starts");
        let mut lines = BufReader::new(process.stdout.take().expect("its log"))
            .lines()
            .map_while(Result::ok);
        let address = lines
            .find_map(|line| Some(line.split_once("address=")?.1.split(' ').next()?.to_owned()));
        let is_shown = std::env::var_os("PRESENCE_TEST_OUTPUT").is_some();
        std::thread::spawn(move || {
            for line in lines {
                if is_shown {
                    eprintln!("{line}");
                }
            }
        });
        Self {
            process,
            address: address.expect("the gateway listens"),
        }
    }

    /// The address for players' devices.
    pub fn url(&self, player: &str) -> String {
        format!("ws://{}/ws?player={player}", self.address)
    }

    /// The page for the browser.
    pub fn page_url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// The URL at which the gateway reports its open sockets and its calls to the presence service.
    pub fn stats_url(&self) -> String {
        format!("http://{}/stats", self.address)
    }

    /// Reads that report.
    ///
    /// # Panics
    /// If the gateway does not respond.
    pub async fn stats(&self) -> Value {
        send(reqwest::Client::new().get(self.stats_url()))
            .await
            .body
    }

    /// The gateway's process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Stops the gateway for a while, as a machine that hangs does.
    pub fn pause(&self) {
        signal(self.id(), "STOP");
    }

    /// Lets a stopped gateway continue.
    pub fn resume(&self) {
        signal(self.id(), "CONT");
    }

    /// Asks the gateway to end, by a signal such as `TERM`.
    pub fn signal(&self, name: &str) {
        signal(self.id(), name);
    }

    /// Whether the gateway has ended, with exit status 0.
    ///
    /// # Panics
    /// If it ended with another status.
    pub fn has_ended(&mut self) -> bool {
        let status = self
            .process
            .try_wait()
            .expect("the gateway's state is known");
        status
            .inspect(|status| assert!(status.success(), "{status}"))
            .is_some()
    }

    /// Address of the gateway.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Ends the gateway, as kill -9 does.
    pub fn kill(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.kill();
    }
}
