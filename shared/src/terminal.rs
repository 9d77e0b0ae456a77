//! The only module that prints: data to stdout, the story to stderr.

use std::{
    borrow::Cow,
    io::{self, IsTerminal as _, Write as _},
    sync::{LazyLock, Mutex, PoisonError},
    time::Duration,
};

use console::Term;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use zeroize::Zeroizing;

use crate::{
    error::{Error, Result},
    escape::printable,
    wrap,
};

/// All progress there is, so that a line of the story can go above it.
static BARS: LazyLock<MultiProgress> = LazyLock::new(|| MultiProgress::with_draw_target(target()));

/// How many reasons there are not to draw it now.
static PAUSES: Mutex<usize> = Mutex::new(0);

/// Writes data to stdout. A reader that went away is not an error.
pub fn data(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Error::new(format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// Writes a part of the story to stderr, broken at words where that is a terminal.
/// Nothing is lost if stderr is closed.
pub fn story(text: &str) {
    let text = fitted(text, &Term::stderr());
    BARS.suspend(|| {
        let _ = writeln!(io::stderr().lock(), "{text}");
    });
}

/// Sentences that are data, as [`data`] is to print them: broken at words where stdout is
/// a terminal.
pub fn sentences(text: &str) -> String {
    fitted(text, &Term::stdout())
}

fn fitted(text: &str, terminal: &Term) -> String {
    let text = printable(text);
    match terminal.size_checked() {
        Some((_, columns)) => wrap::story(&text, columns.into()),
        None => text.into_owned(),
    }
}

/// Asks for a password on the terminal, which does not show it.
///
/// # Errors
/// If there is no terminal to ask on, or somebody presses Ctrl-C.
pub fn password(question: &str) -> Result<Zeroizing<String>> {
    let _pause = pause();
    let answer = rpassword::prompt_password(printable(question));
    answer.map(Zeroizing::new).map_err(|e| match e.kind() {
        io::ErrorKind::Interrupted => Error::interrupted(),
        _ => Error::new("a password is needed, and there is no terminal to ask for it"),
    })
}

/// Progress on stderr, drawn only where stderr is a terminal.
///
/// Dropping it wipes it, so that what follows starts on a clean line.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A spinner beside a sentence.
    pub fn spinner(message: impl Into<Cow<'static, str>>) -> Self {
        let bar = BARS.add(ProgressBar::new_spinner());
        // Cut to the width of the terminal: a line that wraps cannot be wiped.
        bar.set_style(style("{spinner} {wide_msg}"));
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// A bar over `total` units of work.
    pub fn bar(message: impl Into<Cow<'static, str>>, total: usize) -> Self {
        let bar = BARS.add(ProgressBar::new(total as u64));
        bar.set_style(style("{spinner} {msg} [{bar:30}] {pos}/{len}"));
        bar.set_message(message);
        bar.enable_steady_tick(Duration::from_millis(100));
        Self(bar)
    }

    /// Changes its sentence, or adds a line to the story where nothing is drawn.
    pub fn says(&self, message: impl AsRef<str>) {
        match BARS.is_hidden() {
            true => story(message.as_ref()),
            false => self.0.set_message(printable(message.as_ref()).into_owned()),
        }
    }

    /// One unit of work is done.
    pub fn advance(&self) {
        self.0.inc(1);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Held while another program may write to the terminal: no progress is drawn.
#[derive(Debug)]
#[must_use]
pub(crate) struct Pause(());

/// Wipes all progress until what is returned is dropped.
pub(crate) fn pause() -> Pause {
    let mut pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
    *pauses += 1;
    let _ = BARS.clear();
    BARS.set_draw_target(ProgressDrawTarget::hidden());
    Pause(())
}

impl Drop for Pause {
    fn drop(&mut self) {
        let mut pauses = PAUSES.lock().unwrap_or_else(PoisonError::into_inner);
        *pauses -= 1;
        if *pauses == 0 {
            BARS.set_draw_target(target());
        }
    }
}

fn target() -> ProgressDrawTarget {
    match io::stderr().is_terminal() {
        true => ProgressDrawTarget::term_like(Box::new(Narrower(Term::buffered_stderr()))),
        false => ProgressDrawTarget::hidden(),
    }
}

/// Stderr as a terminal that is a little narrower than it is. indicatif fills lines up
/// to their end, so that the `^C` which a terminal shows would go to the next line, and
/// the one before would stay for ever.
#[derive(Debug)]
struct Narrower(Term);

impl TermLike for Narrower {
    fn width(&self) -> u16 {
        self.0.size().1.saturating_sub(3).max(1)
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_up(n)
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_down(n)
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_right(n)
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.0.move_cursor_left(n)
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0.write_line(line)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.0.write_str(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is a constant")
}
