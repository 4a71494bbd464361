//! The AWS Lambda function `connect`.

use presence::runtime::{run_socket_function, websocket};

fn main() -> std::process::ExitCode {
    run_socket_function(connect::handle, websocket::connection)
}
