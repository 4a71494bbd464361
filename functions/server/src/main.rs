//! All handlers in one process.

/// Calls allocate much and briefly, and mimalloc is quicker at that; it is not worth its start-up time in a function.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    presence_server::run()
}
