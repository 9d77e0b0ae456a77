//! The connection of one context: its cluster and its user, with what flags
//! change about them. The rules are client-go's (`tools/clientcmd`, client_config.go).

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::Uri;
use kube::config::{AuthInfo, Cluster, Config, Context};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};

use crate::{
    authorization::Authorization,
    credentials::Plugin,
    deadline::Deadline,
    error::{Error, Result},
    kubeconfig::Kubeconfig,
    overrides::Overrides,
    proxy::Proxy,
};

/// The name that messages give to the cluster a pod runs in.
const IN_CLUSTER: &str = "in-cluster";

/// How to reach the cluster of a context.
pub struct Connection {
    pub(crate) context: String,
    pub(crate) config: Config,
    pub(crate) proxy: Option<Proxy>,
    /// How the user proves itself, if not by a certificate.
    pub(crate) authorization: Option<Authorization>,
    /// What knows the credential, if the kubeconfig does not.
    pub(crate) plugin: Option<Arc<Plugin>>,
    /// How long one request may take as a whole.
    pub(crate) deadline: Deadline,
}

impl Kubeconfig {
    /// The connection of a context, or of the current one. No credential plugin runs
    /// yet.
    ///
    /// # Errors
    /// If the context, its cluster or a named user does not exist, contradicts itself,
    /// or a file it refers to cannot be read.
    pub fn connection(&self, context: Option<&str>, overrides: &Overrides) -> Result<Connection> {
        let named = context.or(self.current_context());
        if named.is_none() && self.is_empty() && overrides.server.is_none() {
            let config = self.in_cluster(overrides)?;
            return Ok(Connection {
                context: IN_CLUSTER.to_owned(),
                proxy: environment_proxy(&config.cluster_url).map_err(Error::new)?,
                authorization: Authorization::of(&config.auth_info).map_err(Error::new)?,
                config: overrides.apply_to_config(config),
                plugin: None,
                deadline: overrides.deadline(),
            });
        }
        let resolved = self.resolve(named, overrides)?;
        let plugin = self
            .plugins
            .find(&resolved.user_name, &resolved.user, &resolved.cluster);
        let plugin = plugin.map_err(|e| e.context(&resolved.context))?;
        let failed = |problem| Error::new(problem).context(&resolved.context);
        let (config, proxy) = resolved.config().map_err(failed)?;
        let authorization = Authorization::of(&config.auth_info).map_err(failed)?;
        Ok(Connection {
            config: overrides.apply_to_config(config),
            proxy,
            authorization,
            plugin,
            deadline: overrides.deadline(),
            context: resolved.context,
        })
    }

    /// The cluster that a pod runs in. kubectl takes another token or authority from the
    /// flags and passes over the rest; whoever says `--as` has to be heard, too.
    fn in_cluster(&self, overrides: &Overrides) -> Result<Config> {
        let mut config = Config::incluster_env().map_err(|_| self.no_context())?;
        if overrides.token.is_some() {
            config.auth_info.token_file = None;
        }
        config.auth_info = overrides.apply_to_user(config.auth_info);
        let cluster = overrides.apply_to_cluster(Cluster::default())?;
        let authority = root_certificates(&cluster, IN_CLUSTER).map_err(Error::new)?;
        config.root_cert = authority.or(config.root_cert);
        config.accept_invalid_certs = cluster.insecure_skip_tls_verify == Some(true);
        config.tls_server_name = cluster.tls_server_name.or(config.tls_server_name);
        Ok(config)
    }

    /// The cluster and the user of a context, with the overrides worked in.
    fn resolve(&self, context: Option<&str>, overrides: &Overrides) -> Result<Resolved> {
        let name = match context {
            Some(name) => name,
            None if overrides.server.is_some() => "",
            None => return Err(self.no_context()),
        };
        let chosen = match self.context(name) {
            Some(context) => context.clone(),
            None if name.is_empty() => Context::default(),
            None => return Err(self.unknown_context(name)),
        };
        let cluster_name = overrides.cluster.as_deref().unwrap_or(&chosen.cluster);
        let user_name = overrides.user.as_deref().or(chosen.user.as_deref());
        let user_name = user_name.unwrap_or_default();
        let cluster = match self.cluster(cluster_name) {
            Some(cluster) => cluster.clone(),
            None if overrides.server.is_some() && overrides.cluster.is_none() => Cluster::default(),
            None => return Err(Error::new(format!("cluster {cluster_name:?} does not exist")).context(name)),
        };
        let user = match self.user(user_name) {
            Some(user) => user.clone(),
            None if overrides.user.is_none() => AuthInfo::default(),
            None => return Err(Error::new(format!("auth info {user_name:?} does not exist")).context(name)),
        };
        let cluster = overrides.apply_to_cluster(cluster).map_err(|e| e.context(name))?;
        let user = overrides.apply_to_user(user);
        let problem = contradiction(cluster_name, &cluster, user_name, &user);
        if let Some(problem) = problem {
            return Err(Error::new(format!("invalid configuration: {problem}")).context(name));
        }
        let Some(server) = cluster.server.as_deref() else {
            return Err(Error::new(format!("cluster {cluster_name:?} has no server"))
                .context(name)
                .hint("add its `server:` to the kubeconfig, or give --server"));
        };
        let server = server_url(server)
            .map_err(|e| Error::new(format!("cluster {cluster_name:?}: {e}")).context(name))?;
        Ok(Resolved {
            context: name.to_owned(),
            user: match server.scheme_str() {
                Some("https") => user,
                _ => without_credentials(user),
            },
            user_name: user_name.to_owned(),
            cluster_name: cluster_name.to_owned(),
            cluster,
            server,
        })
    }
}

/// What a context comes to.
struct Resolved {
    context: String,
    cluster_name: String,
    cluster: Cluster,
    server: Uri,
    user_name: String,
    user: AuthInfo,
}

impl Resolved {
    /// What kube needs to know. Its own way there is not taken: it has other rules for
    /// proxies.
    fn config(&self) -> Result<(Config, Option<Proxy>), String> {
        let proxy = match &self.cluster.proxy_url {
            Some(url) => Some(
                Proxy::parse(url)
                    .map_err(|e| format!("invalid 'proxy-url' for cluster {:?}: {e}", self.cluster_name))?,
            ),
            None => environment_proxy(&self.server)?,
        };
        let mut config = Config::new(self.server.clone());
        config.root_cert = root_certificates(&self.cluster, &self.cluster_name)?;
        config.accept_invalid_certs = self.cluster.insecure_skip_tls_verify == Some(true);
        config.disable_compression = self.cluster.disable_compression == Some(true);
        config.tls_server_name.clone_from(&self.cluster.tls_server_name);
        config.auth_info = self.user.clone();
        Ok((config, proxy))
    }
}

/// What the server is checked against, in DER; `None` is what the system trusts.
fn root_certificates(cluster: &Cluster, name: &str) -> Result<Option<Vec<Vec<u8>>>, String> {
    let (pem, from) = match (
        &cluster.certificate_authority_data,
        &cluster.certificate_authority,
    ) {
        (Some(data), _) => {
            let data = STANDARD.decode(data);
            (
                data.map_err(|e| e.to_string()),
                "certificate-authority-data".to_owned(),
            )
        }
        (None, Some(file)) => {
            let pem = std::fs::read(file);
            (
                pem.map_err(|e| e.to_string()),
                format!("certificate-authority {file}"),
            )
        }
        (None, None) => return Ok(None),
    };
    let certificates = pem.and_then(|pem| {
        let certificates = CertificateDer::pem_slice_iter(&pem);
        let certificates = certificates.map(|c| c.map(|c| c.to_vec()));
        certificates
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| e.to_string())
    });
    match certificates {
        Ok(none) if none.is_empty() => Err(format!("{from} of cluster {name:?} holds no certificate")),
        Ok(certificates) => Ok(Some(certificates)),
        Err(e) => Err(format!("cannot read {from} of cluster {name:?}: {e}")),
    }
}

fn environment_proxy(server: &Uri) -> Result<Option<Proxy>, String> {
    Proxy::from_environment(server, |name| std::env::var(name).ok())
}

/// The URL of a server; client-go takes one without a scheme for plain HTTP.
fn server_url(server: &str) -> Result<Uri, String> {
    let url = match server.contains("://") {
        true => server.to_owned(),
        false => format!("http://{server}"),
    };
    let uri: Uri = url
        .parse()
        .map_err(|_| format!("its server {server:?} is not a URL"))?;
    match uri.scheme_str() {
        Some("http" | "https") => Ok(uri),
        _ => Err(format!("its server {server:?} is neither http:// nor https://")),
    }
}

/// What client-go refuses in a cluster and a user (`validation.go`), in its words.
fn contradiction(cluster_name: &str, cluster: &Cluster, user_name: &str, user: &AuthInfo) -> Option<String> {
    let both = |what: &str, name: &str| format!("{what}-data and {what} are both specified for {name}");
    let has_authority =
        cluster.certificate_authority.is_some() || cluster.certificate_authority_data.is_some();
    if cluster.certificate_authority.is_some() && cluster.certificate_authority_data.is_some() {
        return Some(both("certificate-authority", cluster_name));
    }
    if has_authority && cluster.insecure_skip_tls_verify == Some(true) {
        return Some(format!(
            "certificate-authority and insecure-skip-tls-verify are both specified for {cluster_name}"
        ));
    }
    let has_certificate = user.client_certificate.is_some() || user.client_certificate_data.is_some();
    if user.client_certificate.is_some() && user.client_certificate_data.is_some() {
        return Some(both("client-certificate", user_name));
    }
    if has_certificate && user.client_key.is_some() && user.client_key_data.is_some() {
        return Some(both("client-key", user_name));
    }
    if has_certificate && user.client_key.is_none() && user.client_key_data.is_none() {
        return Some(format!(
            "client-key-data or client-key must be specified for {user_name} to use the clientCert authentication method"
        ));
    }
    if user.token.is_some() && (user.username.is_some() || user.password.is_some()) {
        return Some(format!(
            "more than one authentication method found for {user_name}; found [token basicAuth], only one is allowed"
        ));
    }
    let is_more = user.impersonate_uid.is_some()
        || user
            .impersonate_groups
            .as_ref()
            .is_some_and(|groups| !groups.is_empty())
        || user
            .impersonate_user_extra
            .as_ref()
            .is_some_and(|extra| !extra.is_empty());
    (is_more && user.impersonate.is_none())
        .then(|| format!("requesting uid, groups or user-extra for {user_name} without impersonating a user"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubeconfig::tests::{BASE, read};

    #[test]
    fn cluster_and_user_can_be_named() {
        let (_keep, kubeconfig) = read(&[BASE]);
        let overrides = |cluster: &str, user: &str| Overrides {
            cluster: Some(cluster.to_owned()),
            user: Some(user.to_owned()),
            ..Overrides::default()
        };
        let resolve = |overrides| {
            let resolved = kubeconfig.resolve(Some("a"), &overrides);
            let Resolved { cluster, user, .. } = resolved.unwrap_or_else(|e| panic!("{e}"));
            (cluster.server.unwrap_or_default(), user.token_file.is_some())
        };
        assert_eq!(resolve(overrides("b", "a")), ("https://b".to_owned(), true));
        assert_eq!(resolve(overrides("a", "b")), ("https://a".to_owned(), false));
    }

    #[test]
    fn credentials_go_over_tls_alone() {
        let (_keep, kubeconfig) = read(&[BASE]);
        let user = |server: &str| {
            let overrides = Overrides {
                server: Some(server.to_owned()),
                token: Some("t".into()),
                impersonate: Some("jane".to_owned()),
                ..Overrides::default()
            };
            let resolved = kubeconfig
                .resolve(Some("b"), &overrides)
                .unwrap_or_else(|e| panic!("{e}"));
            resolved.user
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

    #[test]
    fn servers_are_urls() {
        let url = |server| server_url(server).map(|uri| uri.to_string());
        assert_eq!(url("https://a:6443/k8s/c-1"), Ok("https://a:6443/k8s/c-1".into()));
        assert_eq!(url("HTTPS://a"), Ok("https://a/".into()));
        assert_eq!(url("a:8080"), Ok("http://a:8080/".into()));
        assert_eq!(url("[::1]:8080"), Ok("http://[::1]:8080/".into()));
        for bad in ["ftp://a", "https://", "https://a b"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
