//! The AWS Lambda function `disconnect`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(disconnect::handle)
}
