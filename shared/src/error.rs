//! The one error type: what happened, where, and what to do about it.
//!
//! Errors are values until [`crate::runtime::main`] prints them, so nothing
//! below it writes to a stream, and no sentence is printed twice.

use std::fmt::{self, Write as _};

use crate::escape;

/// A result whose error is [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a plugin ends; the same meaning in all three plugins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Everything asked for was done, or already was so.
    Done = 0,
    /// Something failed; the error says what was and was not done.
    Failed = 1,
    /// The command line cannot be understood or carried out as given.
    Usage = 2,
    /// A check ran and found something wrong.
    CheckFailed = 3,
    /// A check ran and found something that is due soon.
    DueSoon = 4,
    /// Somebody pressed Ctrl-C, as shells number it.
    Interrupted = 130,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

/// What went wrong, in kubectl's words, with the place and the way on.
///
/// Rendered as up to three lines and the errors it is made of:
///
/// ```text
/// Error from server (Forbidden): secrets is forbidden: User "dev" cannot …
///   where: context "prod-1", secret "gloo-mesh/relay-root-tls-secret"
///   hint: ask for the right to …
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error(Box<Parts>);

/// Boxed, as a `Result` is moved far more often than it fails.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Parts {
    exit: ExitCode,
    /// What the API server calls it, such as `Forbidden`.
    reason: Option<String>,
    prefix: String,
    message: String,
    context: Option<String>,
    object: Option<String>,
    hint: Option<String>,
    /// What is said where nobody knows better.
    general_hint: Option<&'static str>,
    causes: Vec<Error>,
}

impl Error {
    /// A failure, said as a lower-case fragment without a period.
    pub fn new(message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            exit: ExitCode::Failed,
            reason: None,
            prefix: "error: ".to_owned(),
            message: message.into(),
            context: None,
            object: None,
            hint: None,
            general_hint: None,
            causes: Vec::new(),
        }))
    }

    /// A command line that makes no sense; exits with [`ExitCode::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        let mut error = Self::new(message);
        error.0.exit = ExitCode::Usage;
        error
    }

    /// Somebody pressed Ctrl-C; exits with [`ExitCode::Interrupted`].
    pub(crate) fn interrupted() -> Self {
        let mut error = Self::new("interrupted");
        error.0.exit = ExitCode::Interrupted;
        error.hint("run the same command again to go on")
    }

    /// What the API server answered, worded as kubectl words it (`StandardErrorMessage`
    /// in its `pkg/cmd/util/helpers.go`).
    pub(crate) fn from_server(reason: &str, message: impl Into<String>) -> Self {
        if reason == "Unauthorized" {
            let message = format!("You must be logged in to the server ({})", message.into());
            return Self::new(message)
                .hint("the credentials of this context are missing, wrong or expired: log in again");
        }
        let mut error = Self::new(message);
        error.0.reason = Some(reason.to_owned());
        error.0.prefix = match reason {
            "" => "Error from server: ".to_owned(),
            reason => format!("Error from server ({reason}): "),
        };
        error
    }

    /// What to do about a refusal of which no more is known than its reason.
    #[must_use]
    pub(crate) fn hint_for_reason(mut self) -> Self {
        let hint = match self.0.reason.as_deref() {
            Some("Forbidden") => "ask whoever manages this cluster for the right",
            Some("Invalid" | "BadRequest") => {
                "see whether a policy or a newer version of the cluster asks for more"
            }
            Some("NotFound") => "create what is missing, or ask for it, and run the same command again",
            Some("TooManyRequests" | "ServiceUnavailable" | "Timeout" | "ServerTimeout") => {
                "run the same command again when the server is less busy"
            }
            _ => "run the same command again; if it stays so, the server's own log says more",
        };
        self.0.general_hint.get_or_insert(hint);
        self
    }

    /// What happened before a server answered, worded as kubectl words it.
    pub(crate) fn unreachable(message: impl Into<String>) -> Self {
        let mut error = Self::new(message);
        error.0.prefix = String::new();
        error
    }

    /// Names the kubeconfig context it happened in; the first one said stays. A
    /// server that was named by flag has a context without a name.
    #[must_use]
    pub fn context(mut self, context: impl Into<String>) -> Self {
        let context = context.into();
        if !context.is_empty() {
            self.0.context.get_or_insert(context);
        }
        self
    }

    /// Names the object it happened to; the first one said stays.
    #[must_use]
    pub fn object(mut self, object: impl fmt::Display) -> Self {
        self.0.object.get_or_insert(object.to_string());
        self
    }

    /// Says what the user can do; the first one said stays.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint.get_or_insert(hint.into());
        self
    }

    /// Adds the errors that this one sums up, in order.
    #[must_use]
    pub fn causes(mut self, causes: impl IntoIterator<Item = Self>) -> Self {
        self.0.causes.extend(causes);
        self
    }

    /// Sums errors up: one alone is said as it is, several are the causes of another
    /// one, which is told their number.
    ///
    /// # Errors
    /// If there are any.
    pub fn sum_up(mut errors: Vec<Self>, several: impl FnOnce(usize) -> Self) -> Result<()> {
        match errors.len() {
            0 => Ok(()),
            1 => Err(errors.remove(0)),
            number => Err(several(number).causes(errors)),
        }
    }

    /// Whether the API server refused it for want of a right.
    pub fn is_forbidden(&self) -> bool {
        self.0.reason.as_deref() == Some("Forbidden")
    }

    /// Whether somebody else has created the object since it was looked for.
    pub fn is_already_there(&self) -> bool {
        self.0.reason.as_deref() == Some("AlreadyExists")
    }

    /// What happened, without where it did.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The context that it happened in, if that is known.
    pub fn place(&self) -> Option<&str> {
        self.0.context.as_deref()
    }

    /// What the user can do, if somebody has said so.
    pub fn advice(&self) -> Option<&str> {
        self.0.hint.as_deref().or(self.0.general_hint)
    }

    /// The exit code that this error asks for.
    pub fn exit_code(&self) -> ExitCode {
        self.0.exit
    }

    fn render(&self, out: &mut String, indent: &str) {
        let message = escape::printable(&self.0.message).replace('\n', &format!("\n{indent}  "));
        let _ = write!(out, "{indent}{}{message}", self.0.prefix);
        let place = [
            self.0.context.as_ref().map(|c| format!("context {c:?}")),
            self.0.object.clone(),
        ];
        let place: Vec<_> = place.into_iter().flatten().collect();
        if !place.is_empty() {
            let place = escape::printable(&place.join(", ")).into_owned();
            let _ = write!(out, "\n{indent}  where: {place}");
        }
        for cause in &self.0.causes {
            out.push('\n');
            cause.render(out, &format!("{indent}  "));
        }
        if let Some(hint) = self.advice() {
            let hint = escape::printable(hint).replace('\n', &format!("\n{indent}        "));
            let _ = write!(out, "\n{indent}  hint: {hint}");
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = String::new();
        self.render(&mut out, "");
        f.write_str(&out)
    }
}

impl std::error::Error for Error {}

/// What is at the bottom of a chain of errors, each of which repeats the next.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_where_and_what_to_do() {
        let error = Error::from_server("Forbidden", "no secrets for you")
            .context("prod")
            .object("secret \"a/b\"")
            .hint("ask the owner")
            .hint("never shown");
        assert_eq!(
            error.to_string(),
            "Error from server (Forbidden): no secrets for you\n  \
             where: context \"prod\", secret \"a/b\"\n  \
             hint: ask the owner"
        );
    }

    #[test]
    fn one_error_is_said_as_it_is() {
        #[track_caller]
        fn check(errors: &[&str], want: Result<(), &str>) {
            let errors = errors.iter().copied().map(Error::new).collect();
            let got = Error::sum_up(errors, |number| Error::new(format!("{number} failed")));
            assert_eq!(got.map_err(|e| e.to_string()), want.map_err(str::to_owned));
        }
        check(&[], Ok(()));
        check(&["a"], Err("error: a"));
        check(&["a", "b"], Err("error: 2 failed\n  error: a\n  error: b"));
    }

    #[test]
    fn sums_up_other_errors() {
        let error = Error::new("nothing was written")
            .causes([
                Error::new("a").context("east"),
                Error::unreachable("b").context("west"),
            ])
            .hint("mend them and run again");
        assert_eq!(
            error.to_string(),
            "error: nothing was written\n  error: a\n    where: context \"east\"\n  \
             b\n    where: context \"west\"\n  hint: mend them and run again"
        );
    }

    #[test]
    fn never_sends_control_characters_to_a_terminal() {
        let shown = Error::new("a\x1b[31mb").hint("c\x07").to_string();
        assert!(!shown.contains(['\x1b', '\x07']), "{shown:?}");
    }
}
