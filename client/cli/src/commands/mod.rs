//! The commands, one per file.

mod completions;
mod connection;
mod context;
mod explain;
mod friends;
mod gateways;
mod get;
mod load;
mod online;
mod players;
mod probe;
mod set_state;
mod watch;

use std::env;

use presence_client::{History, State};
use set_state::Change;

use crate::{
    args::{Args, Command, Target},
    context::selected,
    failure::{Failure, Status},
    ids,
    output::Output,
    service::Service,
    target::{self, Authentication},
};

/// Runs the command that was given.
pub(crate) async fn run(args: Args) -> Result<Status, Failure> {
    let output = if args.json {
        Output::Json
    } else {
        Output::Text
    };
    let command = match args.command {
        Command::Completions { shell } => return completions::run(shell),
        Command::Context { command } => return context::run(command, args.target, output),
        command => command,
    };
    let context = selected(args.context.as_deref(), args.target.url.is_some(), |name| {
        env::var_os(name)
    })?;
    let read_variable = |name: &str| match &context {
        Some(context) => context.variable(name),
        None => env::var_os(name),
    };
    let (unsigned, authentication) = args.target.endpoint(read_variable)?;
    let signed = if authentication == Authentication::Signature {
        target::sign(unsigned).await?
    } else {
        unsigned
    };
    let endpoint = match args.timeout {
        Some(timeout) => signed.with_timeouts(timeout, timeout),
        None => signed,
    };
    let service = Service::new(endpoint, authentication)?;
    match command {
        Command::Get { player, history } => {
            get::run(&service, &player, history_from_flag(history), output).await
        }
        Command::Friends { players, history } => {
            friends::run(
                &service,
                &ids::expand(players)?,
                history_from_flag(history),
                output,
            )
            .await
        }
        Command::Connect { player, connection } => {
            connection::connect(&service, &player, &connection, output).await
        }
        Command::Heartbeat { player, connection } => {
            connection::heartbeat(&service, &player, &connection, output).await
        }
        Command::Disconnect {
            player,
            connection,
            reason,
        } => connection::disconnect(&service, &player, &connection, reason, output).await,
        Command::SetState {
            player,
            state,
            activity,
            yes,
        } => {
            let change = Change {
                state,
                activity: activity.map(|activity| activity.0),
            };
            set_state::run(&service, &player, &change, yes, output).await
        }
        Command::SignOut { player, yes } => {
            let change = Change {
                state: Some(State::Offline),
                activity: None,
            };
            set_state::run(&service, &player, &change, yes, output).await
        }
        Command::Watch { players, count } => {
            watch::run(&service, ids::expand(players)?, count, output).await
        }
        Command::Explain { player } => explain::run(&service, &player, output).await,
        Command::Online { live: false } => online::run(&service, output).await,
        Command::Online { live: true } => online::live(&service, output).await,
        Command::Gateways => gateways::run(&service, output).await,
        Command::Load(args) => load::run(&service, &args, output).await,
        Command::Probe => probe::run(&service, output).await,
        Command::Completions { shell } => completions::run(shell),
        Command::Context { command } => context::run(command, Target::default(), output),
    }
}

fn history_from_flag(is_wanted: bool) -> History {
    if is_wanted {
        History::Include
    } else {
        History::Omit
    }
}
