//! What gateways told, and what they were answered.

use super::{Invariant, Report, Scene};
use crate::chaos::history::{Millis, Part, Socket, Verb};

/// A gateway notices the end of a socket within that, as its device does.
const NOTICE: Millis = 1_000;

pub(super) fn check(scene: &Scene<'_>, report: &mut Report) {
    let player = Some(scene.player.number);
    for call in scene.leases.revived() {
        let text = format!("{:?} of {:?} was accepted after its disconnect", call.verb, call.connection);
        report.violate(Invariant::ClosedStaysClosed, player, call.sent, text);
    }
    for call in scene.leases.refused() {
        let text = format!("{:?} of {:?} was refused, which nobody had closed", call.verb, call.connection);
        report.violate(Invariant::ClosedStaysClosed, player, call.sent, text);
    }
    for call in &scene.player.calls {
        let Some(socket) =
            scene.player.sockets.iter().find(|socket| Some(&socket.connection) == call.connection.as_ref())
        else {
            continue; // a socket whose device gave up before it was open
        };
        report.count("calls about a known socket");
        let is_false = match call.verb {
            Verb::Moving => false, // the gateway is about to close the socket
            Verb::Quit | Verb::Lost => call.asked + NOTICE < socket.closed.unwrap_or(Millis::MAX),
            _ => call.asked > noticed_by(scene, socket),
        };
        if is_false {
            let text = format!("{:?} of {}, asked at {}", call.verb, socket.connection, call.asked);
            report.violate(Invariant::TruthfulGateway, player, call.asked, text);
        }
    }
}

/// When a socket's gateway knows that the socket is closed. One that is frozen finds out when it goes on; one that drains
/// sends heartbeats until the service has ended its lease.
fn noticed_by(scene: &Scene<'_>, socket: &Socket) -> Millis {
    let Some(closed) = socket.closed else { return Millis::MAX };
    let parts = [Part::Gateway(socket.gateway), Part::Machine];
    let of_gateway = scene.history.troubles.iter().filter(|trouble| parts.contains(&trouble.part));
    let during = of_gateway.filter(|trouble| trouble.from <= closed + NOTICE && closed <= trouble.to + NOTICE);
    during.map(|trouble| trouble.to).fold(closed, Millis::max) + NOTICE
}
