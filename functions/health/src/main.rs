//! The AWS Lambda function `health`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_event_function(health::handle)
}
