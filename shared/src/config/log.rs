//! Configuration of the log.

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::variables::{Result, Variables};

/// The levels that `RUST_LOG` accepts, in upper or lower case.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Configuration of the log.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `RUST_LOG` (`info`): a level, or levels by module, such as `info,presence=debug`.
    pub filter: Targets,
    /// `PRESENCE_LOG_FORMAT` (`text`, in AWS Lambda `json`).
    pub format: LogFormat,
}

/// The format of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line, for machines.
    Json,
}

impl LogConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Self> {
        let is_lambda = variables.text("AWS_LAMBDA_RUNTIME_API").is_some();
        Ok(Self {
            filter: variables.parse(
                "RUST_LOG",
                "info",
                "a level (off, error, warn, info, debug or trace), levels of modules, or both, each once: info,presence=debug",
                |text| parse_filter(text).map(quiet_nats_client),
            )?,
            format: variables.parse(
                "PRESENCE_LOG_FORMAT",
                if is_lambda { "json" } else { "text" },
                "text or json",
                |text| match text {
                    "text" => Some(LogFormat::Text),
                    "json" => Some(LogFormat::Json),
                    _ => None,
                },
            )?,
        })
    }
}

/// Reads levels, alone or by module, separated by commas.
///
/// `Targets` has a parser of its own, which takes any word that is not a level for the name of a
/// module: with `warning` a program would log nothing at all.
fn parse_filter(text: &str) -> Option<Targets> {
    let mut filter = Targets::new();
    let mut seen = Vec::new();
    for directive in text.split(',').map(str::trim) {
        let (module, level) = match directive.split_once('=') {
            Some((module, level)) => (
                Some(module).filter(|module| is_module(module))?.to_owned(),
                level,
            ),
            None => (String::new(), directive),
        };
        let level = parse_level(level)?;
        filter = if module.is_empty() {
            filter.with_default(level)
        } else {
            filter.with_target(module.clone(), level)
        };
        // Of two levels for one module only the last would count.
        if seen.contains(&module) {
            return None;
        }
        seen.push(module);
    }
    Some(filter)
}

fn parse_level(text: &str) -> Option<LevelFilter> {
    let level = LEVELS
        .into_iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text));
    level.map(|(_, level)| level)
}

/// Whether a text can be a module's path, such as `presence::events` or `opentelemetry-otlp`. A
/// level cannot.
fn is_module(text: &str) -> bool {
    let is_name = |name: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name.bytes().all(is_allowed)
    };
    parse_level(text).is_none() && text.split("::").all(is_name)
}

/// Silences the client of NATS, which logs each attempt to connect to a server that is down, unless
/// `RUST_LOG` names it or asks for `debug`. The service itself logs each loss, its cause and the
/// recovery, once.
fn quiet_nats_client(filter: Targets) -> Targets {
    const CLIENT: &str = "async_nats";
    let is_named = filter.iter().any(|(target, _)| target.starts_with(CLIENT));
    let is_detailed = filter
        .default_level()
        .is_some_and(|level| level > LevelFilter::INFO);
    if is_named || is_detailed {
        filter
    } else {
        filter.with_target(CLIENT, LevelFilter::OFF)
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;
    use crate::config::variables::table;

    fn config(filter: &str) -> Result<LogConfig> {
        LogConfig::from(&Variables(&table(&[("RUST_LOG", filter)])))
    }

    #[test]
    fn a_level_is_of_all_modules_or_of_one() {
        for (text, module, level, expected) in [
            ("info", "hyper", Level::INFO, true),
            ("info", "hyper", Level::DEBUG, false),
            ("WARN", "presence", Level::INFO, false),
            (
                "info,presence=debug",
                "presence::events",
                Level::DEBUG,
                true,
            ),
            ("info, hyper=off", "hyper::client", Level::ERROR, false),
            ("info,hyper=off", "presence", Level::INFO, true),
            (
                "presence::events=trace",
                "presence::events",
                Level::TRACE,
                true,
            ),
            (
                "presence::events=trace",
                "presence::http",
                Level::ERROR,
                false,
            ),
            ("off", "presence", Level::ERROR, false),
            (
                "opentelemetry-otlp=warn",
                "opentelemetry-otlp",
                Level::WARN,
                true,
            ),
        ] {
            assert_eq!(
                config(text).unwrap().filter.would_enable(module, &level),
                expected,
                "{text} {module} {level}"
            );
        }
    }

    #[test]
    fn the_nats_client_is_silent_unless_it_is_asked_for() {
        for (text, expected) in [
            ("info", false),
            ("warn,presence=debug", false),
            ("debug", true),
            ("info,async_nats=warn", true),
        ] {
            let filter = config(text).unwrap().filter;
            assert_eq!(
                filter.would_enable("async_nats::connector", &Level::ERROR),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn what_would_silence_the_program_by_mistake_is_refused() {
        for text in [
            "warning",
            "presence",
            "info,presence",
            "verbose",
            "information,presence=debug",
            "presence=loud",
            "presence=",
            "=info",
            "info=debug",
            "info,",
            ",",
            " ",
            "info,debug",
            "presence=info,presence=debug",
            "presence=info=debug",
            "pre sence=info",
            "presence::=info",
            "presence[{player}]=info",
            "3",
            "presence=+3",
        ] {
            assert_eq!(config(text).unwrap_err().variable, "RUST_LOG", "{text:?}");
        }
    }
}
