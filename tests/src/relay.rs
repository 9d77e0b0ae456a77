//! The relay server and its agent, played by `tests/control-plane/relay`: neither
//! is open, and all the plugins need of them is mutual TLS.
//!
//! [`Shell::relay`] runs its commands: `verify`, `issue` and `dial`.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Stdio},
};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::{Shell, binaries::Tool};

/// The name agents ask for, unless told otherwise.
pub const AUTHORITY: &str = "enterprise-networking.gloo-mesh";

/// A running relay server. It ends when it is dropped, and with this process.
#[derive(Debug)]
pub struct RelayServer {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Where it listens.
    pub address: String,
}

impl RelayServer {
    /// Starts a server on a directory with `tls.crt`, `tls.key` and `ca.crt`. It
    /// takes clients of the roots in `client_ca`, or else in `ca.crt`.
    ///
    /// # Panics
    ///
    /// If the server refuses the files.
    #[track_caller]
    pub fn start(shell: &Shell, tls: &Path, client_ca: Option<&Path>) -> Self {
        Self::start_at("127.0.0.1:0", shell, tls, client_ca)
    }

    /// The same with nothing newer than TLS 1.2, where a server ends the handshake of a
    /// client without a certificate.
    ///
    /// # Panics
    ///
    /// If the server refuses the files.
    #[track_caller]
    pub fn start_tls12(shell: &Shell, tls: &Path, client_ca: Option<&Path>) -> Self {
        Self::start_with(&["--tls12"], shell, tls, client_ca)
    }

    /// The same at an address of the caller's.
    ///
    /// # Panics
    ///
    /// If the server refuses the files or the address.
    #[track_caller]
    pub fn start_at(address: &str, shell: &Shell, tls: &Path, client_ca: Option<&Path>) -> Self {
        Self::start_with(&["--addr", address], shell, tls, client_ca)
    }

    #[track_caller]
    fn start_with(flags: &[&str], shell: &Shell, tls: &Path, client_ca: Option<&Path>) -> Self {
        let relay = Tool::Relay.path().unwrap_or_else(|err| panic!("{err}"));
        let mut command = shell.command(&relay.to_string_lossy());
        command.arg("serve").args(flags).arg("--tls").arg(tls);
        if let Some(roots) = client_ca {
            command.arg("--client-ca").arg(roots);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|err| panic!("failed to start the relay server: {err}"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut server = Self {
            child,
            stdout: BufReader::new(stdout),
            address: String::new(),
        };
        match server.next_line().strip_prefix("listening ") {
            Some(address) => server.address = address.to_owned(),
            None => {
                let mut complaint = String::new();
                let stderr = server.child.stderr.as_mut().expect("stderr is piped");
                let _ = stderr.read_to_string(&mut complaint);
                panic!(
                    "the relay server did not start on `{}`: {complaint}",
                    tls.display()
                );
            }
        }
        server
    }

    /// Waits for an agent's call and returns the DNS names of its certificate, as
    /// the server saw them: `[east]`.
    pub fn agent(&mut self) -> String {
        self.next_line().trim_start_matches("agent ").to_owned()
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        let _ = self.stdout.read_line(&mut line);
        line.trim_end().to_owned()
    }
}

impl Drop for RelayServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the files of a Secret into a directory of the shell's home, as a pod
/// would mount them, and returns the directory.
#[track_caller]
pub fn mount(shell: &Shell, context: &str, namespace: &str, secret: &str) -> PathBuf {
    let object = shell.get(context, &format!("secret/{secret}"), namespace);
    let directory = shell.home().join(format!("{context}-{namespace}-{secret}"));
    fs::create_dir_all(&directory).unwrap_or_else(|err| panic!("failed to create a directory: {err}"));
    for (key, value) in object["data"].as_object().into_iter().flatten() {
        let content = STANDARD.decode(value.as_str().unwrap_or_default());
        let content = content.unwrap_or_else(|err| panic!("`{key}` of `{secret}` is not base64: {err}"));
        fs::write(directory.join(key), content)
            .unwrap_or_else(|err| panic!("failed to write `{key}`: {err}"));
    }
    directory
}
