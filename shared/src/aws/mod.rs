//! AWS integration: secrets at the start, and IAM tokens for ElastiCache.
//!
//! Requests are signed by AWS's own crate, and sent with hyper, which is linked anyway. The SDK's clients would double
//! the size of a function, and loading their configuration would take several times as long as the rest of its start.

mod api;
mod container;
mod http;
mod iam_auth_token;
mod identity;
mod secrets;

pub use iam_auth_token::IamAuthToken;
pub use identity::{Identity, credentials};
pub use secrets::{SecretsError, SecretsSource};
