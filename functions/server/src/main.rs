//! All handlers in one process.

fn main() -> std::process::ExitCode {
    presence_server::run()
}
