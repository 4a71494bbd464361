//! What was built.

/// The version of all programs of the service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that they were built from, or `unknown`.
pub const REVISION: &str = env!("PRESENCE_REVISION");
