//! The AWS Lambda function `friends`.

use presence::runtime::{run_socket_function, websocket};

fn main() -> std::process::ExitCode {
    run_socket_function(friends::handle, websocket::friends)
}
