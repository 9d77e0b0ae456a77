//! The clone that is packed, and what it is built with.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use time::OffsetDateTime;

/// The plugins, as krew calls them.
pub(crate) const PLUGINS: [&str; 3] = ["relay-address", "relay-certs", "relay-ingress"];

/// The version of all of them, as krew writes it.
pub(crate) const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

/// The package that a plugin is built from: `kubectl-relay-certs`.
pub(crate) fn package(plugin: &str) -> String {
    format!("kubectl-{plugin}")
}

/// The program by which kubectl finds a plugin: `kubectl-relay_certs`.
pub(crate) fn program(plugin: &str) -> String {
    format!("kubectl-{}", plugin.replace('-', "_"))
}

/// The root of the workspace.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// Where cargo keeps what it builds.
pub(crate) fn target_directory() -> PathBuf {
    root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target")))
}

/// cargo, to be run in the workspace.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")))
}

/// A program, to be run in the workspace.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root()).stdin(Stdio::null());
    command
}

/// Runs a command whose output is for the user.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    // What it says is the story: stdout is for what was packed.
    let status = command.stdout(Stdio::from(std::io::stderr())).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{}: {status}; its own words are above", name(command))),
        Err(err) => Err(format!("failed to run {}: {err}", name(command))),
    }
}

/// Runs a command for its standard output.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>, String> {
    let output = command.stderr(Stdio::inherit()).output();
    match output {
        Ok(output) if output.status.success() => Ok(output.stdout),
        Ok(output) => Err(format!("{}: {}", name(command), output.status)),
        Err(err) => Err(format!("failed to run {}: {err}", name(command))),
    }
}

/// The program and its first words, enough to tell which step failed.
fn name(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = command.get_args().take(2);
    let words: Vec<_> = std::iter::once(program)
        .chain(words)
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}

/// The triple of the machine this runs on.
pub(crate) fn host() -> Result<String, String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
    let version = output(command(rustc).arg("-vV"))?;
    let version = String::from_utf8_lossy(&version);
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned)
        .ok_or_else(|| "rustc does not say what it runs on".to_owned())
}

/// What every packed file is dated: `SOURCE_DATE_EPOCH`, or when the commit was made.
pub(crate) fn time() -> Result<OffsetDateTime, String> {
    let seconds = match env::var("SOURCE_DATE_EPOCH") {
        Ok(seconds) => seconds,
        Err(_) => {
            let log = output(command("git").args(["log", "-1", "--format=%ct"])).map_err(|err| {
                format!("{err}\n  hint: outside a clone, say with SOURCE_DATE_EPOCH what to date files")
            })?;
            String::from_utf8_lossy(&log).into_owned()
        }
    };
    let parsed = seconds.trim().parse().ok();
    parsed
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .ok_or_else(|| format!("{:?} is no time in seconds since 1970", seconds.trim()))
}
