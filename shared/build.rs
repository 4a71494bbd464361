//! Passes the commit that is compiled to the compiler, as `PRESENCE_REVISION`: the variable
//! of that name if it is set (a container's build has no git), else what git says, else
//! `unknown` (a tarball).

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-env-changed=PRESENCE_REVISION");
    println!("cargo::rerun-if-changed=src");
    let given = env::var("PRESENCE_REVISION")
        .ok()
        .filter(|revision| !revision.trim().is_empty());
    let revision = given
        .or_else(checked_out)
        .unwrap_or_else(|| "unknown".to_owned());
    println!("cargo::rustc-env=PRESENCE_REVISION={}", revision.trim());
}

/// The commit that is checked out.
fn checked_out() -> Option<String> {
    // Sources unpacked from a tarball within another repository are not a part of it.
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // A release asks again after each commit and checkout, by which this file grows. While one
    // develops, that would compile everything again for nothing: there it is enough to ask when this
    // package's code has changed.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if env::var("PROFILE").is_ok_and(|profile| profile == "release") && Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["rev-parse", "--short=12", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .args(arguments)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    String::from_utf8(output.stdout)
        .ok()
        .map(|text| text.trim().to_owned())
}
