//! AWS integration: secrets at the start, and IAM tokens for ElastiCache.
//!
//! Credentials are found by AWS's SDK, as in its own tools, and only when they are needed. The two
//! calls that read secrets are made without the SDK's clients: that of Systems Manager alone would
//! compile for longer than the rest.

mod api;
mod connector;
mod iam_auth_token;
mod secrets;
mod signer;

pub use iam_auth_token::IamAuthToken;
pub use secrets::{SecretsError, SecretsSource};
pub use signer::{RequestSigner, credentials};
