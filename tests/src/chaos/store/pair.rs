//! Primary and replica behind one address or three Sentinels, and the faults after which these lead
//! to the other node.
//!
//! The replica is promoted only when it has read everything that the primary sent, so that little
//! is lost.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::{POLL_INTERVAL, ask, freeze, front::Front, replication, until_in_step};
use crate::{
    RedisServer,
    chaos::history::{Fault, FaultKind, Loss, Millis, Part, now},
};

/// A primary that stops has sent its replica everything but the writes of this time.
const REPLICATION_LAG: Millis = 100;

/// The time that a failure detector needs at least.
const DETECTION: Duration = Duration::from_millis(200);

/// The discard port: a primary there is never reached.
const NO_PRIMARY: u16 = 9;

pub(super) struct Pair {
    nodes: [RedisServer; 2],
    primary: usize,
    front: Front,
}

impl Pair {
    /// Starts a pair behind an endpoint.
    pub(super) async fn start_behind_endpoint() -> Self {
        Self::start(async |port| Front::endpoint(port).await).await
    }

    /// Starts a pair that Sentinels know.
    pub(super) async fn start_with_sentinels() -> Self {
        Self::start(async |port| Front::sentinels(port).await).await
    }

    async fn start(front: impl AsyncFnOnce(u16) -> Front) -> Self {
        let nodes = [RedisServer::start().await, RedisServer::start().await];
        let front = front(nodes[0].port()).await;
        for node in &nodes {
            copy_at_once(node).await;
        }
        let pair = Self {
            nodes,
            primary: 0,
            front,
        };
        follow(pair.replica().port(), pair.primary().port()).await;
        until_in_step(pair.replica().port()).await;
        pair
    }

    /// The value of `PRESENCE_REDIS_URL`.
    pub(super) fn urls(&self) -> String {
        self.front.urls()
    }

    /// The ports of the nodes themselves.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(RedisServer::port).collect()
    }

    /// Injects a fault into the primary, and waits until there is a primary with a replica in sync
    /// again.
    pub(super) async fn inject(&mut self, kind: FaultKind, which: usize, time: Duration) -> Fault {
        match kind {
            FaultKind::Demote if which.is_multiple_of(2) => self.demote_in_order(time).await,
            FaultKind::Demote => self.demote_abruptly(time).await,
            FaultKind::Hang => self.hang(time).await,
            FaultKind::Kill => self.kill(time).await,
            FaultKind::Isolate => self.isolate(time).await,
            _ => freeze(self.primary(), time).await,
        }
    }

    /// A planned failover, in which Redis loses no write.
    async fn demote_in_order(&mut self, time: Duration) -> Fault {
        let from = now();
        let old = self.primary().port();
        let new = self.replica().port();
        let mut command = redis::cmd("FAILOVER");
        command
            .arg("TO")
            .arg("127.0.0.1")
            .arg(new)
            .arg("TIMEOUT")
            .arg(5_000);
        while !replication(new).await.contains("role:master") {
            let _: Option<String> = ask(old, &command).await; // refused during a failover
            sleep(POLL_INTERVAL).await;
        }
        let fault = self.move_front(FaultKind::Demote, from);
        sleep(time).await;
        until_in_step(old).await;
        fault
    }

    /// A failover in which the former primary becomes a replica without a primary: its replies are
    /// stale.
    async fn demote_abruptly(&mut self, time: Duration) -> Fault {
        let from = now();
        let old = self.primary().port();
        let new = self.replica().port();
        promote(new).await;
        follow(old, NO_PRIMARY).await;
        let lost = (from.saturating_sub(REPLICATION_LAG), now());
        let fault = self.move_front(FaultKind::Demote, from);
        sleep(time).await;
        follow(old, new).await;
        until_in_step(old).await;
        Fault {
            loss: Loss::Writes(vec![lost]),
            ..fault
        }
    }

    /// The primary hangs, and is a primary for a moment when it resumes.
    async fn hang(&mut self, time: Duration) -> Fault {
        let from = now();
        self.primary().pause();
        let old = self.primary;
        let fault = self.fail_over(FaultKind::Hang, from).await;
        sleep(time).await;
        let resumed = now();
        self.resume_as_replica(old).await;
        let lost = vec![
            (from.saturating_sub(REPLICATION_LAG), from),
            (resumed, now()),
        ];
        until_in_step(self.nodes[old].port()).await;
        Fault {
            loss: Loss::Writes(lost),
            ..fault
        }
    }

    /// The primary dies, and restarts empty.
    async fn kill(&mut self, time: Duration) -> Fault {
        let from = now();
        let old = self.primary;
        self.nodes[old].kill();
        let fault = self.fail_over(FaultKind::Kill, from).await;
        sleep(time).await;
        self.nodes[old].restart().await;
        copy_at_once(&self.nodes[old]).await;
        follow(self.nodes[old].port(), self.primary().port()).await;
        until_in_step(self.nodes[old].port()).await;
        Fault {
            loss: Loss::Writes(vec![(from.saturating_sub(REPLICATION_LAG), from)]),
            ..fault
        }
    }

    /// The network between the service and the primary loses everything. The two nodes still reach
    /// each other, so the replica has every acknowledged write.
    async fn isolate(&mut self, time: Duration) -> Fault {
        let from = now();
        let old = self.primary().port();
        self.front.silence_all();
        let fault = self.fail_over(FaultKind::Isolate, from).await;
        self.front.end_silence();
        follow(old, self.primary().port()).await;
        sleep(time).await;
        until_in_step(old).await;
        fault
    }

    /// Promotes the replica once it receives nothing any more.
    async fn fail_over(&mut self, kind: FaultKind, from: Millis) -> Fault {
        sleep(DETECTION).await;
        let new = self.replica().port();
        let mut known = None;
        loop {
            let offset = copied(new).await;
            if offset.is_some() && offset == known {
                break;
            }
            known = offset;
            sleep(POLL_INTERVAL).await;
        }
        promote(new).await;
        self.move_front(kind, from)
    }

    /// Leads new connections to the other node, which is a primary now.
    fn move_front(&mut self, kind: FaultKind, from: Millis) -> Fault {
        self.primary = 1 - self.primary;
        self.front.move_to(self.primary().port());
        Fault::over(Part::Redis, kind, from)
    }

    /// Resumes a node. The command to become a replica already waits in its socket, behind the
    /// commands of its clients.
    async fn resume_as_replica(&self, number: usize) {
        let port = self.nodes[number].port();
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .expect("the kernel accepts");
        let order = format!("REPLICAOF 127.0.0.1 {}\r\n", self.primary().port());
        socket
            .write_all(order.as_bytes())
            .await
            .expect("the kernel takes it");
        self.nodes[number].resume();
        socket.read_exact(&mut [0; 5]).await.expect("+OK");
    }

    fn primary(&self) -> &RedisServer {
        &self.nodes[self.primary]
    }

    fn replica(&self) -> &RedisServer {
        &self.nodes[1 - self.primary]
    }
}

async fn promote(port: u16) {
    order(port, redis::cmd("REPLICAOF").arg("NO").arg("ONE")).await;
}

async fn follow(port: u16, primary: u16) {
    order(port, redis::cmd("REPLICAOF").arg("127.0.0.1").arg(primary)).await;
}

/// Repeats an idempotent command until the node replies: the machine may be busy.
async fn order(port: u16, command: &redis::Cmd) {
    while ask::<String>(port, command).await.is_none() {
        sleep(POLL_INTERVAL).await;
    }
}

/// Has a node send its data to a new replica at once, without waiting for others.
async fn copy_at_once(node: &RedisServer) {
    order(
        node.port(),
        redis::cmd("CONFIG")
            .arg("SET")
            .arg("repl-diskless-sync-delay")
            .arg(0),
    )
    .await;
}

/// The replication offset of a replica.
async fn copied(port: u16) -> Option<u64> {
    let info = replication(port).await;
    info.lines()
        .find_map(|line| line.strip_prefix("slave_repl_offset:")?.trim().parse().ok())
}
