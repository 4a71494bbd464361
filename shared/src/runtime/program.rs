//! Start of a program: configuration and logging.

use std::process::ExitCode;

use crate::{
    REVISION, VERSION,
    config::{Config, Environment},
    telemetry,
};

/// The exit status for a bad value in the environment.
const USAGE: u8 = 2;

/// Variables that have an effect only if events are published.
const EVENT_VARIABLES: [&str; 3] = [
    "PRESENCE_EVENTS_SUBJECT",
    "PRESENCE_EVENTS_STREAM",
    "PRESENCE_EVENTS_RETENTION",
];

/// Reads the environment, secrets included.
///
/// # Errors
/// The exit status if a secret cannot be read. The reason is printed in one line.
pub fn environment() -> Result<Environment, ExitCode> {
    Environment::read().map_err(|error| fail(&error))
}

/// Reads the configuration and starts logging. The first line names version and revision.
///
/// # Errors
/// The exit status if a value is invalid. The reason is printed in one line.
pub fn start(environment: &Environment) -> Result<Config, ExitCode> {
    let config =
        Config::from_lookup(|name| environment.lookup(name)).map_err(|error| fail(&error))?;
    telemetry::logs::init(&config.log);
    tracing::info!(version = VERSION, revision = REVISION, "program starts");
    if config.events.is_none() {
        for variable in EVENT_VARIABLES
            .into_iter()
            .filter(|variable| environment.lookup(variable).is_some())
        {
            tracing::warn!(
                variable,
                "variable has no effect while PRESENCE_NATS_URL is unset"
            );
        }
    }
    Ok(config)
}

/// Prints why a program cannot run, and returns the exit status.
pub fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    eprintln!("{error}");
    ExitCode::from(USAGE)
}
