//! `presence completions`: completion scripts for shells.

use std::io::Write as _;

use clap::CommandFactory as _;
use clap_complete::{Shell, generate};

use crate::{
    args::Args,
    failure::{Failure, Status},
};

pub(super) fn run(shell: Shell) -> Result<Status, Failure> {
    let mut script = Vec::new();
    generate(shell, &mut Args::command(), "presence", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(Status::Done)
}
