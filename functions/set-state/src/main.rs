//! The AWS Lambda function `set-state`.

fn main() -> std::process::ExitCode {
    presence::runtime::run_function(set_state::handle)
}
