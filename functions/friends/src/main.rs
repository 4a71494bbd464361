//! The AWS Lambda function `friends`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(friends::handle)
}
