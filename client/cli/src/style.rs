//! Colours, where the terminal has them: `anstream` leaves them out elsewhere, and where `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};
use presence_client::{
    State,
    operator::{GatewayState, HealthStatus},
};

/// What stands out less.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// What stands out.
pub(crate) const STRONG: Style = Style::new().bold();

/// A state's colour.
pub(crate) fn of_state(state: State) -> Style {
    match state {
        State::Offline => FAINT,
        State::Online => AnsiColor::Green.on_default(),
        State::InQueue => AnsiColor::Yellow.on_default(),
        State::InMatch => AnsiColor::Cyan.on_default(),
        State::Away => AnsiColor::Magenta.on_default(),
    }
}

/// The colour of a part of the service.
pub(crate) fn of_health(status: HealthStatus) -> Style {
    match status {
        HealthStatus::Ok => AnsiColor::Green.on_default(),
        HealthStatus::Degraded => AnsiColor::Yellow.on_default(),
        HealthStatus::Unavailable => AnsiColor::Red.on_default(),
        HealthStatus::Unknown | HealthStatus::Disabled => FAINT,
    }
}

/// The color of what is happening to a gateway.
pub(crate) fn of_gateway(state: GatewayState) -> Style {
    match state {
        GatewayState::Live => AnsiColor::Green.on_default(),
        GatewayState::Held => AnsiColor::Yellow.on_default(),
        GatewayState::Lost => AnsiColor::Red.on_default(),
        GatewayState::Leaving => FAINT,
    }
}
