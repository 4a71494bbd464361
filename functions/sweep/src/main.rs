//! The AWS Lambda function `sweep`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_event_function(sweep::handle)
}
