//! The README's commands that pack and install.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use relay_tests::{
    ControlPlane,
    binaries::{self, target_directory, workspace},
    krew,
    plugin::PLUGINS,
    readme,
};
use tempfile::TempDir;

use crate::{files, publish, served};

#[test]
fn the_readmes_commands_about_krew_work_in_the_order_they_are_shown() {
    let directory = served();
    let shell = krew::shell(ControlPlane::shared());
    std::os::unix::fs::symlink(krew::packed(), shell.home().join("dist")).expect("is ours");
    let index = publish(&shell, directory.path());
    let mut ran = 0;
    for command in readme::commands() {
        let is_ours = command.contains("krew") && !command.starts_with("cargo ");
        if !is_ours {
            continue;
        }
        if command.contains("install relay/") {
            // The other way to install them.
            shell
                .kubectl(&[&["krew", "uninstall"], &PLUGINS[..]].concat())
                .success();
        }
        shell
            .env("RELAY_INDEX", &index)
            .run("sh", &["-euc", &command])
            .success();
        ran += 1;
    }
    assert_eq!(ran, 7, "of the README's commands");
    shell
        .kubectl(&["__complete", "relay-certs", "in"])
        .success()
        .prints("init");
}

/// A clone of this one elsewhere, with what was changed here and not committed. Of what
/// is built, it has only the packager's tools.
fn clone() -> TempDir {
    let clone = tempfile::tempdir().expect("a directory");
    let git = |arguments: &[&str]| -> Output {
        let output = Command::new("git")
            .current_dir(workspace())
            .args(arguments)
            .output()
            .expect("git runs");
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        output
    };
    git(&["clone", "--quiet", ".", &clone.path().to_string_lossy()]);
    let files = git(&["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let files = String::from_utf8(files.stdout).expect("is UTF-8");
    for file in files.split_terminator('\0') {
        let [from, to] = [workspace(), clone.path()].map(|root| root.join(file));
        if from.exists() {
            fs::create_dir_all(to.parent().expect("has one")).expect("is ours");
            fs::copy(from, to).expect("copies");
        } else {
            fs::remove_file(to).expect("is ours");
        }
    }
    let [from, to] = [target_directory(), clone.path().join("target")].map(|target| {
        fs::create_dir_all(&target).expect("is ours");
        target.join("tools")
    });
    fs::create_dir_all(&from).expect("is ours");
    std::os::unix::fs::symlink(from, to).expect("is ours");
    clone
}

/// Runs a line of the README as it stands.
///
/// Only the profile `release` is not what it says: optimising takes minutes, and is no
/// part of what is shipped, which has a profile of its own.
fn run_in(clone: &Path, line: &str, installed: &Path) {
    let mut shell = Command::new("sh");
    shell.current_dir(clone).args(["-euc", line]);
    for name in ["CARGO_TARGET_DIR", "RELAY_BIN_DIR", "RELAY_DIST_DIR"] {
        shell.env_remove(name);
    }
    shell
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0")
        .env("CARGO_INSTALL_ROOT", installed);
    assert!(shell.status().expect("runs").success(), "{line}");
}

#[test]
fn a_clone_elsewhere_packs_the_same_bytes_and_installs() {
    let packed = krew::packed();
    let clone = clone();
    let installed = tempfile::tempdir().expect("a directory");
    let lines = readme::commands();
    let [packing, installing] = ["cargo run -p relay-krew ", "cargo install "].map(|start| {
        let lines = lines.iter().filter(|line| line.starts_with(start));
        lines.collect::<Vec<_>>()
    });
    assert_eq!(
        (packing.len(), installing.len()),
        (2, 3),
        "of the README's commands"
    );

    for line in packing {
        run_in(clone.path(), line, installed.path());
    }
    let dist = clone.path().join("dist");
    assert_eq!(files(&dist), files(packed));
    // Manifests lead to where the archives are.
    for name in files(packed).iter().filter(|name| !name.ends_with(".yaml")) {
        let [here, elsewhere] = [packed, &dist].map(|from| fs::read(from.join(name)).expect("is there"));
        assert!(here == elsewhere, "{name} is other bytes from a clone elsewhere");
    }

    for line in installing {
        run_in(clone.path(), line, installed.path());
    }
    let mut shell = krew::shell(ControlPlane::shared());
    let kubectl = binaries::Tool::Kubectl.path().expect("is built");
    let path = [installed.path().join("bin"), kubectl.with_file_name("")];
    shell.set_env("PATH", std::env::join_paths(path).expect("is a path"));
    for plugin in PLUGINS {
        shell
            .kubectl(&[plugin, "version"])
            .success()
            .prints(&format!("Version: {}\n", crate::VERSION));
    }
}
