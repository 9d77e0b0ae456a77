//! Builds the plugins.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
};

use crate::{
    target::Target,
    tools::Tools,
    workspace::{PLUGINS, cargo, host, output, package, program, root, run, target_directory},
};

/// The directory of the programs built for a target.
pub(crate) fn programs(tools: &Tools, target: Target, profile: &str) -> Result<PathBuf, String> {
    let build = match target.is_linux() {
        true => "zigbuild",
        false => "build",
    };
    let mut cargo = tools.cargo();
    cargo.args(["auditable", build, "--locked", "--profile", profile, "--target"]);
    cargo.arg(target.to_link());
    for plugin in PLUGINS {
        cargo.args(["--package", &package(plugin)]);
    }
    // Flags of the packager's choice alone, as others would make other bytes.
    cargo
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(target).join("\x1f"))
        .env("CFLAGS", cflags(target).join(" "));
    run(&mut cargo)?;
    let profile = match profile {
        "dev" => "debug",
        profile => profile,
    };
    Ok(target_directory().join(target.triple).join(profile))
}

fn rustflags(target: Target) -> Vec<String> {
    let maps = prefix_maps().map(|(from, to)| format!("--remap-path-prefix={from}={to}"));
    let mut flags = maps.to_vec();
    if target.is_windows() {
        // No runtime to install first.
        flags.push("-Ctarget-feature=+crt-static".to_owned());
    }
    flags
}

fn cflags(target: Target) -> Vec<String> {
    let maps = prefix_maps().map(|(from, to)| format!("-ffile-prefix-map={from}={to}"));
    let mut flags = maps.to_vec();
    if target.is_linux() {
        // Nothing unwinds: a panic ends the program.
        flags.push("-fno-asynchronous-unwind-tables".to_owned());
    }
    flags
}

/// What stands in programs in place of this machine's directories.
fn prefix_maps() -> [(String, &'static str); 2] {
    let home = env::var_os("HOME")
        .or_else(|| env::var_os("USERPROFILE"))
        .map(PathBuf::from);
    let cargo = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| Some(home?.join(".cargo"))).unwrap_or_default();
    [
        (cargo.display().to_string(), "/cargo"),
        (root().display().to_string(), "/relay"),
    ]
}

/// The packages that cargo compiles for all plugins and a target, as `NAME VERSION`.
pub(crate) fn packages(target: Target) -> Result<BTreeSet<String>, String> {
    let mut tree = cargo();
    tree.args(["tree", "--locked", "--target", target.triple]).args([
        "--edges",
        "normal,build",
        "--prefix",
        "none",
        "--format",
        "{p}",
    ]);
    for plugin in PLUGINS {
        tree.args(["--package", &package(plugin)]);
    }
    let tree = output(&mut tree)?;
    Ok(listed(&String::from_utf8_lossy(&tree)))
}

/// `NAME VERSION` of each line, which is `NAME vVERSION`, and may say more.
fn listed(tree: &str) -> BTreeSet<String> {
    let packages = tree.lines().filter_map(|line| {
        let (name, rest) = line.split_once(" v")?;
        Some(format!("{name} {}", rest.split(' ').next()?))
    });
    packages.collect()
}

/// A plugin's program that this machine can run.
///
/// What it prints about itself is the same for every target, so where the
/// target's programs do not run, one is built that does.
pub(crate) fn runnable(built: &Path, target: Target, plugin: &str) -> Result<PathBuf, String> {
    if host()? == target.triple {
        return Ok(built.to_owned());
    }
    run(cargo().args(["build", "--locked", "--package", &package(plugin)]))?;
    let directory = target_directory().join("debug");
    Ok(directory.join(format!("{}{}", program(plugin), env::consts::EXE_SUFFIX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cargo_lists_is_taken_once() {
        let tree = "a-b v1.0.0 (/relay/a-b)\nc v2.0.0-v1+x (proc-macro)\n\na-b v1.0.0 (/relay/a-b) (*)\n";
        assert_eq!(
            listed(tree),
            ["a-b 1.0.0", "c 2.0.0-v1+x"].map(str::to_owned).into()
        );
    }
}
