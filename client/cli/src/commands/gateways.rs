//! `presence gateways`: the gateways that hold a lease, and their connections.

use std::fmt::Write as _;

use presence_client::operator::{Gateway, GatewayState, Gateways};

use crate::{
    failure::{Failure, Status},
    output::{Output, moment, span},
    service::Service,
    style::{FAINT, of_gateway},
    table::{Cell, Table, grouped},
};

pub(super) async fn run(service: &Service, output: Output) -> Result<Status, Failure> {
    let gateways = service
        .operator
        .gateways()
        .await
        .map_err(|error| service.server_failure(&error))?;
    output.show(&gateways, || text(&gateways))?;
    Ok(Status::Done)
}

fn text(list: &Gateways) -> String {
    let as_of = moment(list.as_of);
    if list.gateways.is_empty() {
        return format!("No gateway holds a lease. {FAINT}Read at {as_of}.{FAINT:#}\n");
    }
    let mut table = Table::new(["GATEWAY", "CONNECTIONS", "EXPIRES IN", "STATE"]);
    list.gateways
        .iter()
        .for_each(|gateway| table.push(row(gateway)));
    let connections = grouped(
        list.gateways
            .iter()
            .map(|gateway| gateway.connections)
            .sum(),
    );
    let mut text = table.to_string();
    let _ = writeln!(
        text,
        "\nThey have {connections} connections. {FAINT}Read at {as_of}.{FAINT:#}"
    );
    text
}

fn row(gateway: &Gateway) -> [Cell; 4] {
    let expires_in = match gateway.state {
        GatewayState::Live => span(gateway.expires_in_ms),
        GatewayState::Held | GatewayState::Lost | GatewayState::Leaving => "-".to_owned(),
    };
    [
        Cell::plain(&gateway.gateway_id),
        Cell::number(gateway.connections),
        Cell::plain(expires_in),
        Cell::new(gateway.state.as_str(), of_gateway(gateway.state)),
    ]
}

#[cfg(test)]
mod tests {
    use presence_client::GatewayId;

    use super::*;

    fn gateway(id: &str, connections: u64, expires_in_ms: u64, state: GatewayState) -> Gateway {
        Gateway {
            gateway_id: GatewayId::parse(id).unwrap(),
            connections,
            expires_in_ms,
            state,
        }
    }

    fn shown(gateways: Vec<Gateway>) -> String {
        let list = Gateways {
            as_of: 1_795_493_786_449,
            gateways,
        };
        anstream::adapter::strip_str(&text(&list)).to_string()
    }

    #[test]
    fn each_gateway_is_a_row_with_its_state() {
        let list = vec![
            gateway("gw-1", 9_871, 6_120, GatewayState::Live),
            gateway("gw-2", 120, 0, GatewayState::Held),
            gateway("gw-3", 12_000, 0, GatewayState::Lost),
            gateway("gw-long-name", 0, 0, GatewayState::Leaving),
        ];
        let expected = "GATEWAY       CONNECTIONS  EXPIRES IN  STATE\n\
                        gw-1                9,871  6 s         live\n\
                        gw-2                  120  -           held\n\
                        gw-3               12,000  -           lost\n\
                        gw-long-name            0  -           leaving\n\
                        \n\
                        They have 21,991 connections. Read at 2026-11-24T04:16:26Z.\n";
        assert_eq!(shown(list), expected);
    }

    #[test]
    fn without_gateways_there_is_no_table() {
        assert_eq!(
            shown(Vec::new()),
            "No gateway holds a lease. Read at 2026-11-24T04:16:26Z.\n"
        );
    }
}
