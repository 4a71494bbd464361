//! The Lua scripts, as the service puts them together.

/// The text of a script in `lua/`, such as `heartbeat`, with its includes.
///
/// # Panics
/// If there is no such script.
pub fn script(name: &str) -> String {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../lua/");
    let text = std::fs::read_to_string(format!("{folder}{name}.lua")).expect("a script");
    let include = |line: &str| match line.strip_prefix("-- @include ") {
        Some(name) => script(&format!("lib/{name}")),
        None => line.to_owned() + "\n",
    };
    text.lines().map(include).collect()
}
