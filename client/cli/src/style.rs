//! Colors. `anstream` removes them if the output is not a terminal, and if `NO_COLOR` is set.

use anstyle::{AnsiColor, Style};
use presence_client::{
    State,
    operator::{GatewayState, HealthStatus},
};

/// Less important text.
pub(crate) const FAINT: Style = Style::new().dimmed();

/// Important text.
pub(crate) const STRONG: Style = Style::new().bold();

/// The color of a state.
pub(crate) fn of_state(state: State) -> Style {
    match state {
        State::Offline => FAINT,
        State::Online => AnsiColor::Green.on_default(),
        State::InQueue => AnsiColor::Yellow.on_default(),
        State::InMatch => AnsiColor::Cyan.on_default(),
        State::Away => AnsiColor::Magenta.on_default(),
    }
}

/// The color of a health status.
pub(crate) fn of_health(status: HealthStatus) -> Style {
    match status {
        HealthStatus::Ok => AnsiColor::Green.on_default(),
        HealthStatus::Degraded => AnsiColor::Yellow.on_default(),
        HealthStatus::Unavailable => AnsiColor::Red.on_default(),
        HealthStatus::Unknown | HealthStatus::Disabled => FAINT,
    }
}

/// The color of a gateway's state.
pub(crate) fn of_gateway(state: GatewayState) -> Style {
    match state {
        GatewayState::Live => AnsiColor::Green.on_default(),
        GatewayState::Held => AnsiColor::Yellow.on_default(),
        GatewayState::Lost => AnsiColor::Red.on_default(),
        GatewayState::Leaving => FAINT,
    }
}
