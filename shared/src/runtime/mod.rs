//! What runs a handler.

mod app;
mod lambda;
mod program;
mod request;

pub use app::App;
pub use lambda::{Error, Event, run_event_function, run_function};
pub use request::http_answer;
