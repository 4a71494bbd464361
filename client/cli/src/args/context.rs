//! Arguments of `presence context`.

use clap::Subcommand;

/// Commands about contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts, without their tokens.
    List,
    /// Save the URL, and the token or --sigv4, from flags and variables under a name.
    Save { name: String },
    /// Use a context from now on, unless --url or a variable names a service.
    Use { name: String },
    /// Remove a context.
    Remove { name: String },
}
