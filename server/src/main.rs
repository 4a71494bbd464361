//! The program `presence-server`.

/// The server's allocator. Calls make many short-lived allocations, at which mimalloc is faster. In
/// a function its start-up time would outweigh that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    presence_server::run()
}
