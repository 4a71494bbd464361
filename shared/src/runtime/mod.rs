//! Runtimes for handlers: start of a program, AWS Lambda, and the events of API Gateway.

mod app;
mod event;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzz;
mod lambda;
mod program;
mod request;
pub mod websocket;

pub use app::App;
pub use lambda::{Error, Event, run_event_function, run_function, run_socket_function};
pub use program::{environment, fail, start};
pub use request::{http_method, lambda_response};
