//! Command-line arguments.

mod context;
mod load;
mod time;

use std::time::Duration;

use clap::{
    Args as ClapArgs, Parser, Subcommand,
    builder::{PossibleValue, PossibleValuesParser, TypedValueParser},
};
use clap_complete::Shell;
use presence_client::{ConnectionId, PlayerId, Reason, State};

pub(crate) use self::{context::ContextCommand, load::LoadArgs};
use crate::activity::{self, ActivityArgument};

/// Version, and the commit that it was built from.
const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (",
    env!("PRESENCE_REVISION"),
    ")"
);

const EXIT_STATUSES: &str = "\
Exit statuses:
  0  done
  1  the service could not be reached, or could not do it now: try again later
  2  invalid arguments, or no confirmation
  3  the service refused the token or the transition
  4  this service does not support the command: the functions have no events, for example
  5  probe: degraded, a component is late or unavailable; load: a bar is not met
  130  load: interrupted";

/// Ask the presence service who is online, and watch players come and go.
#[derive(Debug, Parser)]
#[command(name = "presence", version = VERSION, after_help = EXIT_STATUSES, infer_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print JSON, for programs: one value, or one per line with `watch`.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Use a saved context: a service's URL, and how calls to it authenticate [env:
    /// PRESENCE_CONTEXT]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Time limit for one call; a call that failed is repeated at most twice [default: 6s]
    #[arg(long, global = true, value_name = "TIME", value_parser = time::timeout)]
    pub(crate) timeout: Option<Duration>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which service, and how calls to it authenticate. The variables are read only by commands that
/// call the service, and only if the flag is not given.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct Target {
    /// URL of the service: a presence-server, or the API in front of the functions [env:
    /// PRESENCE_URL] [default: http://127.0.0.1:8080]
    #[arg(long, global = true)]
    pub(crate) url: Option<String>,
    /// Bearer token, if the service requires one. Prefer the variable: other users of this machine
    /// may see a command's arguments [env: PRESENCE_TOKEN]
    #[arg(long, global = true)]
    pub(crate) token: Option<String>,
    /// Sign calls (AWS SigV4), for an API of API Gateway that requires it. The credentials are
    /// those that the AWS CLI uses: from the environment, a profile, SSO, or a container, but not
    /// those of `aws login` [env: PRESENCE_SIGV4=true]
    #[arg(long, global = true, conflicts_with = "token")]
    pub(crate) sigv4: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a player.
    Get {
        player: PlayerId,
        /// Show when an OFFLINE player was last seen.
        #[arg(long)]
        history: bool,
    },
    /// Show several players, all read at one moment.
    Friends {
        /// Players to show; - reads their ids from standard input.
        #[arg(required = true, value_name = "PLAYER")]
        players: Vec<PlayerId>,
        /// Show when OFFLINE players were last seen.
        #[arg(long)]
        history: bool,
    },
    /// Open a connection of a player, to try what a gateway calls. It expires unless it gets
    /// heartbeats.
    Connect {
        player: PlayerId,
        connection: ConnectionId,
    },
    /// Renew a connection of a player.
    Heartbeat {
        player: PlayerId,
        connection: ConnectionId,
    },
    /// Close a connection of a player. It cannot be opened again under the same id.
    Disconnect {
        player: PlayerId,
        connection: ConnectionId,
        /// Why it was closed: lost keeps the player for the service's grace, moving for its move
        /// grace.
        #[arg(long, default_value = "quit", value_parser = reason_parser())]
        reason: Reason,
    },
    /// Set a player's state, activity, or both.
    SetState {
        player: PlayerId,
        #[arg(ignore_case = true, required_unless_present = "activity", value_parser = state_parser())]
        state: Option<State>,
        /// The activity as JSON, such as {"details":"Ranked","joinable":true}; null removes it.
        #[arg(long, value_name = "JSON", value_parser = activity::parse)]
        activity: Option<ActivityArgument>,
        /// Do not ask for confirmation if the state is OFFLINE.
        #[arg(long, short)]
        yes: bool,
    },
    /// Show changes of players, until interrupted.
    Watch {
        /// Players to watch, beginning with their current presence; - reads their ids from standard
        /// input. Without one, the changes of all players are shown.
        #[arg(value_name = "PLAYER")]
        players: Vec<PlayerId>,
        /// End after this number of changes.
        #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
        count: Option<u64>,
    },
    /// Explain why a player is in its state, and what comes next.
    Explain { player: PlayerId },
    /// Count the players who are not OFFLINE, by state.
    Online {
        /// Go on, with new numbers each second, until interrupted.
        #[arg(long)]
        live: bool,
    },
    /// List the gateways that hold a lease, and those whose connections are being ended.
    Gateways,
    /// Sign a player out: OFFLINE, with all its connections closed, on every device.
    SignOut {
        player: PlayerId,
        /// Do not ask for confirmation.
        #[arg(long, short)]
        yes: bool,
    },
    /// Check the health of the service; the exit status reports it to scripts.
    Probe,
    /// Put load on the service as gateways do, measure and judge it, then remove everything.
    Load(LoadArgs),
    /// Save services under names, with their tokens.
    Context {
        #[command(subcommand)]
        command: ContextCommand,
    },
    /// Print a completion script for a shell.
    Completions { shell: Shell },
}

/// A parser of states' names. Some may be typed with a hyphen, too.
fn state_parser() -> impl TypedValueParser<Value = State> {
    let values = State::ALL.map(|state| {
        let value = PossibleValue::new(state.as_str());
        match state {
            State::InQueue => value.alias("IN-QUEUE"),
            State::InMatch => value.alias("IN-MATCH"),
            State::Offline | State::Online | State::Away => value,
        }
    });
    PossibleValuesParser::new(values).try_map(|typed| {
        typed
            .to_ascii_uppercase()
            .replace('-', "_")
            .parse::<State>()
    })
}

/// A parser of the reasons of a disconnect.
fn reason_parser() -> impl TypedValueParser<Value = Reason> {
    PossibleValuesParser::new(Reason::ALL.map(Reason::as_str))
        .try_map(|typed| typed.parse::<Reason>())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_of_the_arguments_is_valid() {
        Args::command().debug_assert();
    }

    #[test]
    fn a_state_may_be_typed_in_small_letters_and_with_a_hyphen() {
        for typed in ["IN_MATCH", "in_match", "in-match"] {
            let args = Args::try_parse_from(["presence", "set-state", "alice", typed]).unwrap();
            assert!(
                matches!(
                    args.command,
                    Command::SetState {
                        state: Some(State::InMatch),
                        ..
                    }
                ),
                "{typed}"
            );
        }
    }

    #[test]
    fn a_state_may_be_left_out_if_there_is_an_activity() {
        let parse = |more: &[&str]| {
            Args::try_parse_from([&["presence", "set-state", "alice"], more].concat())
        };
        assert!(parse(&["--activity", "null"]).is_ok());
        assert!(parse(&["away", "--activity", r#"{"joinable":true}"#]).is_ok());
        assert!(parse(&[]).is_err());
        assert!(parse(&["--activity", r#"{"joinabel":true}"#]).is_err());
    }

    #[test]
    fn the_help_never_shows_the_token() {
        let help = Args::command().render_long_help().to_string();
        assert!(
            help.contains("PRESENCE_TOKEN") && !help.contains("PRESENCE_TOKEN="),
            "{help}"
        );
    }
}
