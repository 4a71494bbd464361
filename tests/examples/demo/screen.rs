//! The terminal: a log of what happened, and below it a status line with the current figures.

use std::{
    io::{IsTerminal as _, Write as _},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use anstyle::{AnsiColor, Style};

const ACT: Style = AnsiColor::Cyan.on_default().bold();
const DIM: Style = Style::new().dimmed();
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();

/// The output of the demo. Clones share it. It has no colors if the output is not a terminal or
/// `NO_COLOR` is set.
#[derive(Clone)]
pub(crate) struct Screen(Arc<Inner>);

struct Inner {
    begin: Instant,
    is_live: bool,
    status: Mutex<String>,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let is_live = std::io::stdout().is_terminal();
        Self(Arc::new(Inner {
            begin: Instant::now(),
            is_live,
            status: Mutex::default(),
        }))
    }

    /// Prints the title of the next act.
    pub(crate) fn act(&self, title: &str) {
        if !self.0.is_live {
            let figures = std::mem::take(&mut *self.lock());
            if !figures.is_empty() {
                self.note(&figures);
            }
        }
        let seconds = self.0.begin.elapsed().as_secs();
        self.print(&format!(
            "\n{DIM}{seconds:3} s{DIM:#}  {ACT}{title}{ACT:#}\n"
        ));
    }

    /// Prints something that happened.
    pub(crate) fn note(&self, text: &str) {
        self.print(&format!("       {text}\n"));
    }

    /// Prints a result that matches the expectation.
    pub(crate) fn good(&self, text: &str) {
        self.print(&format!("     {GOOD}✓{GOOD:#} {text}\n"));
    }

    /// Prints a result that does not match the expectation.
    pub(crate) fn bad(&self, text: &str) {
        self.print(&format!("     {BAD}✗ {text}{BAD:#}\n"));
    }

    /// Shows the current figures: in the last line of a terminal, or at the end of each act in a
    /// file.
    pub(crate) fn status(&self, text: &str) {
        if self.0.is_live {
            *self.lock() = format!("{DIM}       {text}{DIM:#}");
            self.print("");
        } else {
            text.clone_into(&mut self.lock());
        }
    }

    /// Removes the status line.
    pub(crate) fn end_status(&self) {
        self.lock().clear();
        self.print("");
    }

    /// Prints above the status line.
    pub(crate) fn print(&self, text: &str) {
        let status = self.lock();
        let mut out = anstream::stdout().lock();
        // The demo continues if its output is closed.
        let _ = match self.0.is_live {
            true => write!(out, "\r\x1b[2K{text}{status}"),
            false => write!(out, "{text}"),
        };
        let _ = out.flush();
    }

    fn lock(&self) -> MutexGuard<'_, String> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
