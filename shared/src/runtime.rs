//! Where a plugin's `main` hands over: one thread, one future, one exit code.

use std::{env, future::Future};

use clap::Parser;

use crate::{
    completion,
    error::{Error, ExitCode, Result},
    interrupt, terminal,
};

/// The whole of a plugin's `main`: answers kubectl if it asks for completions,
/// else runs the command line `C`.
pub fn main<C, F>(run: impl FnOnce(C) -> F) -> std::process::ExitCode
where
    C: Parser,
    F: Future<Output = Result<ExitCode>>,
{
    let mut words = env::args_os().skip(1);
    match words.next() {
        Some(word) if word == completion::QUESTION => completion::answer(C::command(), words.collect()),
        _ => block_on(run(C::parse())),
    }
}

/// Runs a plugin to its end on the current thread and prints its error, if any.
///
/// One thread is enough: a plugin waits for servers, and what computes for long
/// (an RSA key) gets threads of its own.
fn block_on(run: impl Future<Output = Result<ExitCode>>) -> std::process::ExitCode {
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Error::new(format!("cannot start the async runtime: {e}")))
        .and_then(|runtime| {
            let ended = runtime.block_on(async {
                tokio::select! {
                    // First, so that Ctrl-C is heard from the beginning.
                    biased;
                    () = interrupt::stop() => Err(Error::interrupted()),
                    ended = run => ended,
                }
            });
            // A name server that does not answer would hold up the end: the look-up has a
            // thread of its own, and nobody waits for it any more.
            runtime.shutdown_background();
            ended
        });
    match ended {
        Ok(code) => code.into(),
        Err(error) => {
            terminal::story(&error.to_string());
            error.exit_code().into()
        }
    }
}

/// Computes something long on a thread of its own, so that Ctrl-C is heard.
pub async fn compute<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|e| std::panic::resume_unwind(e.into_panic()))
}

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;

    #[test]
    fn what_hangs_on_another_thread_does_not_hold_up_the_end() {
        let start = Instant::now();
        block_on(async {
            // As the look-up of a name, which cannot be cancelled.
            drop(tokio::task::spawn_blocking(|| {
                thread::sleep(Duration::from_secs(20));
            }));
            tokio::task::yield_now().await;
            Ok(ExitCode::Done)
        });
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
