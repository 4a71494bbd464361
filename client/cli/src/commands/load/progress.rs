//! The progress line: rewritten on a terminal, else a new line every few seconds.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use tokio::time::Instant;

/// The interval of updates, on a terminal and elsewhere.
const TERMINAL_INTERVAL: Duration = Duration::from_millis(250);
const PLAIN_INTERVAL: Duration = Duration::from_secs(5);

/// Writes to standard error, and ignores errors.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    next_at: Instant,
    /// The length of the current line on the terminal.
    length: usize,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            next_at: Instant::now(),
            length: 0,
        }
    }

    /// Shows a line, if an update is due.
    pub(super) fn show(&mut self, line: impl FnOnce() -> String) {
        let now = Instant::now();
        if now >= self.next_at {
            self.next_at = now
                + if self.is_terminal {
                    TERMINAL_INTERVAL
                } else {
                    PLAIN_INTERVAL
                };
            self.write(&line());
        }
    }

    /// Shows the first line of a phase immediately.
    pub(super) fn begin(&mut self, line: &str) {
        self.next_at = Instant::now()
            + if self.is_terminal {
                TERMINAL_INTERVAL
            } else {
                PLAIN_INTERVAL
            };
        self.write(line);
    }

    /// Removes the line from the terminal.
    pub(super) fn end(&mut self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r{:1$}\r", "", self.length);
            self.length = 0;
        }
    }

    fn write(&mut self, line: &str) {
        let mut out = std::io::stderr().lock();
        if self.is_terminal {
            let _ = write!(out, "\r{line:0$}", self.length);
            let _ = out.flush();
            self.length = line.chars().count();
        } else {
            let _ = writeln!(out, "{line}");
        }
    }
}
