//! Servers that end with the process that started them, even when that is
//! killed: each runs under the `leash` program, whose standard input we hold.

use std::{
    fs::File,
    io,
    os::unix::{fs::FileExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::binaries;

/// A running server and the directory it owns. Dropping it kills the server and
/// removes the directory.
#[derive(Debug)]
pub struct Leashed {
    supervisor: Child,
    directory: PathBuf,
    log: File,
}

impl Leashed {
    /// Starts a program in a directory of its own, which `prepare` may fill; the
    /// program's arguments are what `prepare` returns. It gets our environment and
    /// the variables beside.
    ///
    /// # Errors
    ///
    /// Says what failed. Nothing is left running then.
    pub fn start<F>(program: &Path, environment: &[(&str, &str)], prepare: F) -> Result<Self, String>
    where
        F: FnOnce(&Path) -> io::Result<Vec<String>>,
    {
        let leash = binaries::leash()?;
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let start = || {
            let directory = tempfile::Builder::new()
                .prefix(&format!("relay-{name}-"))
                .tempdir()?;
            let arguments = prepare(directory.path())?;
            // Appending leaves the server's place in the file alone when we read.
            let log = File::options()
                .read(true)
                .append(true)
                .create(true)
                .open(directory.path().join("log"))?;
            let supervisor = Command::new(leash)
                .arg("--owns")
                .arg(directory.path())
                .arg(program)
                .args(arguments)
                .envs(environment.iter().copied())
                .current_dir(directory.path())
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?)
                // Out of reach of Ctrl-C, which would end the leash but not a
                // server that shuts down at its leisure.
                .process_group(0)
                .spawn()?;
            Ok(Self {
                supervisor,
                directory: directory.keep(),
                log,
            })
        };
        start().map_err(|err: io::Error| format!("failed to start `{name}`: {err}"))
    }

    /// The directory the server owns.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// How the server ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.supervisor.try_wait().ok().flatten()
    }

    /// The last lines the server wrote; they survive its directory.
    pub fn log_tail(&self) -> String {
        const TAIL: u64 = 6_000;
        let length = self.log.metadata().map_or(0, |metadata| metadata.len());
        let offset = length.saturating_sub(TAIL);
        let mut tail = vec![0; usize::try_from(length - offset).unwrap_or(0)];
        let read = self.log.read_at(&mut tail, offset).unwrap_or(0);
        String::from_utf8_lossy(&tail[..read]).into_owned()
    }
}

impl Drop for Leashed {
    fn drop(&mut self) {
        drop(self.supervisor.stdin.take());
        let _ = self.supervisor.wait();
    }
}
