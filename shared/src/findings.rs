//! What is to be said about a certificate: findings, each of them an error or a
//! warning.

use std::fmt;

/// Something about a certificate that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The end of a sentence about the certificate.
    pub what: String,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The relay accepts it.
    Warning,
    /// The relay, or every agent, refuses it.
    Error,
}

/// All that is to be said about a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// The first thing that makes it useless, if any.
    pub fn error(&self) -> Option<&str> {
        self.of(Severity::Error).next()
    }

    /// What the relay accepts and others do not.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.of(Severity::Warning)
    }

    /// All of it, in the order in which it was found.
    pub fn all(&self) -> &[Finding] {
        &self.0
    }

    /// Adds what was found elsewhere.
    pub fn extend(&mut self, more: Self) {
        self.0.extend(more.0);
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &str> {
        let found = self.0.iter().filter(move |finding| finding.severity == severity);
        found.map(|finding| finding.what.as_str())
    }

    /// Adds the end of a sentence about the certificate.
    pub fn add(&mut self, severity: Severity, what: impl Into<String>) {
        let what = what.into();
        self.0.push(Finding { severity, what });
    }

    /// Adds what makes it useless, if it was found.
    pub fn error_if(&mut self, found: bool, what: impl Into<String>) {
        if found {
            self.add(Severity::Error, what);
        }
    }

    /// Adds what others refuse, if it is so.
    pub fn warn_if(&mut self, found: bool, what: impl Into<String>) {
        if found {
            self.add(Severity::Warning, what);
        }
    }
}

impl IntoIterator for Findings {
    type Item = Finding;
    type IntoIter = std::vec::IntoIter<Finding>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}
