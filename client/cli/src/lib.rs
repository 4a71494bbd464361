//! The program `presence`: asks the presence service about players, sets their states, and watches
//! them, over HTTP.
//!
//! Layout:
//!
//! - `commands`: one file per command; `commands/load`: the load test.
//! - `args`: arguments; `target`: the service that they, or the environment, name; `context`: saved
//!   services.
//! - `service`: clients of the service, and messages for calls that failed.
//! - `ids`: players named on standard input.
//! - `failure`: errors of commands, and exit statuses; `confirm`: questions before a command.
//! - `output`: text, or JSON for programs; `activity`, `table` and `style`: parts of the text.

mod activity;
mod args;
mod commands;
mod confirm;
mod context;
mod failure;
mod ids;
mod output;
mod service;
mod style;
mod table;
mod target;

use std::process::ExitCode;

use clap::Parser as _;

use crate::{args::Args, failure::Failure};

/// Runs the program: parses the arguments and executes the command.
pub fn run() -> ExitCode {
    let args = Args::parse(); // exits with status 2 if they are invalid
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(args)),
        Err(error) => Err(Failure::from(error)),
    };
    outcome.map_or_else(|failure| failure.report(), Into::into)
}
