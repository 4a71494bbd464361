//! The AWS Lambda function `set-state`.

use presence::runtime::{run_socket_function, websocket};

fn main() -> std::process::ExitCode {
    run_socket_function(set_state::handle, websocket::state)
}
