//! Calls of gateways, and the responses.

use super::{Context, Invariant, Report};
use crate::chaos::history::{Millis, Part, Socket, Verb};

/// The time within which a gateway and a device notice the end of a socket.
const NOTICE: Millis = 1_000;

pub(super) fn check(context: &Context<'_>, report: &mut Report) {
    let player = Some(context.player.number);
    for call in context.leases.revived() {
        let text = format!(
            "{:?} of {:?} was accepted after its disconnect",
            call.verb, call.connection
        );
        report.violate(Invariant::ClosedStaysClosed, player, call.sent, text);
    }
    for call in context.leases.refused() {
        let text = format!(
            "{:?} of {:?} was refused, and the connection was not closed",
            call.verb, call.connection
        );
        report.violate(Invariant::ClosedStaysClosed, player, call.sent, text);
    }
    for call in &context.player.calls {
        let Some(socket) = context
            .player
            .sockets
            .iter()
            .find(|socket| Some(&socket.connection) == call.connection.as_ref())
        else {
            continue; // a socket whose device gave up before it was open
        };
        report.count("calls about a known socket");
        let is_false = match call.verb {
            Verb::Moving => false, // the gateway is about to close the socket
            Verb::Quit | Verb::Lost => call.asked + NOTICE < socket.closed.unwrap_or(Millis::MAX),
            _ => call.asked > noticed_by(context, socket),
        };
        if is_false {
            let text = format!(
                "{:?} of {}, asked at {}",
                call.verb, socket.connection, call.asked
            );
            report.violate(Invariant::TruthfulGateway, player, call.asked, text);
        }
    }
}

/// When a socket's gateway knows that the socket is closed. A frozen gateway notices it when it
/// resumes; one that drains sends heartbeats until the service has ended its lease.
fn noticed_by(context: &Context<'_>, socket: &Socket) -> Millis {
    let Some(closed) = socket.closed else {
        return Millis::MAX;
    };
    let parts = [Part::Gateway(socket.gateway), Part::Machine];
    let of_gateway = context
        .history
        .faults
        .iter()
        .filter(|fault| parts.contains(&fault.part));
    let during =
        of_gateway.filter(|fault| fault.from <= closed + NOTICE && closed <= fault.to + NOTICE);
    during.map(|fault| fault.to).fold(closed, Millis::max) + NOTICE
}
