//! A throwaway Redis Cluster.

use std::{process::Command, time::Duration};

use redis::{cluster::ClusterClient, cluster_async::ClusterConnection};
use tempfile::TempDir;

use crate::process::{Process, free_port};

/// A cluster of masters without replicas, of its own.
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<Node>,
    _directory: TempDir,
}

#[derive(Debug)]
struct Node {
    process: Process,
    port: u16,
}

impl RedisCluster {
    /// Starts three masters that share all slots.
    ///
    /// # Panics
    /// Where they do not come to an agreement.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let nodes: Vec<_> = (0..3).map(|number| Node::start(&directory, number)).collect();
        let addresses: Vec<_> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        let cluster = Self { nodes, _directory: directory };
        loop {
            let mut create = Command::new("redis-cli");
            create.args(["--cluster", "create"]).args(&addresses).arg("--cluster-yes");
            if create.output().expect("redis-cli runs").status.success() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        while cluster.connect().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster
    }

    /// The seeds, as `PRESENCE_REDIS_URL` takes them.
    pub fn urls(&self) -> String {
        self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port)).collect::<Vec<_>>().join(",")
    }

    /// A connection for raw keys.
    pub async fn connection(&self) -> ClusterConnection {
        self.connect().await.expect("the cluster answers")
    }

    /// Ends a master, as kill -9 does.
    pub fn kill(&mut self, number: usize) {
        self.nodes[number].process.kill();
    }

    async fn connect(&self) -> redis::RedisResult<ClusterConnection> {
        let urls = self.nodes.iter().map(|node| format!("redis://127.0.0.1:{}", node.port));
        let mut connection = ClusterClient::new(urls)?.get_async_connection().await?;
        redis::cmd("SET").arg("ready").arg(1).query_async::<()>(&mut connection).await?;
        redis::cmd("DEL").arg("ready").query_async::<()>(&mut connection).await?;
        Ok(connection)
    }
}

impl Node {
    fn start(directory: &TempDir, number: usize) -> Self {
        let port = cluster_port();
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
        command.args(["--cluster-enabled", "yes", "--cluster-node-timeout", "1000"]);
        command.args([
            "--cluster-config-file",
            &format!("nodes-{number}.conf"),
            "--cluster-require-full-coverage",
            "no",
        ]);
        command.arg("--dir").arg(directory.path());
        Self { process: Process::start(&mut command), port }
    }
}

/// A free port whose bus port, 10,000 above it, exists as well.
fn cluster_port() -> u16 {
    loop {
        let port = free_port();
        if port < 55_000 {
            return port;
        }
    }
}
