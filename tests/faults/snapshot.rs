//! What runs have left behind, read directly.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relay_tests::{ControlPlane, Shell};
use serde_json::Value;

/// All objects of some namespaces, by context, namespace and `KIND/NAME` as reports
/// say it.
#[derive(Default)]
pub(crate) struct Snapshot(BTreeMap<(String, String, String), Value>);

impl Snapshot {
    /// Reads the namespaces of that name in every context, and what they hold under
    /// paths such as `api/v1/namespaces/NAMESPACE/secrets`.
    #[track_caller]
    pub(crate) fn take(
        control_plane: &ControlPlane,
        contexts: &[&str],
        namespaces: &[&str],
        paths: &[&str],
    ) -> Self {
        let mut snapshot = Self::default();
        let shell = Shell::on(control_plane);
        for context in contexts {
            let cluster = control_plane.cluster(context);
            let authority = shell.write("ca.crt", &cluster.ca_pem);
            // One curl asks for everything over one connection.
            let mut config = format!(
                "silent\nshow-error\ncacert = {:?}\nheader = \"Authorization: Bearer {}\"\n",
                authority, cluster.token
            );
            for namespace in namespaces {
                for path in ["api/v1/namespaces/NAMESPACE"].iter().chain(paths) {
                    let path = path.replace("NAMESPACE", namespace);
                    config += &format!("url = \"{}/{path}\"\n", cluster.server);
                }
            }
            let config = shell.write("curl", config);
            let answers = shell.run("curl", &["--config", &config.display().to_string()]);
            let answers = serde_json::Deserializer::from_str(&answers.success().stdout).into_iter::<Value>();
            for answer in answers {
                snapshot.add(context, answer.expect("is JSON"));
            }
        }
        snapshot
    }

    /// Adds an object, or all of a list.
    fn add(&mut self, context: &str, mut answer: Value) {
        let kind = answer["kind"].as_str().unwrap_or_default().to_lowercase();
        let group = match answer["apiVersion"].as_str().and_then(|v| v.split_once('/')) {
            Some((group, _)) => format!(".{group}"),
            None => String::new(),
        };
        let (kind, objects) = match (kind.strip_suffix("list"), answer["items"].take()) {
            (Some(kind), Value::Array(items)) => (kind.to_owned(), items),
            _ if kind == "status" => return,
            _ => (kind, vec![answer]),
        };
        for object in objects {
            let text = |key: &str| object["metadata"][key].as_str().unwrap_or_default().to_owned();
            let namespace = if kind == "namespace" { "name" } else { "namespace" };
            let path = format!("{kind}{group}/{}", text("name"));
            let key = (context.to_owned(), text(namespace), path);
            self.0.insert(key, object);
        }
    }

    /// The versions of all objects of a namespace, in all contexts.
    pub(crate) fn versions(&self, namespace: &str) -> BTreeMap<(&str, &str), &Value> {
        let objects = self.0.iter().filter(|((_, of, _), _)| of == namespace);
        objects
            .map(|((context, _, object), value)| {
                (
                    (context.as_str(), object.as_str()),
                    &value["metadata"]["resourceVersion"],
                )
            })
            .collect()
    }

    fn object(&self, context: &str, namespace: &str, object: &str) -> Option<&Value> {
        let key = (context.to_owned(), namespace.to_owned(), object.to_owned());
        self.0.get(&key)
    }
}

/// Where one run took place, and what is there now.
pub(crate) struct Place<'a> {
    pub(crate) shell: &'a Shell,
    pub(crate) namespace: &'a str,
    pub(crate) snapshot: &'a Snapshot,
}

impl Place<'_> {
    /// An object that is there now.
    pub(crate) fn object(&self, context: &str, object: &str) -> Option<&Value> {
        self.snapshot.object(context, self.namespace, object)
    }

    /// A value of a Secret's data.
    pub(crate) fn data(&self, context: &str, object: &str, key: &str) -> Option<String> {
        let value = self.object(context, object)?["data"][key].as_str()?;
        String::from_utf8(STANDARD.decode(value).ok()?).ok()
    }

    /// A file of the PKI directory.
    pub(crate) fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(self.shell.home().join("relay-pki").join(name)).ok()
    }

    /// Whether a certificate is issued by one of some roots, as OpenSSL sees it.
    pub(crate) fn is_issued_by(&self, certificate: &str, roots: &str) -> bool {
        self.shell.write("roots.pem", roots);
        self.shell.write("issued.pem", certificate);
        let verify = ["verify", "-CAfile", "roots.pem", "issued.pem"];
        self.shell.run("openssl", &verify).code == Some(0)
    }
}

/// The files of a directory and what they hold.
pub(crate) fn files(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let content = fs::read(entry.path()).ok()?;
            Some((entry.path(), content))
        })
        .collect()
}
