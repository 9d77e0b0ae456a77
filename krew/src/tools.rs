//! The programs that packing needs, by version, in a directory of their own.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    target::Target,
    workspace::{cargo, command, run, target_directory},
};

/// cargo's further commands, with their versions.
const COMMANDS: [(&str, &str); 3] = [
    // Notes in each program what it was built from.
    ("cargo-auditable", "0.7.7"),
    // Lists that as a bill of materials.
    ("cargo-sbom", "0.10.0"),
    // Links with zig, which knows the symbols of every glibc.
    ("cargo-zigbuild", "0.24.1"),
];

/// Zig, as Python's package of it, with its hashes.
const ZIG: &str = include_str!("../requirements.txt");

/// Where the tools are.
#[derive(Debug)]
pub(crate) struct Tools {
    directory: PathBuf,
}

impl Tools {
    /// Installs what is missing.
    pub(crate) fn install() -> Result<Self, String> {
        let tools = Self::expected();
        for (name, version) in COMMANDS {
            if tools.has(name, version) {
                continue;
            }
            run(cargo()
                .args(["install", "--locked", name, "--version", version])
                .arg("--root")
                .arg(&tools.directory)
                .arg("--target-dir")
                .arg(tools.directory.join("build")))?;
        }
        if cfg!(target_os = "linux") && !tools.zig().exists() {
            run(command("python3")
                .args(["-m", "pip", "install", "--quiet", "--no-deps"])
                .args([
                    "--require-hashes",
                    "--only-binary=:all:",
                    "--root-user-action=ignore",
                ])
                .arg("--target")
                .arg(tools.zig_directory())
                .args(["-r", "krew/requirements.txt"]))
            .map_err(|err| format!("{err}\n  hint: zig is installed with python3 and its pip"))?;
        }
        Ok(tools)
    }

    /// Those that packing for a target needs.
    ///
    /// # Errors
    ///
    /// Names what is missing, and how to get it.
    pub(crate) fn find(target: Target) -> Result<Self, String> {
        let tools = Self::expected();
        let is_needed = |name: &str| name != "cargo-zigbuild" || target.is_linux();
        let mut missing: Vec<_> = COMMANDS
            .into_iter()
            .filter(|(name, version)| is_needed(name) && !tools.has(name, version))
            .collect();
        if target.is_linux() && !tools.zig().exists() {
            missing.push(zig_version());
        }
        if missing.is_empty() {
            return Ok(tools);
        }
        let missing: Vec<_> = missing
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        Err(format!(
            "packing for {target} needs {}, not found in {}\n  \
             hint: install what is missing: cargo run -p relay-krew -- tools",
            missing.join(", "),
            tools.directory.display()
        ))
    }

    /// A cargo that finds its further commands, and zig.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = cargo();
        let path = env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(self.directory.join("bin")).chain(env::split_paths(&path));
        cargo
            .env("PATH", env::join_paths(path).unwrap_or_default())
            .env("CARGO_ZIGBUILD_ZIG_PATH", self.zig());
        cargo
    }

    /// Where they are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn expected() -> Self {
        Self {
            directory: target_directory().join("tools"),
        }
    }

    /// Whether cargo installed that version here, by its own list.
    fn has(&self, name: &str, version: &str) -> bool {
        let list = fs::read_to_string(self.directory.join(".crates.toml")).unwrap_or_default();
        list.contains(&format!("\"{name} {version} "))
    }

    fn zig_directory(&self) -> PathBuf {
        let (name, version) = zig_version();
        self.directory.join(format!("{name}-{version}"))
    }

    fn zig(&self) -> PathBuf {
        self.zig_directory().join("ziglang").join("zig")
    }
}

/// The package's name and version.
fn zig_version() -> (&'static str, &'static str) {
    let requirement = ZIG.split_whitespace().find_map(|word| word.split_once("=="));
    requirement.unwrap_or(("ziglang", "unpinned"))
}
