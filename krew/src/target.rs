//! What a release is made for, and what krew calls it.

use std::fmt;

/// A platform: Rust's name for it and krew's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target {
    /// Rust's target triple.
    pub(crate) triple: &'static str,
    /// krew's `os`, which is Go's `GOOS`.
    pub(crate) os: &'static str,
    /// krew's `arch`, which is Go's `GOARCH`.
    pub(crate) arch: &'static str,
}

/// All that a release covers.
pub(crate) const TARGETS: [Target; 6] = [
    target("x86_64-unknown-linux-gnu", "linux", "amd64"),
    target("aarch64-unknown-linux-gnu", "linux", "arm64"),
    target("x86_64-apple-darwin", "darwin", "amd64"),
    target("aarch64-apple-darwin", "darwin", "arm64"),
    target("x86_64-pc-windows-msvc", "windows", "amd64"),
    target("aarch64-pc-windows-msvc", "windows", "arm64"),
];

/// The glibc that Linux programs are linked against: of 2012, older than that of
/// any distribution with support.
const GLIBC: &str = "2.17";

const fn target(triple: &'static str, os: &'static str, arch: &'static str) -> Target {
    Target { triple, os, arch }
}

impl Target {
    /// The one of that triple.
    ///
    /// # Errors
    ///
    /// Lists those there are.
    pub(crate) fn parse(triple: &str) -> Result<Self, String> {
        let found = TARGETS.into_iter().find(|target| target.triple == triple);
        found.ok_or_else(|| {
            let known = TARGETS.map(|target| target.triple).join(", ");
            format!("a release is made for {known}")
        })
    }

    /// What the linker is told: on Linux, with the version of glibc.
    pub(crate) fn to_link(self) -> String {
        match self.is_linux() {
            true => format!("{}.{GLIBC}", self.triple),
            false => self.triple.to_owned(),
        }
    }

    pub(crate) fn is_linux(self) -> bool {
        self.os == "linux"
    }

    pub(crate) fn is_windows(self) -> bool {
        self.os == "windows"
    }

    /// The file name of a program: `kubectl-relay_certs.exe`.
    pub(crate) fn program(self, name: &str) -> String {
        match self.is_windows() {
            true => format!("{name}.exe"),
            false => name.to_owned(),
        }
    }

    /// The ending of an archive, of the two kinds that krew unpacks.
    pub(crate) fn archive_extension(self) -> &'static str {
        match self.is_windows() {
            true => "zip",
            false => "tar.gz",
        }
    }
}

/// As in the name of an archive: `linux_amd64`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.os, self.arch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(triple: &str, to_link: &str, archive: &str, program: &str) {
        let target = Target::parse(triple).expect("is one of ours");
        let extension = target.archive_extension();
        assert_eq!(target.to_link(), to_link);
        assert_eq!(format!("{target}.{extension}"), archive);
        assert_eq!(target.program("kubectl-x"), program);
    }

    #[test]
    fn each_has_names_for_rust_krew_and_the_linker() {
        check(
            "x86_64-unknown-linux-gnu",
            "x86_64-unknown-linux-gnu.2.17",
            "linux_amd64.tar.gz",
            "kubectl-x",
        );
        check(
            "aarch64-apple-darwin",
            "aarch64-apple-darwin",
            "darwin_arm64.tar.gz",
            "kubectl-x",
        );
        check(
            "x86_64-pc-windows-msvc",
            "x86_64-pc-windows-msvc",
            "windows_amd64.zip",
            "kubectl-x.exe",
        );
    }

    #[test]
    fn another_is_refused_with_those_there_are() {
        let refused = Target::parse("riscv64gc-unknown-linux-gnu").expect_err("is none of ours");
        assert!(refused.ends_with("aarch64-pc-windows-msvc"), "{refused}");
    }
}
