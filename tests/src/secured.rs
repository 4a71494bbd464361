//! Redis with TLS and users: a server of its own, and what secured clusters have in common with it.

use std::{fs, process::Command, time::Duration};

use tempfile::TempDir;

use crate::{
    authority::Authority,
    process::{Process, free_port},
};

/// The ACL of the service in Redis, the file that operators use.
const USERS: &str = include_str!("../../deploy/redis/users.acl");

/// What the service may do in Sentinels.
const SENTINEL_USERS: &str = include_str!("../../deploy/redis/sentinel-users.acl");

/// The password that these files leave to be changed, and what it is here.
const PASSWORDS: (&str, &str) = (">change-me", ">secret");

/// A throwaway Redis that is reached by TLS, by users alone. The service's own may do no more than
/// it needs.
#[derive(Debug)]
pub struct SecuredRedis {
    process: Process,
    port: u16,
    authority: Authority,
    _directory: TempDir,
}

impl SecuredRedis {
    /// Starts a Redis and waits until it responds.
    ///
    /// # Panics
    /// If its files cannot be written.
    pub async fn start() -> Self {
        let mut authority = Authority::new();
        loop {
            let port = free_port();
            let directory = tempfile::tempdir().expect("a temporary directory");
            let file = directory.path().join("redis.conf");
            let common_settings = redis_settings(&authority, port);
            let settings = format!(
                "bind 127.0.0.1\nsave \"\"\ndir {}\n{common_settings}",
                directory.path().display()
            );
            fs::write(&file, settings).expect("a configuration file");
            let process = Process::start(Command::new("redis-server").arg(file));
            let mut redis = Self {
                process,
                port,
                authority,
                _directory: directory,
            };
            let own = format!("process_id:{}\r", redis.process.id());
            while !redis.process.has_ended() {
                if redis.ask(&["INFO", "server"]).contains(&own) {
                    return redis;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            authority = redis.authority; // another program took the port
        }
    }

    /// `rediss://…`, with the service's user and password.
    pub fn url(&self) -> String {
        redis_url(self.port)
    }

    /// The server's port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The authority that clients have to trust.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Sends a command as a user who may do anything.
    ///
    /// # Panics
    /// If redis-cli cannot be run.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-p", &self.port.to_string()])
            .args(redis_cli_access(&self.authority))
            .args(command);
        String::from_utf8_lossy(&cli.output().expect("redis-cli runs").stdout)
            .trim()
            .to_owned()
    }
}

/// `rediss://…` of a port, with the service's user and password. The certificate is for that name
/// alone.
pub(crate) fn redis_url(port: u16) -> String {
    format!("rediss://presence:secret@localhost:{port}")
}

/// How redis-cli gets in as a user who may do anything.
pub(crate) fn redis_cli_access(authority: &Authority) -> Vec<String> {
    let certificate = authority.certificate().display().to_string();
    let access = [
        "--tls",
        "--cacert",
        &certificate,
        "--user",
        "admin",
        "--pass",
        "admin",
        "--no-auth-warning",
    ];
    access.map(str::to_owned).to_vec()
}

/// The settings of a node that announces its hostname, as its certificate has no address.
pub(crate) fn redis_cluster_settings(authority: &Authority, port: u16) -> String {
    let settings = redis_replication_settings(authority, port);
    format!(
        "{settings}tls-cluster yes\ncluster-announce-hostname localhost\ncluster-preferred-endpoint-type hostname\n"
    )
}

/// The settings of a node that can be a replica of another one.
pub(crate) fn redis_replication_settings(authority: &Authority, port: u16) -> String {
    let settings = redis_settings(authority, port);
    format!("{settings}tls-replication yes\nmasteruser admin\nmasterauth admin\n")
}

/// The settings of a Sentinel, which names hosts by their hostnames.
pub(crate) fn sentinel_settings(authority: &Authority, port: u16) -> String {
    format!(
        "{}{}\ntls-replication yes\nsentinel resolve-hostnames yes\nsentinel announce-hostnames yes\n\
         sentinel announce-ip localhost\nsentinel sentinel-user admin\nsentinel sentinel-pass admin\n",
        tls_settings(authority, port),
        with_password(SENTINEL_USERS)
    )
}

fn redis_settings(authority: &Authority, port: u16) -> String {
    format!(
        "{}{}\n",
        tls_settings(authority, port),
        with_password(USERS)
    )
}

/// The settings of a process that is reached by TLS alone, with a user who may do anything.
fn tls_settings(authority: &Authority, port: u16) -> String {
    format!(
        "port 0\ntls-port {port}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients no\n\
         user default off\nuser admin on >admin ~* &* +@all\n",
        authority.server_certificate().display(),
        authority.server_key().display(),
        authority.certificate().display(),
    )
}

/// The service's user, with its password.
fn with_password(users: &str) -> String {
    let (old, new) = PASSWORDS;
    assert!(users.contains(old), "the example's password");
    users.trim().replace(old, new)
}
