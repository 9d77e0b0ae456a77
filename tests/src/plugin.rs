//! The shell a test types its commands into, and the transcript of each command.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fmt::{self, Display},
    fs::File,
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{ControlPlane, Kubeconfig, binaries, binaries::Tool, secrecy};

/// The plugins, as krew and kubectl call them.
pub const PLUGINS: [&str; 3] = ["relay-address", "relay-certs", "relay-ingress"];

/// A command that takes longer has hung; it is killed and the test fails.
const PATIENCE: Duration = Duration::from_secs(120);

/// A home directory and an environment that hold nothing but what a test puts
/// there: the plugins, the real kubectl and a kubeconfig.
#[derive(Debug)]
pub struct Shell {
    home: TempDir,
    environment: BTreeMap<OsString, OsString>,
}

impl Shell {
    /// A shell with a context per cluster, named after it; the first is current.
    #[track_caller]
    pub fn on(control_plane: &ControlPlane) -> Self {
        let mut kubeconfig = Kubeconfig::new();
        for cluster in control_plane.clusters() {
            kubeconfig = kubeconfig.context(&cluster.name, cluster);
        }
        if let Some(first) = control_plane.clusters().first() {
            kubeconfig = kubeconfig.current(&first.name);
        }
        Self::new(&kubeconfig)
    }

    /// A shell with that kubeconfig, written to its home.
    #[track_caller]
    pub fn new(kubeconfig: &Kubeconfig) -> Self {
        let home = tempfile::Builder::new()
            .prefix("relay-home-")
            .tempdir()
            .unwrap_or_else(|err| panic!("failed to create a home directory: {err}"));
        let kubectl = Tool::Kubectl.path().unwrap_or_else(|err| panic!("{err}"));
        let plugins = binaries::plugins().unwrap_or_else(|err| panic!("{err}"));
        let path = [
            plugins,
            kubectl.parent().unwrap_or(Path::new("/")),
            Path::new("/usr/bin"),
            Path::new("/bin"),
        ];
        let path = std::env::join_paths(path).unwrap_or_else(|err| panic!("{err}"));
        let environment = [
            ("HOME".into(), home.path().into()),
            ("KUBECONFIG".into(), kubeconfig.write(home.path()).into()),
            ("PATH".into(), path),
        ];
        Self {
            home,
            environment: environment.into(),
        }
    }

    /// The home directory, which is also the working directory.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// Sets an environment variable for all further commands.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// Writes a file into the home directory and returns its path.
    #[track_caller]
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.home().join(name);
        path.parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| std::fs::write(&path, content))
            .unwrap_or_else(|err| panic!("failed to write `{}`: {err}", path.display()));
        path
    }

    /// A command with something on its standard input; otherwise that is empty.
    pub fn stdin(&self, input: impl Display) -> Invocation<'_> {
        self.invocation().stdin(input)
    }

    /// A command with one more environment variable.
    pub fn env(&self, name: &str, value: impl Into<OsString>) -> Invocation<'_> {
        self.invocation().env(name, value)
    }

    /// Runs kubectl, and through it a plugin.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Transcript {
        self.invocation().kubectl(arguments)
    }

    /// Runs a program from the `PATH`.
    #[track_caller]
    pub fn run(&self, program: &str, arguments: &[&str]) -> Transcript {
        self.invocation().run(program, arguments)
    }

    /// Runs the [stand-in for relay server and agent](crate::relay).
    #[track_caller]
    pub fn relay(&self, arguments: &[&str]) -> Transcript {
        let relay = Tool::Relay.path().unwrap_or_else(|err| panic!("{err}"));
        self.invocation().run(&relay.to_string_lossy(), arguments)
    }

    /// Reads an object, such as `secret/x`; an empty namespace is for objects of
    /// the cluster.
    #[track_caller]
    pub fn get(&self, context: &str, object: &str, namespace: &str) -> Value {
        let transcript = self.kubectl(&[
            "--context",
            context,
            "--namespace",
            namespace,
            "get",
            object,
            "-o",
            "json",
        ]);
        transcript.success().json()
    }

    /// Creates or updates objects from YAML or JSON, as users do. See
    /// [`fixtures::create`](crate::fixtures::create) for objects with a status.
    #[track_caller]
    pub fn apply(&self, context: &str, objects: impl Display) -> Transcript {
        let transcript = self
            .stdin(objects)
            .kubectl(&["--context", context, "apply", "--filename", "-"]);
        transcript.success();
        transcript
    }

    /// Merges `{"status": …}` into an object's status, as a controller would.
    #[track_caller]
    pub fn patch_status(&self, context: &str, object: &str, namespace: &str, status: &Value) -> Transcript {
        let patch = serde_json::json!({ "status": status }).to_string();
        let arguments = [
            &["--context", context, "--namespace", namespace, "patch", object][..],
            &["--subresource=status", "--type=merge", "--patch", &patch],
        ];
        let transcript = self.kubectl(&arguments.concat());
        transcript.success();
        transcript
    }

    /// The command that starts a program in this shell's environment, for tests
    /// that hold it by hand.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(&self.environment)
            .current_dir(self.home())
            .stdin(Stdio::null());
        command
    }

    fn invocation(&self) -> Invocation<'_> {
        Invocation {
            shell: self,
            stdin: None,
            environment: Vec::new(),
        }
    }
}

/// A command about to be typed, with input and environment of its own.
#[derive(Debug)]
#[must_use]
pub struct Invocation<'a> {
    shell: &'a Shell,
    stdin: Option<String>,
    environment: Vec<(OsString, OsString)>,
}

impl Invocation<'_> {
    /// Puts text on the command's standard input.
    pub fn stdin(mut self, input: impl Display) -> Self {
        self.stdin = Some(input.to_string());
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Runs kubectl, and through it a plugin.
    #[track_caller]
    pub fn kubectl(self, arguments: &[&str]) -> Transcript {
        self.run("kubectl", arguments)
    }

    /// Runs a program from the `PATH`.
    ///
    /// # Panics
    ///
    /// If it cannot be started or hangs.
    #[track_caller]
    pub fn run(self, program: &str, arguments: &[&str]) -> Transcript {
        let Self {
            shell,
            stdin,
            environment,
        } = self;
        let failed = |err: io::Error| -> ! { panic!("failed to run `{program}`: {err}") };
        // Files, as a pipe would be waited for until the last process that a hung
        // command left behind has closed it.
        let stdout = tempfile::tempfile().unwrap_or_else(|err| failed(err));
        let stderr = tempfile::tempfile().unwrap_or_else(|err| failed(err));
        let stdin = stdin
            .map_or(Ok(Stdio::null()), input_file)
            .unwrap_or_else(|err| failed(err));

        let start = Instant::now();
        let mut child = shell
            .command(program)
            .args(arguments)
            .envs(environment)
            .stdin(stdin)
            .stdout(stdout.try_clone().unwrap_or_else(|err| failed(err)))
            .stderr(stderr.try_clone().unwrap_or_else(|err| failed(err)))
            .spawn()
            .unwrap_or_else(|err| failed(err));
        let mut hung = false;
        let status = loop {
            match child.try_wait().unwrap_or_else(|err| failed(err)) {
                Some(status) => break status,
                None if !hung && start.elapsed() > PATIENCE => {
                    hung = true;
                    let _ = child.kill();
                }
                None => thread::sleep(Duration::from_millis(3)),
            }
        };
        let words = [&[program], arguments].concat();
        let transcript = Transcript {
            command_line: words.into_iter().map(quoted).collect::<Vec<_>>().join(" "),
            code: status.code(),
            stdout: content(stdout).unwrap_or_else(|err| failed(err)),
            stderr: content(stderr).unwrap_or_else(|err| failed(err)),
            duration: start.elapsed(),
        };
        assert!(!hung, "killed after {} s:\n{transcript}", PATIENCE.as_secs());
        let line = &transcript.command_line;
        if (line.contains("kubectl relay-") || line.contains("kubectl-relay_"))
            && !line.contains("--show-keys")
        {
            secrecy::assert_kept(&transcript, shell.home());
        }
        transcript
    }
}

/// What a command was and what it did.
#[derive(Clone, Debug)]
pub struct Transcript {
    /// The command as it would be typed.
    pub command_line: String,
    /// The exit code; none if a signal ended the command.
    pub code: Option<i32>,
    /// All of the standard output.
    pub stdout: String,
    /// All of the standard error.
    pub stderr: String,
    /// How long the command took.
    pub duration: Duration,
}

impl Transcript {
    /// Asserts that the command exited with 0.
    #[track_caller]
    pub fn success(&self) -> &Self {
        self.exits(0)
    }

    /// Asserts an exit code.
    #[track_caller]
    pub fn exits(&self, code: i32) -> &Self {
        assert!(self.code == Some(code), "expected exit code {code}:\n{self}");
        self
    }

    /// Asserts that the standard output contains a text.
    #[track_caller]
    pub fn prints(&self, text: &str) -> &Self {
        assert!(self.stdout.contains(text), "expected {text:?} on stdout:\n{self}");
        self
    }

    /// Asserts that the standard error contains a text.
    #[track_caller]
    pub fn complains(&self, text: &str) -> &Self {
        assert!(self.stderr.contains(text), "expected {text:?} on stderr:\n{self}");
        self
    }

    /// Asserts that neither stream contains a text, such as a key.
    #[track_caller]
    pub fn conceals(&self, text: &str) -> &Self {
        let shown = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(!shown, "expected no {text:?} anywhere:\n{self}");
        self
    }

    /// The standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|err| panic!("expected JSON on stdout, {err}:\n{self}"))
    }
}

/// The whole transcript, with the streams indented under their names.
impl Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "$ {}", self.command_line)?;
        match self.code {
            Some(code) => writeln!(f, "exit code: {code}")?,
            None => writeln!(f, "exit code: none, a signal ended it")?,
        }
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            writeln!(f, "{name}:")?;
            for line in text.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}

fn input_file(input: String) -> io::Result<Stdio> {
    let mut file = tempfile::tempfile()?;
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

fn content(mut file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}
