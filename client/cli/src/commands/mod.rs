//! The commands, one a file.

mod completions;
mod explain;
mod friends;
mod gateways;
mod get;
mod online;
mod players;
mod probe;
mod set_state;
mod watch;

use presence_client::{History, State};
use set_state::Change;

use crate::{
    args::{Args, Command},
    failure::{Failure, Status},
    output::Output,
    service::Service,
    target::{self, Authentication},
};

/// Runs the command that was given.
pub(crate) async fn run(args: Args) -> Result<Status, Failure> {
    let output = if args.json { Output::Json } else { Output::Text };
    if let Command::Completions { shell } = args.command {
        return completions::run(shell);
    }
    let (endpoint, authentication) = args.target.endpoint(|name| std::env::var_os(name))?;
    let endpoint = if authentication == Authentication::Signature { target::sign(endpoint).await? } else { endpoint };
    let service = Service::new(endpoint, authentication)?;
    match args.command {
        Command::Get { player, history } => get::run(&service, &player, of_flag(history), output).await,
        Command::Friends { players, history } => friends::run(&service, &players, of_flag(history), output).await,
        Command::SetState { player, state, activity, yes } => {
            let change = Change { state, activity: activity.map(|activity| activity.0) };
            set_state::run(&service, &player, &change, yes, output).await
        }
        Command::SignOut { player, yes } => {
            let change = Change { state: Some(State::Offline), activity: None };
            set_state::run(&service, &player, &change, yes, output).await
        }
        Command::Watch { players, count } => watch::run(&service, players, count, output).await,
        Command::Explain { player } => explain::run(&service, &player, output).await,
        Command::Online => online::run(&service, output).await,
        Command::Gateways => gateways::run(&service, output).await,
        Command::Probe => probe::run(&service, output).await,
        Command::Completions { shell } => completions::run(shell),
    }
}

fn of_flag(is_wanted: bool) -> History {
    if is_wanted { History::Include } else { History::Omit }
}
