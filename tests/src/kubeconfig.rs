//! Builds the kubeconfig files that lead to the clusters of a
//! [`ControlPlane`](crate::ControlPlane).

use std::{
    fs::File,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{Cluster, Proxy, authority::Identity};

/// A kubeconfig under construction. Cluster, user and context of an entry all
/// carry the context's name.
#[derive(Clone, Debug, Default)]
pub struct Kubeconfig {
    entries: Vec<Entry>,
    current: Option<String>,
}

#[derive(Clone, Debug)]
struct Entry {
    name: String,
    cluster: Value,
    user: Value,
    namespace: Option<String>,
}

impl Kubeconfig {
    /// An empty kubeconfig.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a context of the cluster's administrator.
    pub fn context(self, name: &str, cluster: &Cluster) -> Self {
        self.entry(name, cluster, json!({ "token": cluster.token }))
    }

    /// Adds a context of one of the cluster's other [users](Cluster::token_of).
    pub fn user_context(self, name: &str, cluster: &Cluster, user: &str) -> Self {
        self.entry(name, cluster, json!({ "token": cluster.token_of(user) }))
    }

    /// Adds a context of a user with a client certificate, see
    /// [`Cluster::client_certificate`].
    pub fn certificate_context(self, name: &str, cluster: &Cluster, identity: &Identity) -> Self {
        let user = json!({
            "client-certificate-data": STANDARD.encode(&identity.certificate_pem),
            "client-key-data": STANDARD.encode(&identity.key_pem),
        });
        self.entry(name, cluster, user)
    }

    /// Adds a context whose user is given as kubeconfig writes it.
    pub fn entry(self, name: &str, cluster: &Cluster, user: Value) -> Self {
        self.server(name, &cluster.server, &cluster.ca_pem, user)
    }

    /// Adds a context of an administrator whose requests go through a proxy, under a
    /// path such as `/remote/17`, or none.
    pub fn through(self, name: &str, proxy: &Proxy, path: &str) -> Self {
        let server = format!("{}{path}", proxy.url());
        self.server(name, &server, proxy.ca_pem(), json!({ "token": proxy.token() }))
    }

    fn server(mut self, name: &str, server: &str, ca_pem: &str, user: Value) -> Self {
        let cluster = json!({
            "server": server,
            "certificate-authority-data": STANDARD.encode(ca_pem),
        });
        self.entries.push(Entry {
            name: name.to_owned(),
            cluster,
            user,
            namespace: None,
        });
        self
    }

    /// Gives the context added last a default namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        if let Some(entry) = self.entries.last_mut() {
            entry.namespace = Some(namespace.to_owned());
        }
        self
    }

    /// Names the current context.
    pub fn current(mut self, context: &str) -> Self {
        self.current = Some(context.to_owned());
        self
    }

    /// The file's content as a value, for tests that need to bend it.
    pub fn to_json(&self) -> Value {
        let list = |item: &dyn Fn(&Entry) -> Value| self.entries.iter().map(item).collect::<Vec<_>>();
        let mut config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": list(&|entry| json!({ "name": entry.name, "cluster": entry.cluster })),
            "users": list(&|entry| json!({ "name": entry.name, "user": entry.user })),
            "contexts": list(&|entry| {
                let mut context = json!({ "cluster": entry.name, "user": entry.name });
                if let Some(namespace) = &entry.namespace {
                    context["namespace"] = json!(namespace);
                }
                json!({ "name": entry.name, "context": context })
            }),
        });
        if let Some(current) = &self.current {
            config["current-context"] = json!(current);
        }
        config
    }

    /// Writes the file as `kubeconfig` into a directory, readable to its owner
    /// only, and returns its path.
    #[track_caller]
    pub fn write(&self, directory: &Path) -> PathBuf {
        write_private(&directory.join("kubeconfig"), &format!("{:#}", self.to_json()))
    }
}

/// Writes a file with mode 0600.
#[track_caller]
pub(crate) fn write_private(path: &Path, content: &str) -> PathBuf {
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .unwrap_or_else(|err| panic!("failed to create `{}`: {err}", path.display()));
    file.write_all(content.as_bytes())
        .unwrap_or_else(|err| panic!("failed to write `{}`: {err}", path.display()));
    path.to_owned()
}
