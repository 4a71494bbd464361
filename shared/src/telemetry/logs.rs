//! Logs, written to standard error by `RUST_LOG` (`info`) and `PRESENCE_LOG_FORMAT` (`text`, or
//! `json` in AWS Lambda).

use tracing_subscriber::{Layer as _, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::{LogConfig, LogFormat};

/// Starts logging for the life of the process.
pub fn init(config: &LogConfig) {
    let writer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let formatted = match config.format {
        LogFormat::Text => writer.boxed(),
        LogFormat::Json => writer.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry()
        .with(formatted.with_filter(config.filter.clone()))
        .init();
}
