//! Cost of gateways with leases.

use presence::model::{GatewayId, OwnedConnections, Reason};

use super::{Costs, RelaySignal, app, connections, counts, renewals};

const CONNECTIONS: usize = 100;

fn gateway(number: usize) -> GatewayId {
    GatewayId::parse(&format!("g{number}")).unwrap()
}

/// Starts gateways that hold leases. The first one has 100 connections.
async fn gateways(count: usize) -> Costs {
    let costs = Costs::of(CONNECTIONS).await;
    for number in 0..count {
        costs
            .presence
            .renew_gateway(&gateway(number))
            .await
            .unwrap();
    }
    costs.heartbeat_as_gateway().await;
    // Redis learns the scripts, and the sweep begins.
    costs.sweep_gateways().await;
    costs
}

impl Costs {
    /// Sends a batch of heartbeats of the first gateway's connections.
    async fn heartbeat_as_gateway(&self) {
        let heartbeats = OwnedConnections {
            connections: connections(CONNECTIONS),
            gateway: Some(gateway(0)),
        };
        self.presence
            .heartbeat_batch(heartbeats, &self.trace)
            .await
            .unwrap();
    }

    async fn sweep_gateways(&self) -> u64 {
        let sweeper = app(&self.redis, &[]).gateway_sweeper(RelaySignal::default());
        sweeper.pass().await.unwrap()
    }
}

#[tokio::test]
async fn a_renewal_of_a_gateway_is_one_write_however_many_connections_it_has() {
    let mut costs = gateways(1).await;
    costs.forget().await;
    costs.presence.renew_gateway(&gateway(0)).await.unwrap();
    let expected = counts([("time", 1), ("zadd", 1)]);
    assert_eq!(costs.spent().await, (1, expected));
}

#[tokio::test]
async fn a_batch_of_heartbeats_of_a_gateway_takes_the_same_commands_as_one_without() {
    let mut costs = gateways(1).await;
    costs.forget().await;
    costs.heartbeat_as_gateway().await;
    let expected = renewals(2, 100);
    assert_eq!(costs.spent().await, (2, expected));
}

#[tokio::test]
async fn a_sweep_of_gateways_that_are_alive_costs_the_same_however_many_there_are() {
    let mut spent = Vec::new();
    for count in [1, 200] {
        let mut costs = gateways(count).await;
        costs.forget().await;
        assert_eq!(costs.sweep_gateways().await, 0);
        spent.push(costs.spent().await);
    }
    assert_eq!(spent[0], spent[1]);
    let (scripts, commands) = &spent[0];
    assert_eq!(*scripts, 1);
    assert!(commands.values().sum::<u64>() <= 8, "{commands:?}");
}

/// Its other cost is that of the OFFLINE transitions.
#[tokio::test]
async fn the_end_of_a_gateway_takes_a_script_call_for_fifty_connections() {
    let mut costs = gateways(3).await;
    costs.forget().await;
    let ended = costs
        .presence
        .leave_gateway(&gateway(0), Reason::Quit, &costs.trace)
        .await
        .unwrap();
    assert_eq!(ended, 100);
    let (_, commands) = costs.spent().await;
    let count = |name: &str| commands.get(name).copied().unwrap_or_default();
    assert_eq!(count("get") + count("mget"), 100, "{commands:?}");
}
