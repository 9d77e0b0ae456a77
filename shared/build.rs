//! Notes the commit that `version` prints.

use std::{env, path::Path, process::Command};

fn main() {
    let commit = env::var("RELAY_COMMIT").ok().or_else(head);
    println!(
        "cargo::rustc-env=RELAY_COMMIT={}",
        commit.as_deref().unwrap_or("unknown")
    );
    println!("cargo::rerun-if-env-changed=RELAY_COMMIT");
    // What git appends to when HEAD moves; a file that is missing would make
    // cargo run this every time.
    let log = Path::new("../.git/logs/HEAD");
    let watched = if log.exists() { log } else { Path::new("build.rs") };
    println!("cargo::rerun-if-changed={}", watched.display());
}

/// The commit of a clone, unless cargo builds from a package without one.
fn head() -> Option<String> {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output()
        .ok()?;
    let commit = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && Path::new("../.git").exists()).then(|| commit.trim().to_owned())
}
