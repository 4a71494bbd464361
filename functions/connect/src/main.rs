//! The AWS Lambda function `connect`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(connect::handle)
}
