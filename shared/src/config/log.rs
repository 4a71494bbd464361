//! Logs.

use tracing_subscriber::filter::Targets;

use super::variables::{Result, Variables};

/// Logs.
#[derive(Debug, Clone)]
pub struct LogConfig {
    /// `RUST_LOG` (`info`): a level, or levels by module, such as `info,presence=debug`.
    pub filter: Targets,
    /// `PRESENCE_LOG_FORMAT` (`text`, in AWS Lambda `json`).
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl LogConfig {
    pub(super) fn from(variables: &Variables<'_>) -> Result<Self> {
        let is_lambda = variables.text("AWS_LAMBDA_RUNTIME_API").is_some();
        Ok(Self {
            filter: variables.parse(
                "RUST_LOG",
                "info",
                "off, error, warn, info, debug or trace, alone or by module: info,presence=debug",
                |text| text.parse().ok(),
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
