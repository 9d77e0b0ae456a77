//! What flags change about a context's connection. The rules are client-go's
//! (`tools/clientcmd`, client_config.go).

use std::{collections::HashMap, path::PathBuf, time::Duration};

use kube::config::{AuthInfo, Cluster, Config};
use secrecy::SecretString;

use crate::{
    deadline::{self, Deadline},
    error::{Error, Result},
    wire::Verbosity,
};

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
    pub token: Option<SecretString>,
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

impl Overrides {
    /// client-go's `getCluster`: a CA and "do not check" replace each other, and a
    /// server given by flag is not the one that the file's tls-server-name is for.
    pub(crate) fn apply_to_cluster(&self, mut cluster: Cluster) -> Result<Cluster> {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        if self.insecure_skip_tls_verify && self.certificate_authority.is_some() {
            return Err(Error::usage(
                "--certificate-authority and --insecure-skip-tls-verify exclude each other",
            ));
        }
        if self.insecure_skip_tls_verify || self.certificate_authority.is_some() {
            cluster.insecure_skip_tls_verify = Some(self.insecure_skip_tls_verify);
            cluster.certificate_authority = self.certificate_authority.as_ref().map(path);
            cluster.certificate_authority_data = None;
        }
        if self.tls_server_name.is_some() || self.server.is_some() {
            cluster.tls_server_name.clone_from(&self.tls_server_name);
        }
        if self.server.is_some() {
            cluster.server.clone_from(&self.server);
        }
        if self.disable_compression {
            cluster.disable_compression = Some(true);
        }
        Ok(cluster)
    }

    /// client-go's `getAuthInfo`: a certificate or key given by flag replaces both
    /// the file and the data of the kubeconfig.
    pub(crate) fn apply_to_user(&self, mut user: AuthInfo) -> AuthInfo {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        if let Some(certificate) = &self.client_certificate {
            user.client_certificate = Some(path(certificate));
            user.client_certificate_data = None;
        }
        if let Some(key) = &self.client_key {
            user.client_key = Some(path(key));
            user.client_key_data = None;
        }
        if let Some(token) = &self.token {
            user.token = Some(token.clone());
        }
        if let Some(impersonate) = &self.impersonate {
            user.impersonate = Some(impersonate.clone());
        }
        if let Some(uid) = &self.impersonate_uid {
            user.impersonate_uid = Some(uid.clone());
        }
        if !self.impersonate_groups.is_empty() {
            user.impersonate_groups = Some(self.impersonate_groups.clone());
        }
        if !self.impersonate_extra.is_empty() {
            let mut extra: HashMap<String, Vec<String>> = HashMap::new();
            for (key, value) in &self.impersonate_extra {
                extra.entry(key.clone()).or_default().push(value.clone());
            }
            user.impersonate_user_extra = Some(extra);
        }
        user
    }

    /// How long one request may take.
    pub(crate) fn deadline(&self) -> Deadline {
        Deadline {
            limit: self.request_timeout.unwrap_or(Some(deadline::PATIENCE)),
            is_told: self.request_timeout.is_some(),
        }
    }

    /// How long connecting and waiting for an answer may take, and whether answers may be
    /// compressed.
    pub(crate) fn apply_to_config(&self, mut config: Config) -> Config {
        // Without a limit, a server that accepts and never answers holds us forever.
        config.connect_timeout = Some(Duration::from_secs(10));
        config.read_timeout = Some(Duration::from_secs(30));
        if let Some(limit) = self.request_timeout {
            config.read_timeout = limit;
            config.connect_timeout = limit.or(config.connect_timeout);
        }
        config.disable_compression |= self.disable_compression;
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeconfig::tests::{BASE, read};

    #[test]
    fn flags_override_as_in_client_go() {
        type Change = fn(&mut Overrides);
        #[track_caller]
        fn check(context: &str, change: Change, look: fn(&Cluster, &AuthInfo) -> bool) {
            let mut overrides = Overrides::default();
            change(&mut overrides);
            let (_keep, kubeconfig) = read(&[BASE]);
            let cluster = kubeconfig.cluster(context).expect("is there").clone();
            let cluster = overrides
                .apply_to_cluster(cluster)
                .unwrap_or_else(|e| panic!("{e}"));
            let user = kubeconfig.user(context).expect("is there").clone();
            let user = overrides.apply_to_user(user);
            assert!(look(&cluster, &user), "{cluster:?} {user:?}");
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
            |_, u| u.token.is_some() && u.token_file.is_some(),
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
            |o| {
                o.impersonate = some("jane");
                o.impersonate_extra = vec![("k".into(), "1".into()), ("k".into(), "2".into())];
            },
            |_, u| {
                u.impersonate_user_extra
                    .as_ref()
                    .is_some_and(|e| e["k"] == ["1", "2"])
            },
        );
    }
}
