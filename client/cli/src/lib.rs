//! The program `presence`: asks the presence service about players, sets their states, and watches them, over HTTP.
//!
//! Layout, in the direction of its arrows:
//!
//! - `args`: what the command line says; `target`: the service that it, or the environment, names; `context`: services
//!   that were saved under names.
//! - `commands`: one file a command.
//! - `service`: the service, and whatever it answers that is no answer to the question.
//! - `ids`: players named on standard input.
//! - `failure`: why nothing came of it, and the exit status for that.
//! - `output`: tables for people, JSON for programs; `table` and `style` for the former.

mod activity;
mod args;
mod commands;
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

/// Does what the command line says: the whole of the program.
pub fn run() -> ExitCode {
    let args = Args::parse(); // ends the program where it cannot be understood, with status 2
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(commands::run(args)),
        Err(error) => Err(Failure::from(error)),
    };
    outcome.map_or_else(|failure| failure.tell(), Into::into)
}
