//! The AWS Lambda function `heartbeat`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(heartbeat::handle)
}
