//! Version and revision of the build.

/// The version of all programs of the service.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that the programs were built from, or `unknown`.
pub const REVISION: &str = env!("PRESENCE_REVISION");
