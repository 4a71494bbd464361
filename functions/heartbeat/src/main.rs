//! The AWS Lambda function `heartbeat`.

use presence::runtime::{run_socket_function, websocket};

fn main() -> std::process::ExitCode {
    run_socket_function(heartbeat::handle, websocket::connection)
}
