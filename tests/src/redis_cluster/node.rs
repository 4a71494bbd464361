//! One node of a cluster.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use crate::{
    authority::Authority,
    process::{Process, free_port},
    secured,
};

/// What the nodes of a cluster run, and how they are reached.
#[derive(Debug)]
pub(super) enum NodeKind {
    /// Redis, without TLS and users.
    Plain,
    /// Redis without TLS and users, on the IPv6 loopback address.
    Ipv6,
    /// The Valkey at this path, without TLS and users.
    Valkey(PathBuf),
    /// Redis, by TLS and with users alone; nodes are called by their hostname.
    Secured(Authority),
}

/// A node's process.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) process: Process,
    pub(super) host: &'static str,
    pub(super) port: u16,
    /// The arguments with which redis-cli connects.
    access: Vec<String>,
    program: PathBuf,
    configuration: PathBuf,
}

impl NodeKind {
    /// `redis://…` of a node.
    pub(super) fn url(&self, port: u16) -> String {
        match self {
            Self::Plain | Self::Valkey(_) => format!("redis://127.0.0.1:{port}"),
            Self::Ipv6 => format!("redis://[::1]:{port}"),
            Self::Secured(_) => secured::redis_url(port),
        }
    }

    /// The arguments with which redis-cli connects.
    pub(super) fn access(&self) -> Vec<String> {
        match self {
            Self::Plain | Self::Ipv6 | Self::Valkey(_) => Vec::new(),
            Self::Secured(authority) => secured::redis_cli_access(authority),
        }
    }

    fn host(&self) -> &'static str {
        match self {
            Self::Ipv6 => "::1",
            Self::Plain | Self::Valkey(_) | Self::Secured(_) => "127.0.0.1",
        }
    }

    fn program(&self) -> &Path {
        match self {
            Self::Valkey(path) => path,
            Self::Plain | Self::Ipv6 | Self::Secured(_) => Path::new("redis-server"),
        }
    }

    fn settings(&self, port: u16) -> String {
        match self {
            Self::Plain | Self::Ipv6 | Self::Valkey(_) => format!("port {port}\n"),
            Self::Secured(authority) => secured::redis_cluster_settings(authority, port),
        }
    }
}

impl Node {
    pub(super) fn start(directory: &Path, number: usize, kind: &NodeKind) -> Self {
        let port = free_port();
        let settings = format!(
            "bind {}\nsave \"\"\nappendonly no\ndir {}\n\
             cluster-enabled yes\ncluster-node-timeout 1000\ncluster-config-file nodes-{number}.conf\n\
             cluster-require-full-coverage no\n{}",
            kind.host(),
            directory.display(),
            kind.settings(port)
        );
        let file = directory.join(format!("node-{number}.conf"));
        fs::write(&file, settings).expect("a configuration file");
        let process = Process::start(Command::new(kind.program()).arg(&file));
        let host = kind.host();
        let access = kind.access();
        let program = kind.program().to_owned();
        Self {
            process,
            host,
            port,
            access,
            program,
            configuration: file,
        }
    }

    /// Waits for the process's first reply; `false` if it ended instead, because another process
    /// took its port or its bus port.
    pub(super) fn is_up(&mut self) -> bool {
        let own = format!("process_id:{}\r", self.process.id());
        while !self.process.has_ended() {
            if self.ask(&["INFO", "server"]).contains(&own) {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }

    /// Starts a node that was ended, on its port.
    pub(super) fn restart(&mut self) {
        while {
            self.process = Process::start(Command::new(&self.program).arg(&self.configuration));
            !self.is_up()
        } {}
    }

    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Sends the node a command, without following redirections.
    pub(super) fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", self.host, "-p", &self.port.to_string()])
            .args(&self.access)
            .args(command);
        let output = cli.output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }
}
