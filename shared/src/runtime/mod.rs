//! What runs a handler.

mod lambda;
mod program;

pub use lambda::run_function;
