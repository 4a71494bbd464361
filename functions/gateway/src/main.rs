//! The AWS Lambda function `gateway`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(gateway::handle)
}
