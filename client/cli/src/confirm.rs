//! Confirmation of commands that have an effect on others.

use std::io::{self, IsTerminal as _};

use crate::failure::{Failure, Status};

/// Asks a question on the terminal, because `what` needs confirmation. Any answer but yes ends the
/// command with the message `refused`.
///
/// # Errors
/// If standard input is not a terminal, or the answer is not yes.
pub(crate) fn confirm(what: &str, question: &str, refused: String) -> Result<(), Failure> {
    if !io::stdin().is_terminal() {
        let message = format!("{what} needs confirmation, and standard input is not a terminal");
        return Err(Failure::new(Status::Usage, message).with_hint("--yes confirms it."));
    }
    anstream::eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Status::Usage, refused)),
    }
}
