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
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"]);
    let log = log.filter(|log| Path::new(log).exists());
    println!("cargo::rerun-if-changed={}", log.as_deref().unwrap_or("build.rs"));
}

/// The commit of a clone, unless cargo builds from a package without one.
fn head() -> Option<String> {
    git(&["rev-parse", "--short=12", "HEAD"]).filter(|_| Path::new("../.git").exists())
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}
