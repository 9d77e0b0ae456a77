//! `leash [--owns DIR] COMMAND [ARGS…]` runs a command for as long as its own
//! standard input stays open.
//!
//! Whoever starts a leash holds the other end of that pipe. The system closes it
//! when the holder is gone, whatever ended it, and the command is killed then. A
//! directory given with `--owns` is removed after the command.

use std::{
    env, fs,
    io::{self, Read, Write},
    path::PathBuf,
    process::{Command, ExitCode, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

/// How soon the end of the command is noticed. The end of the holder is noticed
/// at once.
const POLL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    let mut words = env::args_os().skip(1).peekable();
    let owned = words.next_if(|word| word == "--owns").and_then(|_| words.next());
    let Some(program) = words.next() else {
        return fail("usage: leash [--owns DIR] COMMAND [ARGS…]");
    };
    let mut command = Command::new(&program);
    command.args(words).stdin(Stdio::null());

    let status = run(&mut command);
    if let Some(directory) = owned.map(PathBuf::from) {
        let _ = fs::remove_dir_all(directory);
    }
    match status {
        Ok(status) => ExitCode::from(
            status
                .code()
                .and_then(|code| u8::try_from(code).ok())
                .unwrap_or(1),
        ),
        Err(err) => fail(&format!("failed to run `{}`: {err}", program.display())),
    }
}

fn run(command: &mut Command) -> io::Result<ExitStatus> {
    let mut child = command.spawn()?;
    let (holder, gone) = mpsc::channel::<()>();
    thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock().by_ref(), &mut io::sink());
        drop(holder);
    });
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if gone.recv_timeout(POLL) == Err(RecvTimeoutError::Disconnected) {
            child.kill()?;
            return child.wait();
        }
    }
}

fn fail(message: &str) -> ExitCode {
    let _ = writeln!(io::stderr(), "leash: {message}");
    ExitCode::from(127)
}
