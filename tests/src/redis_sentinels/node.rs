//! The process of a Redis node or a Sentinel.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use tokio::time::{sleep, timeout};

use crate::{authority::Authority, process::Process, secured};

/// Time limit for the reply of a process.
const REPLY_TIMEOUT: Duration = Duration::from_secs(2);

/// How nodes and Sentinels are reached.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// Without TLS and passwords.
    Plain,
    /// Without TLS, with passwords for the default users of nodes and, if they have one, of
    /// Sentinels.
    Passwords {
        nodes: &'static str,
        sentinels: Option<&'static str>,
    },
    /// By TLS, by users alone, and by hostname. The service's user may do no more than it needs, in
    /// both.
    Secured(Authority),
}

/// A process, and its configuration file, which the process rewrites.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) port: u16,
    access: Vec<String>,
    file: PathBuf,
    arguments: &'static [&'static str],
}

impl NodeKind {
    /// The host under which nodes and Sentinels reach each other.
    pub(super) fn host(&self) -> &'static str {
        match self {
            Self::Plain | Self::Passwords { .. } => "127.0.0.1",
            Self::Secured(_) => "localhost",
        }
    }

    /// `redis://…` of a Sentinel, with the service's user and password.
    pub(super) fn url(&self, port: u16) -> String {
        match self {
            Self::Plain => format!("redis://127.0.0.1:{port}"),
            Self::Passwords { nodes, .. } => format!("redis://:{nodes}@127.0.0.1:{port}"),
            Self::Secured(_) => secured::redis_url(port),
        }
    }

    /// The settings of a node, and of the replica of another one.
    pub(super) fn node_settings(&self, port: u16, primary: Option<u16>) -> String {
        let settings = match self {
            Self::Plain => format!("port {port}\n"),
            Self::Passwords { nodes, .. } => {
                format!("port {port}\nrequirepass {nodes}\nmasterauth {nodes}\n")
            }
            Self::Secured(authority) => {
                secured::redis_replication_settings(authority, port)
                    + "replica-announce-ip localhost\n"
            }
        };
        let replica_of = primary
            .map(|primary| format!("replicaof {} {primary}\n", self.host()))
            .unwrap_or_default();
        format!("save \"\"\nappendonly no\nrepl-diskless-sync-delay 0\n{settings}{replica_of}")
    }

    /// The settings of a Sentinel, without what it watches.
    pub(super) fn sentinel_settings(&self, port: u16) -> String {
        match self {
            Self::Plain
            | Self::Passwords {
                sentinels: None, ..
            } => format!("port {port}\n"),
            Self::Passwords {
                sentinels: Some(password),
                ..
            } => format!("port {port}\nrequirepass {password}\n"),
            Self::Secured(authority) => secured::sentinel_settings(authority, port),
        }
    }

    /// The settings that authenticate a Sentinel at the nodes.
    pub(super) fn sentinel_access(&self, name: &str) -> String {
        match self {
            Self::Plain => String::new(),
            Self::Passwords { nodes, .. } => format!("sentinel auth-pass {name} {nodes}\n"),
            Self::Secured(_) => {
                format!("sentinel auth-user {name} admin\nsentinel auth-pass {name} admin\n")
            }
        }
    }

    /// The arguments that authenticate redis-cli at a node.
    pub(super) fn node_access(&self) -> Vec<String> {
        match self {
            Self::Passwords { nodes, .. } => vec!["-a".to_owned(), (*nodes).to_owned()],
            Self::Plain | Self::Secured(_) => self.sentinel_cli_access(),
        }
    }

    /// The arguments that authenticate redis-cli at a Sentinel.
    pub(super) fn sentinel_cli_access(&self) -> Vec<String> {
        match self {
            Self::Plain
            | Self::Passwords {
                sentinels: None, ..
            } => Vec::new(),
            Self::Passwords {
                sentinels: Some(password),
                ..
            } => vec!["-a".to_owned(), (*password).to_owned()],
            Self::Secured(authority) => secured::redis_cli_access(authority),
        }
    }
}

impl Node {
    /// Starts a process with `settings`.
    pub(super) fn start(
        directory: &Path,
        port: u16,
        access: Vec<String>,
        arguments: &'static [&'static str],
        settings: &str,
    ) -> Self {
        let file = directory.join(format!("{port}.conf"));
        let settings = format!("bind 127.0.0.1\ndir {}\n{settings}", directory.display());
        fs::write(&file, settings).expect("a configuration file");
        let process = Process::start(Command::new("redis-server").arg(&file).args(arguments));
        Self {
            process,
            port,
            access,
            file,
            arguments,
        }
    }

    /// Waits until the process responds. `false` if it ended instead, because its port was taken.
    pub(super) async fn is_up(&mut self) -> bool {
        let own = format!("process_id:{}\r", self.process.id());
        while !self.process.has_ended() {
            if self.ask(&["INFO", "server"]).await.contains(&own) {
                return true;
            }
            sleep(Duration::from_millis(5)).await;
        }
        false
    }

    /// Starts a process that was ended, on its port, with the settings that it had last.
    pub(super) async fn restart(&mut self) {
        self.process.kill();
        while {
            self.process = Process::start(
                Command::new("redis-server")
                    .arg(&self.file)
                    .args(self.arguments),
            );
            !self.is_up().await
        } {}
    }

    /// Sends a command by redis-cli; the reply is empty if the process does not respond.
    pub(super) async fn ask(&self, command: &[&str]) -> String {
        let mut cli = tokio::process::Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()])
            .args(&self.access)
            .args(command)
            .kill_on_drop(true);
        match timeout(REPLY_TIMEOUT, cli.output()).await {
            Ok(output) => String::from_utf8_lossy(&output.expect("redis-cli runs").stdout)
                .trim()
                .to_owned(),
            Err(_) => String::new(),
        }
    }
}
