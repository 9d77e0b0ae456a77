//! Ctrl-C: the first one ends what waits and lets what writes come to a report;
//! the second one ends everything at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

static REQUESTED: AtomicBool = AtomicBool::new(false);
static WRITING: AtomicUsize = AtomicUsize::new(0);

/// Held while objects are written, so that the first Ctrl-C does not cut a write
/// in two but keeps the next one from being begun.
#[derive(Debug)]
pub(crate) struct Writing(());

impl Writing {
    pub(crate) fn begin() -> Self {
        WRITING.fetch_add(1, Ordering::SeqCst);
        Self(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        WRITING.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether somebody has pressed Ctrl-C.
pub(crate) fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Ends once a run has to stop: at the first Ctrl-C where nothing is being
/// written, else at the second.
pub(crate) async fn stop() {
    loop {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler, Ctrl-C ends the process by itself.
            return std::future::pending().await;
        }
        let again = REQUESTED.swap(true, Ordering::SeqCst);
        if again || WRITING.load(Ordering::SeqCst) == 0 {
            return;
        }
        crate::terminal::story(
            "stopping after the writes that are under way; press Ctrl-C again to stop at once",
        );
    }
}
