//! HTTP requests and responses, independent of the program that serves them.
//!
//! A handler is one function from a [`Request`] to a [`Response`] or a [`Problem`], so that AWS
//! Lambda and the server run the same code. Handlers look at the method and the body; routes,
//! tokens and sockets belong to the program that runs them.

mod body;
mod connections;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod gateway;
mod problem;
mod query;
mod response;
mod state;

use bytes::Bytes;

pub(crate) use body::parse as parse_message;
pub use body::{MAX_BODY, check_length, parse_post};
pub use connections::{ConnectionsBody, Target};
pub use gateway::{GatewayLeft, GatewayRenewed, parse_gateway};
pub use problem::Problem;
pub use query::{expect_get, history, last_segment, query_value};
pub use response::{BatchResponse, Connected, json, ready};
pub use state::parse_state_change;

/// A request with its whole body.
pub type Request = ::http::Request<Bytes>;

/// A response with its whole body.
pub type Response = ::http::Response<Bytes>;

/// The result of a handler.
pub type HandlerResult = Result<Response, Problem>;
