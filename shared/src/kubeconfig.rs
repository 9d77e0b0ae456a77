//! Kubeconfig: which files, how they merge, which contexts there are.
//!
//! The rules are client-go's (`tools/clientcmd`, loader.go).
//! kube's own loader differs in ways that matter here: it fails on a file of
//! $KUBECONFIG that is missing, and takes empty strings for values.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use kube::config::{AuthInfo, Cluster, Context, KubeconfigError};
use secrecy::ExposeSecret as _;

use crate::{
    credentials::Plugins,
    error::{Error, Result},
};

/// Every kubeconfig file that counts, merged.
#[derive(Debug)]
pub struct Kubeconfig {
    merged: kube::config::Kubeconfig,
    files: Vec<PathBuf>,
    pub(crate) plugins: Arc<Plugins>,
}

impl Kubeconfig {
    /// Loads `explicit` alone, else the files of $KUBECONFIG, else `~/.kube/config`.
    ///
    /// # Errors
    /// If `explicit` does not exist, or any file cannot be read or parsed. A file
    /// of the list that does not exist is skipped, as kubectl does.
    pub fn load(explicit: Option<&Path>) -> Result<Self> {
        match explicit {
            Some(file) => Self::read(vec![file.to_owned()], true),
            None => Self::read(default_files(std::env::var_os("KUBECONFIG"), home()), false),
        }
    }

    /// Loads another file beside this one: nothing of the two is merged, but a
    /// credential plugin that both name runs once.
    ///
    /// # Errors
    /// If it does not exist, or cannot be read or parsed.
    pub(crate) fn beside(&self, file: &Path) -> Result<Self> {
        Ok(Self {
            plugins: self.plugins.clone(),
            ..Self::read(vec![file.to_owned()], true)?
        })
    }

    fn read(files: Vec<PathBuf>, required: bool) -> Result<Self> {
        let mut merged = kube::config::Kubeconfig::default();
        for file in &files {
            if !required && file.try_exists().is_ok_and(|exists| !exists) {
                continue;
            }
            if ends_in_a_character(file) {
                return Err(Error::new(format!(
                    "cannot load kubeconfig {}: incomplete UTF-16 character",
                    file.display()
                )));
            }
            let next = kube::config::Kubeconfig::read_from(file).map_err(|e| cannot_load(file, &e))?;
            merged = merged
                .merge(without_empty(next))
                .map_err(|e| cannot_load(file, &e))?;
        }
        Ok(Self {
            merged,
            files,
            plugins: Arc::default(),
        })
    }

    /// The context used where none is named.
    pub fn current_context(&self) -> Option<&str> {
        self.merged.current_context.as_deref()
    }

    /// The names of all contexts, in the order of the files.
    pub fn contexts(&self) -> impl Iterator<Item = &str> {
        self.merged.contexts.iter().map(|c| c.name.as_str())
    }

    /// The files that were asked for, whether or not they exist.
    pub(crate) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    pub(crate) fn context(&self, name: &str) -> Option<&Context> {
        let mut all = self.merged.contexts.iter();
        all.find(|c| c.name == name)?.context.as_ref()
    }

    pub(crate) fn cluster(&self, name: &str) -> Option<&Cluster> {
        let mut all = self.merged.clusters.iter();
        all.find(|c| c.name == name)?.cluster.as_ref()
    }

    pub(crate) fn user(&self, name: &str) -> Option<&AuthInfo> {
        let mut all = self.merged.auth_infos.iter();
        all.find(|u| u.name == name)?.auth_info.as_ref()
    }

    pub(crate) fn is_empty(&self) -> bool {
        let file = &self.merged;
        file.clusters.is_empty() && file.auth_infos.is_empty() && file.contexts.is_empty()
    }

    pub(crate) fn no_context(&self) -> Error {
        let files: Vec<_> = self.files.iter().map(|f| f.display().to_string()).collect();
        let error = Error::new(format!("no current context is set in {}", files.join(", ")));
        match self.is_empty() {
            true => error.hint("point --kubeconfig or $KUBECONFIG at a file with your clusters"),
            false => error.hint(format!(
                "name one with --context: {}",
                listed(&self.contexts().collect::<Vec<_>>())
            )),
        }
    }

    pub(crate) fn unknown_context(&self, name: &str) -> Error {
        let known: Vec<_> = self.contexts().collect();
        unknown_context(&format!("context {name:?} does not exist"), Some(name), &known)
    }
}

/// The error of a name, if it is one, that is not among the known contexts.
pub(crate) fn unknown_context(message: &str, name: Option<&str>, known: &[&str]) -> Error {
    let error = Error::usage(message);
    let near = name.and_then(|name| nearest(name, known.iter().copied()));
    match near {
        Some(near) => error.hint(format!(
            "did you mean {near:?}? known contexts: {}",
            listed(known)
        )),
        None if known.is_empty() => error.hint("no kubeconfig file names any context"),
        None => error.hint(format!("known contexts: {}", listed(known))),
    }
}

/// The contexts' names, cut where a fleet has too many to read.
fn listed(names: &[&str]) -> String {
    const SHOWN: usize = 12;
    match names.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", names[..SHOWN].join(", ")),
        _ => names.join(", "),
    }
}

/// The files that kubectl would read, given $KUBECONFIG and the home directory.
fn default_files(list: Option<OsString>, home: Option<PathBuf>) -> Vec<PathBuf> {
    match list {
        Some(list) if !list.is_empty() => std::env::split_paths(&list)
            .filter(|file| !file.as_os_str().is_empty())
            .collect(),
        _ => home.into_iter().map(|home| home.join(".kube/config")).collect(),
    }
}

fn home() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| !home.as_os_str().is_empty())
}

/// Whether a file in UTF-16 has half a character at its end, at which kube panics. What
/// comes through a pipe can be read only once.
fn ends_in_a_character(file: &Path) -> bool {
    let is_odd = |metadata: fs::Metadata| metadata.is_file() && metadata.len() % 2 == 1;
    fs::metadata(file).is_ok_and(is_odd)
        && fs::read(file).is_ok_and(|bytes| matches!(bytes[..], [0xff, 0xfe, ..] | [0xfe, 0xff, ..]))
}

fn cannot_load(file: &Path, error: &KubeconfigError) -> Error {
    let problem = match error {
        // All but the first line quotes the file, which holds tokens and keys.
        KubeconfigError::Parse(e) => {
            let text = e.without_snippet().to_string();
            text.lines().next().unwrap_or_default().to_owned()
        }
        error => crate::error::root_cause(error),
    };
    Error::new(format!("cannot load kubeconfig {}: {problem}", file.display()))
}

/// client-go takes an empty string for a value that is not there.
fn without_empty(mut file: kube::config::Kubeconfig) -> kube::config::Kubeconfig {
    fn drop_empty<T: AsRef<str>>(field: &mut Option<T>) {
        field.take_if(|value| value.as_ref().is_empty());
    }
    drop_empty(&mut file.current_context);
    for cluster in file.clusters.iter_mut().filter_map(|c| c.cluster.as_mut()) {
        drop_empty(&mut cluster.server);
        drop_empty(&mut cluster.certificate_authority);
        drop_empty(&mut cluster.certificate_authority_data);
        drop_empty(&mut cluster.proxy_url);
        drop_empty(&mut cluster.tls_server_name);
    }
    for user in file.auth_infos.iter_mut().filter_map(|u| u.auth_info.as_mut()) {
        drop_empty(&mut user.username);
        drop_empty(&mut user.token_file);
        drop_empty(&mut user.client_certificate);
        drop_empty(&mut user.client_certificate_data);
        drop_empty(&mut user.client_key);
        drop_empty(&mut user.impersonate);
        for secret in [&mut user.token, &mut user.password, &mut user.client_key_data] {
            secret.take_if(|value| value.expose_secret().is_empty());
        }
    }
    file
}

/// The known name that a mistyped one is most like, if it is like any.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_file_in_utf_16_may_end_anywhere() {
        let directory = tempfile::tempdir().expect("there is room");
        for mark in [*b"\xff\xfe", *b"\xfe\xff"] {
            let file = directory.path().join("kubeconfig");
            fs::write(&file, [&mark[..], b"a"].concat()).expect("can be written");
            let error = Kubeconfig::load(Some(&file)).map(|_| ()).expect_err("is cut off");
            assert!(
                error.to_string().ends_with(": incomplete UTF-16 character"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_files_are_those_that_kubectl_reads() {
        #[track_caller]
        fn check(list: Option<&str>, want: &[&str]) {
            let files = default_files(list.map(OsString::from), Some("/home/me".into()));
            assert_eq!(files, want.iter().map(PathBuf::from).collect::<Vec<_>>());
        }
        check(None, &["/home/me/.kube/config"]);
        check(Some(""), &["/home/me/.kube/config"]);
        check(Some("/a"), &["/a"]);
        check(Some("/a::b:"), &["/a", "b"]);
        check(Some(":"), &[]);
    }

    /// Two contexts, `a` and `b`, each with a cluster and a user of its name.
    pub(crate) const BASE: &str = r#"
clusters:
- {name: a, cluster: {server: "https://a", certificate-authority-data: Q0E=, tls-server-name: a.example}}
- {name: b, cluster: {server: "https://b", certificate-authority: pki/ca.crt}}
users:
- {name: a, user: {tokenFile: /token}}
- {name: b, user: {client-certificate-data: Qw==, client-key-data: Sw==}}
contexts:
- {name: a, context: {cluster: a, user: a}}
- {name: b, context: {cluster: b, user: b}}
current-context: a
"#;

    /// The kubeconfig of these files, in a directory of their own.
    pub(crate) fn read(files: &[&str]) -> (TempDir, Kubeconfig) {
        let directory = tempfile::tempdir().expect("can be made");
        let paths: Vec<_> = (0..files.len())
            .map(|i| directory.path().join(i.to_string()))
            .collect();
        for (path, content) in paths.iter().zip(files) {
            fs::write(path, content).expect("can be written");
        }
        let kubeconfig = Kubeconfig::read(paths, false).unwrap_or_else(|e| panic!("{e}"));
        (directory, kubeconfig)
    }

    #[test]
    fn lists_merge_and_missing_files_are_skipped() {
        let (_keep, merged) = read(&[
            "",
            "current-context: \"\"\n",
            "contexts:\n- {name: a, context: {cluster: b}}\n",
            BASE,
            "current-context: b\n",
        ]);
        assert_eq!(merged.current_context(), Some("a"));
        assert_eq!(merged.contexts().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            merged.context("a").map(|context| &*context.cluster),
            Some("b"),
            "the first file that names something wins"
        );

        let missing = PathBuf::from("/does/not/exist");
        assert!(Kubeconfig::read(vec![missing.clone()], false).is_ok_and(|k| k.is_empty()));
        let error = Kubeconfig::read(vec![missing], true)
            .map(|_| ())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("error: cannot load kubeconfig /does/not/exist: "),
            "{error}"
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_quoting_it() {
        #[track_caller]
        fn check(user: &str, want: &str) {
            let directory = tempfile::tempdir().expect("can be made");
            let file = directory.path().join("config");
            fs::write(&file, format!("users:\n- name: a\n  user:\n    {user}\n")).expect("can be written");
            let error = Kubeconfig::read(vec![file.clone()], false).expect_err("it is wrong");
            let want = format!("error: cannot load kubeconfig {}: {want}", file.display());
            assert_eq!(error.to_string(), want);
        }
        check("token: [s3cret]", "expected string scalar at line 4, column 12");
        check(
            "token: s3cret\n   bad: x",
            "while parsing a block mapping, did not find expected key at line 5, column 4",
        );
        check(
            "client-key-data: s3cret\n    exec: 5",
            "expected mapping start at line 5, column 11",
        );
    }

    #[test]
    fn paths_are_relative_to_their_file() {
        let (directory, kubeconfig) = read(&[BASE]);
        let cluster = kubeconfig.cluster("b").expect("is there");
        let want = directory.path().join("pki/ca.crt").display().to_string();
        assert_eq!(cluster.certificate_authority, Some(want));
    }
}
