//! `presence`: the presence service from the command line.

fn main() -> std::process::ExitCode {
    presence_cli::run()
}
