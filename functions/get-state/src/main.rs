//! The AWS Lambda function `get-state`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(get_state::handle)
}
