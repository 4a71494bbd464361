//! Faults of a Redis Cluster, and the roles of its nodes.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::sleep;

use super::{POLL_INTERVAL, Store, ask, until_in_step};
use crate::{
    RedisCluster,
    chaos::history::{Fault, FaultKind, Loss, Millis, Part, Recorder, now},
};

/// The longest replication lag.
const REPLICATION_LAG: Millis = 1_000;

/// The longest time for which a former master does not know yet that it was replaced.
const DEMOTION: Millis = 500;

/// A node, as another one sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    port: u16,
    is_master: bool,
    slots: Vec<(u16, u16)>,
}

impl Store {
    /// Records each failover that was not planned: to Redis, a node on a busy machine may look
    /// dead.
    pub(in crate::chaos) async fn watch_epochs(&self, recorder: Recorder) {
        let mut known = (self.epoch().await, now());
        loop {
            sleep(10 * POLL_INTERVAL).await;
            let epoch = self.epoch().await;
            let at = now();
            if epoch > known.0 && self.planned_until.load(Ordering::Relaxed) < known.1 {
                let from = known.1.saturating_sub(2 * REPLICATION_LAG);
                let loss = Loss::Writes(vec![(from, at + DEMOTION)]);
                let failover = Fault::over(Part::Redis, FaultKind::Freeze, from);
                recorder.lock().faults.push(Fault { loss, ..failover });
            }
            known = (epoch.max(known.0), at);
        }
    }

    async fn epoch(&self) -> u64 {
        let mut latest = 0;
        for port in &self.ports {
            let info: String = ask(*port, redis::cmd("CLUSTER").arg("INFO"))
                .await
                .unwrap_or_default();
            let epoch = info
                .lines()
                .find_map(|line| line.strip_prefix("cluster_current_epoch:"));
            latest = latest.max(
                epoch
                    .and_then(|epoch| epoch.trim().parse().ok())
                    .unwrap_or_default(),
            );
        }
        latest
    }

    /// Injects a fault into a master. If that lasts long enough, its replica takes over, and the
    /// master returns as a replica.
    pub(super) async fn inject_into_cluster(
        &self,
        cluster: &mut RedisCluster,
        which: usize,
        kind: FaultKind,
        time: Duration,
    ) -> Fault {
        let masters: Vec<_> = self
            .members(&self.ports)
            .await
            .into_iter()
            .filter(|node| !node.slots.is_empty())
            .collect();
        let master = masters[which % masters.len()].clone();
        let number = self
            .ports
            .iter()
            .position(|port| *port == master.port)
            .unwrap_or_default();
        let others: Vec<_> = self
            .ports
            .iter()
            .copied()
            .filter(|port| *port != master.port)
            .collect();
        let from = now();
        self.planned_until.store(Millis::MAX, Ordering::Relaxed);
        match kind {
            FaultKind::Kill => cluster.kill(number),
            _ => cluster.pause(number),
        }
        sleep(time).await;
        let is_long = time > Duration::from_secs(1);
        if is_long {
            self.until(&others, |node| {
                node.port != master.port || node.slots.is_empty()
            })
            .await;
        }
        match kind {
            FaultKind::Kill => cluster.restart(number),
            _ => cluster.resume(number),
        }
        if !is_long {
            self.planned_until.store(0, Ordering::Relaxed);
            let loss = if kind == FaultKind::Kill {
                Loss::Everything
            } else {
                Loss::Nothing
            };
            return Fault {
                slots: master.slots,
                loss,
                ..Fault::over(Part::Redis, kind, from)
            };
        }
        self.until(&self.ports, |node| {
            node.port != master.port || !node.is_master
        })
        .await;
        until_in_step(master.port).await;
        self.planned_until.store(now() + 2_000, Ordering::Relaxed);
        let loss = Loss::Writes(vec![(
            from.saturating_sub(REPLICATION_LAG),
            now() + DEMOTION,
        )]);
        Fault {
            slots: master.slots,
            loss,
            ..Fault::over(Part::Redis, kind, from)
        }
    }

    /// Waits until, according to all of `ports`, `is_so` holds for every node and each slot is
    /// assigned.
    async fn until(&self, ports: &[u16], is_so: impl Fn(&Member) -> bool) {
        loop {
            let mut is_agreed = true;
            for port in ports {
                let members = self.members(&[*port]).await;
                let slots: u32 = members
                    .iter()
                    .flat_map(|node| &node.slots)
                    .map(|(a, b)| u32::from(b - a) + 1)
                    .sum();
                is_agreed &= slots == 16_384 && members.iter().all(&is_so);
            }
            if is_agreed {
                return;
            }
            sleep(POLL_INTERVAL).await;
        }
    }

    /// All nodes, according to the first of `ports` that responds.
    async fn members(&self, ports: &[u16]) -> Vec<Member> {
        for port in ports {
            if let Some(nodes) = ask::<String>(*port, redis::cmd("CLUSTER").arg("NODES")).await {
                return nodes.lines().filter_map(Member::parse).collect();
            }
        }
        Vec::new()
    }
}

impl Member {
    /// `<id> <ip>:<port>@<bus> <flags> <master> <ping> <pong> <epoch> <link> <slot> …`
    fn parse(line: &str) -> Option<Self> {
        let words: Vec<_> = line.split(' ').collect();
        let port = words
            .get(1)?
            .split_once(':')?
            .1
            .split('@')
            .next()?
            .parse()
            .ok()?;
        let is_master = words.get(2)?.split(',').any(|flag| flag == "master");
        let parse_range = |word: &&str| {
            let (first, last) = word.split_once('-').unwrap_or((word, word));
            Some((first.parse().ok()?, last.parse().ok()?))
        };
        Some(Self {
            port,
            is_master,
            slots: words[8..].iter().filter_map(parse_range).collect(),
        })
    }
}
