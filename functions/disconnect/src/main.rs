//! The AWS Lambda function `disconnect`.

use presence::runtime::{run_socket_function, websocket};

fn main() -> std::process::ExitCode {
    run_socket_function(disconnect::handle, websocket::disconnection)
}
