//! Kubeconfig: which files, how they merge, which context, what flags override.
//!
//! The rules are client-go's (`tools/clientcmd`, loader.go and client_config.go).
//! kube's own loader differs in ways that matter here: it fails on a file of
//! $KUBECONFIG that is missing, and takes empty strings for values.

use std::{
    collections::HashMap,
    ffi::OsString,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use kube::config::{
    AuthInfo, Cluster, Config, Context, KubeConfigOptions, NamedAuthInfo, NamedCluster, NamedContext,
};

use secrecy::ExposeSecret as _;

use crate::{
    credentials::{Plugin, Plugins},
    error::{Error, Result},
    wire::Verbosity,
};

/// The name that messages give to the cluster a pod runs in.
const IN_CLUSTER: &str = "in-cluster";

/// Every kubeconfig file that counts, merged.
#[derive(Debug)]
pub struct Kubeconfig {
    merged: kube::config::Kubeconfig,
    files: Vec<PathBuf>,
    plugins: Plugins,
}

/// How to reach the cluster of a context.
pub struct Connection {
    pub(crate) context: String,
    pub(crate) config: Config,
    /// What knows the credential, if the kubeconfig does not.
    pub(crate) plugin: Option<Arc<Plugin>>,
}

/// What flags change about one context's connection; see kubectl's `ConfigFlags`.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// Name of a cluster entry.
    pub cluster: Option<String>,
    /// Name of a user entry.
    pub user: Option<String>,
    /// URL of the API server.
    pub server: Option<String>,
    /// Name to expect in its certificate.
    pub tls_server_name: Option<String>,
    /// File with its certificate authority.
    pub certificate_authority: Option<PathBuf>,
    /// Whether its certificate goes unchecked.
    pub insecure_skip_tls_verify: bool,
    /// File with a client certificate.
    pub client_certificate: Option<PathBuf>,
    /// File with the client certificate's key.
    pub client_key: Option<PathBuf>,
    /// Bearer token.
    pub token: Option<String>,
    /// User to impersonate.
    pub impersonate: Option<String>,
    /// UID to impersonate.
    pub impersonate_uid: Option<String>,
    /// Groups to impersonate.
    pub impersonate_groups: Vec<String>,
    /// Extra information to impersonate.
    pub impersonate_extra: Vec<(String, String)>,
    /// Limit for one request: `None` is the default, `Some(None)` is none.
    pub request_timeout: Option<Option<Duration>>,
    /// Whether not to ask for compressed answers.
    pub disable_compression: bool,
    /// How much of the requests is shown.
    pub verbosity: Verbosity,
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

    fn read(files: Vec<PathBuf>, required: bool) -> Result<Self> {
        let mut merged = kube::config::Kubeconfig::default();
        for file in &files {
            if !required && !file.exists() {
                continue;
            }
            let next = kube::config::Kubeconfig::read_from(file).map_err(|e| cannot_load(file, &e))?;
            merged = merged
                .merge(without_empty(next))
                .map_err(|e| cannot_load(file, &e))?;
        }
        Ok(Self {
            merged,
            files,
            plugins: Plugins::default(),
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

    /// The connection of a context, or of the current one. No credential plugin runs
    /// yet.
    ///
    /// # Errors
    /// If the context, its cluster or a named user does not exist, contradicts itself,
    /// or a file it refers to cannot be read.
    pub async fn connection(&self, context: Option<&str>, overrides: &Overrides) -> Result<Connection> {
        let named = context.or(self.current_context());
        if named.is_none() && self.is_empty() && overrides.server.is_none() {
            let config = Config::incluster_env().map_err(|_| self.no_context())?;
            return Ok(Connection {
                context: IN_CLUSTER.to_owned(),
                config: limits(config, overrides),
                plugin: None,
            });
        }
        let mut single = self.resolve(named, overrides)?;
        let context = single.current_context.clone().unwrap_or_default();
        let plugin = self.take_plugin(&mut single).map_err(|e| e.context(&context))?;
        let config = Config::from_custom_kubeconfig(single, &KubeConfigOptions::default())
            .await
            .map_err(|e| Error::new(crate::cluster::root_cause(&e)).context(&context))?;
        Ok(Connection {
            context,
            config: limits(config, overrides),
            plugin,
        })
    }

    /// Takes the credential plugin out of what [`resolve`](Self::resolve) made.
    fn take_plugin(&self, single: &mut kube::config::Kubeconfig) -> Result<Option<Arc<Plugin>>> {
        let cluster = single.clusters.iter().find_map(|c| c.cluster.as_ref());
        let user = single.auth_infos.first_mut();
        let (Some(cluster), Some(user)) = (cluster, user) else {
            return Ok(None);
        };
        let Some(info) = &mut user.auth_info else {
            return Ok(None);
        };
        let plugin = self.plugins.find(&user.name, info, cluster);
        info.exec = None;
        plugin
    }

    /// A kubeconfig of one context, one cluster and one user, with the overrides
    /// worked in.
    fn resolve(&self, context: Option<&str>, overrides: &Overrides) -> Result<kube::config::Kubeconfig> {
        let name = match context {
            Some(name) => name,
            None if overrides.server.is_some() => "",
            None => return Err(self.no_context()),
        };
        let found = self.merged.contexts.iter().find(|c| c.name == name);
        let chosen = match found {
            Some(found) => found.context.clone().unwrap_or_default(),
            None if name.is_empty() => Context::default(),
            None => return Err(self.unknown_context(name)),
        };
        let cluster_name = overrides.cluster.as_deref().unwrap_or(&chosen.cluster);
        let user_name = overrides
            .user
            .as_deref()
            .or(chosen.user.as_deref())
            .unwrap_or_default();
        let cluster = self.merged.clusters.iter().find(|c| c.name == cluster_name);
        let cluster = match cluster.and_then(|c| c.cluster.clone()) {
            Some(cluster) => cluster,
            None if overrides.server.is_some() && overrides.cluster.is_none() => Cluster::default(),
            None => return Err(Error::new(format!("cluster {cluster_name:?} does not exist")).context(name)),
        };
        let user = self.merged.auth_infos.iter().find(|u| u.name == user_name);
        let user = match user.and_then(|u| u.auth_info.clone()) {
            Some(user) => user,
            None if overrides.user.is_none() => AuthInfo::default(),
            None => return Err(Error::new(format!("auth info {user_name:?} does not exist")).context(name)),
        };
        let cluster = override_cluster(cluster, overrides).map_err(|e| e.context(name))?;
        if cluster.server.is_none() {
            return Err(Error::new(format!("cluster {cluster_name:?} has no server"))
                .context(name)
                .hint("add its `server:` to the kubeconfig, or give --server"));
        }
        let mut user = override_user(user, overrides);
        if !cluster.server.as_deref().is_some_and(is_tls) {
            user = without_credentials(user);
        }
        Ok(kube::config::Kubeconfig {
            current_context: Some(name.to_owned()),
            contexts: vec![NamedContext {
                name: name.to_owned(),
                context: Some(Context {
                    cluster: cluster_name.to_owned(),
                    user: Some(user_name.to_owned()),
                    ..chosen.clone()
                }),
                ..Default::default()
            }],
            clusters: vec![NamedCluster {
                name: cluster_name.to_owned(),
                cluster: Some(cluster),
                ..Default::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: user_name.to_owned(),
                auth_info: Some(user),
                ..Default::default()
            }],
            ..Default::default()
        })
    }

    fn is_empty(&self) -> bool {
        let file = &self.merged;
        file.clusters.is_empty() && file.auth_infos.is_empty() && file.contexts.is_empty()
    }

    fn no_context(&self) -> Error {
        let files: Vec<_> = self.files.iter().map(|f| f.display().to_string()).collect();
        let error = Error::new(format!("no current context is set in {}", files.join(", ")));
        match self.is_empty() {
            true => error.hint("point --kubeconfig or $KUBECONFIG at a file with your clusters"),
            false => error.hint(format!("name one with --context: {}", self.known_contexts())),
        }
    }

    fn unknown_context(&self, name: &str) -> Error {
        let error = Error::usage(format!("context {name:?} does not exist"));
        match nearest(name, self.contexts()) {
            Some(near) => error.hint(format!(
                "did you mean {near:?}? known contexts: {}",
                self.known_contexts()
            )),
            None if self.is_empty() => error.hint("no kubeconfig file names any context"),
            None => error.hint(format!("known contexts: {}", self.known_contexts())),
        }
    }

    /// The contexts' names, cut where a fleet has too many to read.
    fn known_contexts(&self) -> String {
        const SHOWN: usize = 12;
        let names: Vec<_> = self.contexts().collect();
        match names.len().checked_sub(SHOWN) {
            Some(more @ 1..) => format!("{} and {more} more", names[..SHOWN].join(", ")),
            _ => names.join(", "),
        }
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

fn cannot_load(file: &Path, error: &dyn std::error::Error) -> Error {
    Error::new(format!(
        "cannot load kubeconfig {}: {}",
        file.display(),
        crate::cluster::root_cause(error)
    ))
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

/// client-go's `getCluster`: a CA and "do not check" replace each other, and a
/// server given by flag is not the one that the file's tls-server-name is for.
fn override_cluster(mut cluster: Cluster, overrides: &Overrides) -> Result<Cluster> {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    if overrides.insecure_skip_tls_verify && overrides.certificate_authority.is_some() {
        return Err(Error::usage(
            "--certificate-authority and --insecure-skip-tls-verify exclude each other",
        ));
    }
    if overrides.insecure_skip_tls_verify || overrides.certificate_authority.is_some() {
        cluster.insecure_skip_tls_verify = Some(overrides.insecure_skip_tls_verify);
        cluster.certificate_authority = overrides.certificate_authority.as_ref().map(path);
        cluster.certificate_authority_data = None;
    }
    if overrides.tls_server_name.is_some() || overrides.server.is_some() {
        cluster.tls_server_name.clone_from(&overrides.tls_server_name);
    }
    if overrides.server.is_some() {
        cluster.server.clone_from(&overrides.server);
    }
    if overrides.disable_compression {
        cluster.disable_compression = Some(true);
    }
    Ok(cluster)
}

/// client-go's `getAuthInfo`: a certificate or key given by flag replaces both
/// the file and the data of the kubeconfig.
fn override_user(mut user: AuthInfo, overrides: &Overrides) -> AuthInfo {
    let path = |path: &PathBuf| path.to_string_lossy().into_owned();
    if let Some(certificate) = &overrides.client_certificate {
        user.client_certificate = Some(path(certificate));
        user.client_certificate_data = None;
    }
    if let Some(key) = &overrides.client_key {
        user.client_key = Some(path(key));
        user.client_key_data = None;
    }
    if let Some(token) = &overrides.token {
        user.token = Some(token.clone().into());
        user.token_file = None;
    }
    if let Some(impersonate) = &overrides.impersonate {
        user.impersonate = Some(impersonate.clone());
    }
    if let Some(uid) = &overrides.impersonate_uid {
        user.impersonate_uid = Some(uid.clone());
    }
    if !overrides.impersonate_groups.is_empty() {
        user.impersonate_groups = Some(overrides.impersonate_groups.clone());
    }
    if !overrides.impersonate_extra.is_empty() {
        let mut extra: HashMap<String, Vec<String>> = HashMap::new();
        for (key, value) in &overrides.impersonate_extra {
            extra.entry(key.clone()).or_default().push(value.clone());
        }
        user.impersonate_user_extra = Some(extra);
    }
    user
}

/// client-go takes a server without a scheme for plain HTTP.
fn is_tls(server: &str) -> bool {
    let scheme = server.get(..8);
    scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case("https://"))
}

/// As in client-go, nothing that proves who we are goes over a connection that
/// anybody can read.
fn without_credentials(user: AuthInfo) -> AuthInfo {
    AuthInfo {
        impersonate: user.impersonate,
        impersonate_uid: user.impersonate_uid,
        impersonate_groups: user.impersonate_groups,
        impersonate_user_extra: user.impersonate_user_extra,
        ..AuthInfo::default()
    }
}

fn limits(mut config: Config, overrides: &Overrides) -> Config {
    // Without a limit, a server that accepts and never answers holds us forever.
    config.connect_timeout = Some(Duration::from_secs(10));
    config.read_timeout = Some(Duration::from_secs(30));
    if let Some(limit) = overrides.request_timeout {
        config.read_timeout = limit;
        config.connect_timeout = limit.or(config.connect_timeout);
    }
    config.disable_compression |= overrides.disable_compression;
    config
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
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

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
    const BASE: &str = r#"
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
    fn read(files: &[&str]) -> (TempDir, Kubeconfig) {
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
        let resolved = merged
            .resolve(Some("a"), &Overrides::default())
            .unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(
            resolved.clusters[0].name, "b",
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
    fn paths_are_relative_to_their_file() {
        let (directory, kubeconfig) = read(&[BASE]);
        let resolved = kubeconfig
            .resolve(Some("b"), &Overrides::default())
            .unwrap_or_else(|e| panic!("{e}"));
        let cluster = resolved.clusters[0].cluster.as_ref().expect("is there");
        let want = directory.path().join("pki/ca.crt").display().to_string();
        assert_eq!(cluster.certificate_authority, Some(want));
    }

    #[test]
    fn flags_override_as_in_client_go() {
        type Change = fn(&mut Overrides);
        #[track_caller]
        fn check(context: &str, change: Change, look: fn(&Cluster, &AuthInfo) -> bool) {
            let mut overrides = Overrides::default();
            change(&mut overrides);
            let (_keep, kubeconfig) = read(&[BASE]);
            let resolved = kubeconfig
                .resolve(Some(context), &overrides)
                .unwrap_or_else(|e| panic!("{e}"));
            let cluster = resolved.clusters[0].cluster.as_ref().expect("is there");
            let user = resolved.auth_infos[0].auth_info.as_ref().expect("is there");
            assert!(look(cluster, user), "{cluster:?} {user:?}");
        }
        fn some<T>(text: &str) -> Option<T>
        where
            T: for<'a> From<&'a str>,
        {
            Some(T::from(text))
        }
        check("a", |_| (), |c, _| c.tls_server_name == some("a.example"));
        check(
            "a",
            |o| o.server = some("https://x"),
            |c, _| c.server == some("https://x"),
        );
        check(
            "a",
            |o| o.server = some("https://x"),
            |c, _| c.tls_server_name.is_none(),
        );
        check(
            "a",
            |o| o.tls_server_name = some("n"),
            |c, _| c.tls_server_name == some("n"),
        );
        check(
            "a",
            |o| o.insecure_skip_tls_verify = true,
            |c, _| c.certificate_authority_data.is_none() && c.insecure_skip_tls_verify == Some(true),
        );
        check(
            "a",
            |o| o.certificate_authority = some("/ca"),
            |c, _| c.certificate_authority_data.is_none() && c.certificate_authority == some("/ca"),
        );
        check(
            "a",
            |o| o.token = some("t"),
            |_, u| u.token.is_some() && u.token_file.is_none(),
        );
        check(
            "b",
            |o| o.client_key = some("/k"),
            |_, u| u.client_key_data.is_none() && u.client_certificate_data.is_some(),
        );
        check(
            "b",
            |o| o.client_certificate = some("/c"),
            |_, u| u.client_certificate_data.is_none() && u.client_certificate == some("/c"),
        );
        check(
            "a",
            |o| o.cluster = some("b"),
            |c, u| c.server == some("https://b") && u.token_file.is_some(),
        );
        check("a", |o| o.user = some("b"), |_, u| u.client_key_data.is_some());
        check(
            "a",
            |o| o.impersonate_extra = vec![("k".into(), "1".into()), ("k".into(), "2".into())],
            |_, u| {
                u.impersonate_user_extra
                    .as_ref()
                    .is_some_and(|e| e["k"] == ["1", "2"])
            },
        );
    }

    #[test]
    fn credentials_go_over_tls_alone() {
        let (_keep, kubeconfig) = read(&[BASE]);
        let user = |server: &str| {
            let overrides = Overrides {
                server: Some(server.to_owned()),
                token: Some("t".to_owned()),
                impersonate: Some("jane".to_owned()),
                ..Overrides::default()
            };
            let resolved = kubeconfig
                .resolve(Some("b"), &overrides)
                .unwrap_or_else(|e| panic!("{e}"));
            resolved.auth_infos[0].auth_info.clone().expect("is there")
        };
        let secure = user("HTTPS://x");
        assert!(secure.token.is_some() && secure.client_key_data.is_some());
        let plain = user("http://x");
        assert!(plain.token.is_none() && plain.client_key_data.is_none());
        assert_eq!(plain.impersonate.as_deref(), Some("jane"));
    }

    #[test]
    fn what_is_not_there_is_named() {
        #[track_caller]
        fn check(file: &str, context: Option<&str>, overrides: &Overrides, want: &str) {
            let (_keep, kubeconfig) = read(&[file]);
            let context = context.or(kubeconfig.current_context());
            let error = kubeconfig
                .resolve(context, overrides)
                .map(|_| ())
                .unwrap_err()
                .to_string();
            assert!(error.contains(want), "{error}");
        }
        let none = Overrides::default();
        let with = |change: fn(&mut Overrides)| {
            let mut overrides = Overrides::default();
            change(&mut overrides);
            overrides
        };
        check(
            BASE,
            Some("c"),
            &none,
            "context \"c\" does not exist\n  hint: known contexts: a, b",
        );
        check(
            BASE,
            None,
            &with(|o| o.cluster = Some("x".into())),
            "cluster \"x\" does not exist",
        );
        check(
            BASE,
            None,
            &with(|o| o.user = Some("x".into())),
            "auth info \"x\" does not exist",
        );
        check("", None, &none, "no current context is set in ");
        check(
            "",
            None,
            &none,
            "hint: point --kubeconfig or $KUBECONFIG at a file with your clusters",
        );
        check("", Some("c"), &none, "hint: no kubeconfig file names any context");
        check(
            "contexts:\n- {name: c, context: {cluster: c}}\nclusters:\n- {name: c, cluster: {}}\n",
            Some("c"),
            &none,
            "cluster \"c\" has no server",
        );
        let both = with(|o| {
            o.insecure_skip_tls_verify = true;
            o.certificate_authority = Some("/ca".into());
        });
        check(BASE, None, &both, "exclude each other");

        let many: String = (0..20).map(|i| format!("- {{name: prod-{i}}}\n")).collect();
        let many = format!("contexts:\n{many}");
        check(
            &many,
            Some("prd-7"),
            &none,
            "did you mean \"prod-7\"? known contexts: prod-0, prod-1, ",
        );
        check(&many, Some("x"), &none, "prod-11 and 8 more");
    }
}
