//! A primary and its replica behind one address or three Sentinels, and the faults after which these lead to the other
//! node.
//!
//! The replica is promoted only when it has read all that the primary sent, so that replication loses next to nothing.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::sleep,
};

use super::{PAUSE, ask, freeze, front::Front, replication, until_in_step};
use crate::{
    RedisServer,
    chaos::history::{Kind, Loss, Millis, Part, Trouble, now},
};

/// A primary that stops at any instruction has sent its replica all but what it wrote within this time.
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
        let pair = Self { nodes, primary: 0, front };
        follow(pair.replica().port(), pair.primary().port()).await;
        until_in_step(pair.replica().port()).await;
        pair
    }

    /// What the service takes as `PRESENCE_REDIS_URL`.
    pub(super) fn urls(&self) -> String {
        self.front.urls()
    }

    /// The ports of the nodes themselves.
    pub(super) fn ports(&self) -> Vec<u16> {
        self.nodes.iter().map(RedisServer::port).collect()
    }

    /// Does something to the primary, and waits until the other node has its place and a replica again.
    pub(super) async fn suffer(&mut self, kind: Kind, which: usize, time: Duration) -> Trouble {
        match kind {
            Kind::Demote if which.is_multiple_of(2) => self.demote_in_order(time).await,
            Kind::Demote => self.demote_abruptly(time).await,
            Kind::Hang => self.hang(time).await,
            Kind::Kill => self.kill(time).await,
            Kind::Isolate => self.isolate(time).await,
            _ => freeze(self.primary(), time).await,
        }
    }

    /// A planned failover: Redis sees to it that no write is lost.
    async fn demote_in_order(&mut self, time: Duration) -> Trouble {
        let (from, old, new) = (now(), self.primary().port(), self.replica().port());
        let mut command = redis::cmd("FAILOVER");
        command.arg("TO").arg("127.0.0.1").arg(new).arg("TIMEOUT").arg(5_000);
        while !replication(new).await.contains("role:master") {
            let _: Option<String> = ask(old, &command).await; // it refuses while one is under way
            sleep(PAUSE).await;
        }
        let trouble = self.move_front(Kind::Demote, from);
        sleep(time).await;
        until_in_step(old).await;
        trouble
    }

    /// A failover in which the former primary becomes a replica that has lost its primary: its answers are stale.
    async fn demote_abruptly(&mut self, time: Duration) -> Trouble {
        let (from, old, new) = (now(), self.primary().port(), self.replica().port());
        promote(new).await;
        follow(old, NO_PRIMARY).await;
        let lost = (from.saturating_sub(REPLICATION_LAG), now());
        let trouble = self.move_front(Kind::Demote, from);
        sleep(time).await;
        follow(old, new).await;
        until_in_step(old).await;
        Trouble { loss: Loss::Writes(vec![lost]), ..trouble }
    }

    /// The primary hangs, and is a primary for a moment when it goes on.
    async fn hang(&mut self, time: Duration) -> Trouble {
        let from = now();
        self.primary().pause();
        let (old, trouble) = (self.primary, self.fail_over(Kind::Hang, from).await);
        sleep(time).await;
        let resumed = now();
        self.resume_as_replica(old).await;
        let lost = vec![(from.saturating_sub(REPLICATION_LAG), from), (resumed, now())];
        until_in_step(self.nodes[old].port()).await;
        Trouble { loss: Loss::Writes(lost), ..trouble }
    }

    /// The primary dies, and comes back without a key.
    async fn kill(&mut self, time: Duration) -> Trouble {
        let (from, old) = (now(), self.primary);
        self.nodes[old].kill();
        let trouble = self.fail_over(Kind::Kill, from).await;
        sleep(time).await;
        self.nodes[old].restart().await;
        copy_at_once(&self.nodes[old]).await;
        follow(self.nodes[old].port(), self.primary().port()).await;
        until_in_step(self.nodes[old].port()).await;
        Trouble { loss: Loss::Writes(vec![(from.saturating_sub(REPLICATION_LAG), from)]), ..trouble }
    }

    /// The network between the service and the primary loses everything. The two nodes still reach each other, so the
    /// replica has every write that anybody can have heard of.
    async fn isolate(&mut self, time: Duration) -> Trouble {
        let (from, old) = (now(), self.primary().port());
        self.front.silence_all();
        let trouble = self.fail_over(Kind::Isolate, from).await;
        self.front.end_silence();
        follow(old, self.primary().port()).await;
        sleep(time).await;
        until_in_step(old).await;
        trouble
    }

    /// Promotes the replica once nothing arrives there any more.
    async fn fail_over(&mut self, kind: Kind, from: Millis) -> Trouble {
        sleep(DETECTION).await;
        let new = self.replica().port();
        let mut known = None;
        loop {
            let offset = copied(new).await;
            if offset.is_some() && offset == known {
                break;
            }
            known = offset;
            sleep(PAUSE).await;
        }
        promote(new).await;
        self.move_front(kind, from)
    }

    /// Leads new connections to the other node, which is a primary now.
    fn move_front(&mut self, kind: Kind, from: Millis) -> Trouble {
        self.primary = 1 - self.primary;
        self.front.move_to(self.primary().port());
        Trouble::over(Part::Redis, kind, from)
    }

    /// Resumes a node. The order to be a replica waits in its socket already, behind the commands of its clients.
    async fn resume_as_replica(&self, number: usize) {
        let port = self.nodes[number].port();
        let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("the kernel accepts");
        let order = format!("REPLICAOF 127.0.0.1 {}\r\n", self.primary().port());
        socket.write_all(order.as_bytes()).await.expect("the kernel takes it");
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

/// Repeats an idempotent order until the node answers: the machine may be busy.
async fn order(port: u16, command: &redis::Cmd) {
    while ask::<String>(port, command).await.is_none() {
        sleep(PAUSE).await;
    }
}

/// Replicas that start are sent the data without the usual wait for others.
async fn copy_at_once(node: &RedisServer) {
    order(node.port(), redis::cmd("CONFIG").arg("SET").arg("repl-diskless-sync-delay").arg(0)).await;
}

/// How far a replica has read what its primary sent.
async fn copied(port: u16) -> Option<u64> {
    let info = replication(port).await;
    info.lines().find_map(|line| line.strip_prefix("slave_repl_offset:")?.trim().parse().ok())
}
