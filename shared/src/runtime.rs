//! Where a plugin's `main` hands over: one thread, one future, one exit code.

use std::future::Future;

use crate::{
    error::{Error, ExitCode, Result},
    terminal,
};

/// Runs a plugin to its end on the current thread and prints its error, if any.
///
/// One thread is enough: a plugin waits for servers, and what computes for long
/// (an RSA key) gets threads of its own.
pub fn block_on(run: impl Future<Output = Result<ExitCode>>) -> std::process::ExitCode {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(format!("cannot start the async runtime: {e}")))
        .and_then(|runtime| runtime.block_on(run));
    match ended {
        Ok(code) => code.into(),
        Err(error) => {
            terminal::story(&error.to_string());
            error.exit_code().into()
        }
    }
}
