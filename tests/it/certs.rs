//! `kubectl relay-certs init`: what it writes, what it leaves alone and what it
//! refuses.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
use serde_json::Value;

mod contexts;
mod finishing;
mod generate;
mod offline;
mod own;
mod owners;
mod plans;
mod refusals;
mod rotating;
mod status;

pub(crate) use generate::offline;

const CONTEXTS: [&str; 3] = ["mgmt", "east", "west"];
const ROOT: &str = "relay-root-tls-secret";
const SERVER: &str = "relay-server-tls-secret";
const SIGNING: &str = "relay-tls-signing-secret";

/// A machine to work from, and a namespace that no cluster has yet.
pub(crate) struct Mesh {
    pub(crate) shell: Shell,
    pub(crate) namespace: String,
}

/// Files by name: mode, time of the last change, content.
type Files = BTreeMap<String, (u32, SystemTime, String)>;

impl Mesh {
    pub(crate) fn new() -> Self {
        let control_plane = ControlPlane::shared();
        let contexts = CONTEXTS.map(|context| (context, control_plane.cluster(context)));
        let admin = contexts
            .into_iter()
            .fold(Kubeconfig::new(), |k, (name, at)| k.context(name, at));
        Self::with(&admin.current("mgmt"))
    }

    fn with(kubeconfig: &Kubeconfig) -> Self {
        let shell = Shell::new(kubeconfig);
        let namespace = fixtures::fresh_namespace(&shell, &[]);
        Self { shell, namespace }
    }

    /// The same mesh from another machine, which has no PKI directory.
    fn elsewhere(&self) -> Self {
        Self {
            namespace: self.namespace.clone(),
            ..Self::new()
        }
    }

    /// Runs `kubectl relay-certs init` with some flags, and makes sure that it
    /// shows no key.
    #[track_caller]
    pub(crate) fn init(&self, flags: &str) -> Transcript {
        let transcript = self.run(flags);
        let mut keys = keys_in(&self.shell);
        let secrets = self.kubectl("mgmt", "get secrets -o json").json();
        let secrets = secrets["items"].as_array().into_iter().flatten();
        keys.extend(secrets.filter_map(|secret| text(&secret["data"]["tls.key"])));
        assert!(
            transcript.code != Some(0) || flags.contains("--dry-run") || keys.len() >= 2,
            "server and signing have keys"
        );
        assert_conceals(&transcript, &keys);
        transcript
    }

    /// Runs `kubectl relay-certs init` and nothing else.
    fn run(&self, flags: &str) -> Transcript {
        let command = ["relay-certs", "init", "--namespace", &self.namespace];
        self.shell.kubectl(&[&command[..], &words(flags)].concat())
    }

    /// Runs kubectl in the mesh's namespace.
    #[track_caller]
    pub(crate) fn kubectl(&self, context: &str, line: &str) -> Transcript {
        let place = ["--context", context, "--namespace", &self.namespace];
        let transcript = self.shell.kubectl(&[&place[..], &words(line)].concat());
        transcript.success();
        transcript
    }

    #[track_caller]
    fn secret(&self, context: &str, name: &str) -> Value {
        let line = format!("get secret {name} -o json --show-managed-fields");
        self.kubectl(context, &line).json()
    }

    #[track_caller]
    fn data(&self, context: &str, name: &str) -> Value {
        self.secret(context, name)["data"].clone()
    }

    /// The namespace and the secrets of all clusters, with their versions.
    #[track_caller]
    fn state(&self) -> String {
        let columns =
            "-o custom-columns=A:.kind,B:.metadata.name,C:.metadata.uid,D:.metadata.resourceVersion";
        let namespace = &self.namespace;
        let of = |context| {
            let namespace = format!("get namespace {namespace} --ignore-not-found {columns}");
            let secrets = self.kubectl(context, &format!("get secrets {columns}"));
            self.kubectl(context, &namespace).stdout + &secrets.stdout
        };
        CONTEXTS.map(of).concat()
    }

    /// Asserts that a cluster has no namespace of this mesh.
    #[track_caller]
    fn is_absent(&self, context: &str) {
        let line = format!("get namespace {} --ignore-not-found -o name", self.namespace);
        assert_eq!(self.kubectl(context, &line).stdout, "", "{context}");
    }

    pub(crate) fn path(&self, file: impl AsRef<Path>) -> PathBuf {
        self.shell.home().join(file)
    }

    #[track_caller]
    pub(crate) fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap_or_else(|err| panic!("{file}: {err}"))
    }

    /// The files of a directory, none if there is no directory.
    fn files(&self, directory: &str) -> Files {
        let entries = fs::read_dir(self.path(directory)).into_iter().flatten();
        let file = |entry: fs::DirEntry| {
            let metadata = entry.metadata().expect("a file has metadata");
            let content = fs::read_to_string(entry.path()).unwrap_or_default();
            let changed = metadata.modified().expect("a file has a time");
            let mode = metadata.permissions().mode() & 0o777;
            (
                entry.file_name().to_string_lossy().into_owned(),
                (mode, changed, content),
            )
        };
        entries.map(|entry| file(entry.expect("is readable"))).collect()
    }

    /// What is in the home directory, besides kubectl's cache.
    fn home(&self) -> Vec<String> {
        let names = self.files(".").into_keys();
        names.filter(|name| name != ".kube").collect()
    }

    /// Asserts what a report says of the objects of each cluster, in order: of
    /// its namespace, then of the secrets that belong there.
    #[track_caller]
    fn assert_reports(&self, transcript: &Transcript, wanted: &[(&str, &str)]) {
        let namespace = format!("namespace/{}", self.namespace);
        let mut rows = Vec::new();
        for (context, outcomes) in wanted {
            let secrets = secrets_of(context).iter().map(|name| format!("secret/{name}"));
            let objects: Vec<_> = [namespace.clone()].into_iter().chain(secrets).collect();
            let outcomes = words(outcomes);
            assert_eq!(objects.len(), outcomes.len(), "{context}");
            let row = |(object, outcome)| format!("{context} {object} {outcome}");
            rows.extend(objects.iter().zip(outcomes).map(row));
        }
        let lines = transcript.stdout.lines();
        let shown: Vec<_> = lines.map(|line| words(line).join(" ")).collect();
        assert_eq!(shown, rows, "{transcript}");
    }

    /// Runs OpenSSL in the home directory.
    #[track_caller]
    pub(crate) fn openssl(&self, line: &str) -> Transcript {
        self.shell.run("openssl", &words(line))
    }

    /// A certificate's fingerprint as it is shown.
    fn fingerprint(&self, file: &str) -> String {
        let shown = self.openssl(&format!("x509 -noout -fingerprint -sha256 -in {file}"));
        let (_, digits) = shown.success().stdout.split_once('=').expect("NAME=DIGITS");
        digits.trim().replace(':', "").to_lowercase()
    }
}

/// Runs init for a mesh whose clusters must see no other request, and makes sure
/// that it shows no key of this machine.
#[track_caller]
pub(crate) fn init(shell: &Shell, namespace: &str, remotes: &[&str], more: &[&str]) -> Transcript {
    let mut arguments = vec!["relay-certs", "init", "-n", namespace];
    arguments.extend(remotes.iter().flat_map(|remote| ["--remote-context", remote]));
    let transcript = shell.kubectl(&[&arguments[..], more].concat());
    assert_conceals(&transcript, &keys_in(shell));
    transcript
}

/// Every key of a machine.
fn keys_in(shell: &Shell) -> Vec<String> {
    let found = shell.run("find", &[".", "-name", "*.key"]);
    let files = found.success().stdout.lines();
    files
        .map(|file| fs::read_to_string(shell.home().join(file)).expect("a key is text"))
        .collect()
}

#[track_caller]
fn assert_conceals(transcript: &Transcript, keys: &[String]) {
    for key in keys {
        transcript.conceals(&STANDARD.encode(key));
        // But not the headers of the form from before PKCS#8.
        for line in key.lines().filter(|line| !line.is_empty() && !line.contains(':')) {
            transcript.conceals(line);
        }
    }
}

pub(crate) fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

/// A value of a secret's data.
fn text(value: &Value) -> Option<String> {
    let decoded = STANDARD.decode(value.as_str()?).expect("is base64");
    Some(String::from_utf8(decoded).expect("is text"))
}

#[test]
fn places_the_pages_secrets_and_a_second_run_changes_nothing() {
    let mut mesh = Mesh::new();
    let kubeconfig = mesh.read("kubeconfig");
    let elsewhere = kubeconfig.replace(r#""current-context": "mgmt""#, r#""current-context": "west""#);
    assert_ne!(elsewhere, kubeconfig);
    let path = mesh.shell.write("kubeconfig", elsewhere);
    mesh.shell.set_env("KUBECONFIG", path);
    let flags = "--mgmt-context mgmt --remote-context east --remote-context west";

    let first = mesh.init(flags);
    let row = |context: &str, object: String| format!("{context}   {object:31}   created\n");
    let mut report = String::new();
    for context in CONTEXTS {
        report += &row(context, format!("namespace/{}", mesh.namespace));
        for name in secrets_of(context) {
            report += &row(context, format!("secret/{name}"));
        }
    }
    assert_eq!(first.success().stdout, report);
    assert_secrets_are_the_pages(&mesh);
    assert_files_are_the_secrets(&mesh);
    let fingerprints = [
        ("relay-root.crt        ", "relay-root.crt"),
        ("relay-server-tls.crt  ", "relay-server-tls.crt"),
        ("relay-tls-signing.crt ", "relay-tls-signing.crt"),
    ]
    .map(|(name, file)| format!("{name}  {}\n", mesh.fingerprint(&format!("relay-pki/{file}"))));
    let summary = format!("\nSHA-256 of the certificates:\n{}\n", fingerprints.concat());
    first
        .complains(&summary)
        .complains("The root's key is relay-pki/relay-root.key.\n")
        .complains(&format!(
            "  ADDRESS=$(kubectl relay-address --context mgmt --namespace {})\n  \
             meshctl cluster register enterprise --mgmt-context mgmt \\\n    \
             --remote-context east --relay-server-address $ADDRESS east\n",
            mesh.namespace
        ));
    assert!(!first.stderr.contains("Nothing changed"), "{first}");
    assert!(!first.stderr.contains("can be read by others"), "{first}");

    let (state, files) = (mesh.state(), mesh.files("relay-pki"));
    let second = mesh.init(flags);
    assert_eq!(second.success().stdout, report.replace("created", "unchanged"));
    second.complains(&summary);
    let last = second.stderr.lines().last();
    assert_eq!(last, Some("Nothing changed: every cluster holds what it should."));
    assert_eq!(mesh.state(), state);
    assert_eq!(mesh.files("relay-pki"), files);
    assert_eq!(mesh.home(), ["kubeconfig", "relay-pki"]);
}

/// The secrets that a cluster has to have, in kubectl's order.
fn secrets_of(context: &str) -> &'static [&'static str] {
    match context {
        "mgmt" => &[ROOT, SERVER, SIGNING],
        _ => &[ROOT],
    }
}

#[track_caller]
fn assert_secrets_are_the_pages(mesh: &Mesh) {
    let root = mesh.data("mgmt", ROOT)["ca.crt"].clone();
    for context in CONTEXTS {
        let listed = mesh.kubectl(context, "get secrets -o name").stdout;
        let names = secrets_of(context).iter();
        assert_eq!(
            listed,
            names.map(|name| format!("secret/{name}\n")).collect::<String>()
        );
        for name in secrets_of(context) {
            let secret = mesh.secret(context, name);
            let keys: &[&str] = match *name {
                ROOT => &["ca.crt"],
                _ => &["ca.crt", "tls.crt", "tls.key"],
            };
            assert_eq!(fields(&secret["data"]), keys, "{context} {name}");
            assert_eq!(secret["data"]["ca.crt"], root, "{context} {name}");
            assert_eq!(secret["type"], "Opaque");
            // Neither annotations nor labels: none that holds a key, none at all.
            let metadata = "creationTimestamp managedFields name namespace resourceVersion uid";
            assert_eq!(fields(&secret["metadata"]).join(" "), metadata);
            let managers = secret["metadata"]["managedFields"].as_array().expect("a list");
            let managers: Vec<_> = managers.iter().map(|m| &m["manager"]).collect();
            assert_eq!(managers, ["kubectl-relay-certs"]);
        }
    }
}

fn fields(object: &Value) -> Vec<&str> {
    let fields = object.as_object().expect("an object");
    fields.keys().map(String::as_str).collect()
}

#[track_caller]
fn assert_files_are_the_secrets(mesh: &Mesh) {
    let mode = |path| {
        fs::metadata(mesh.path(path))
            .expect("exists")
            .permissions()
            .mode()
    };
    assert_eq!(mode("relay-pki") & 0o777, 0o700);
    let mut wanted = BTreeMap::from([(".gitignore".to_owned(), "*\n".to_owned())]);
    let mut file = |name: &str, secret: &str, key: &str| {
        let content = text(&mesh.data("mgmt", secret)[key]).expect("is there");
        wanted.insert(name.to_owned(), content);
    };
    file("relay-root.crt", ROOT, "ca.crt");
    file("relay-server-tls.crt", SERVER, "tls.crt");
    file("relay-server-tls.key", SERVER, "tls.key");
    file("relay-tls-signing.crt", SIGNING, "tls.crt");
    file("relay-tls-signing.key", SIGNING, "tls.key");
    wanted.insert("relay-root.key".to_owned(), mesh.read("relay-pki/relay-root.key"));
    let files = mesh.files("relay-pki");
    assert!(files.values().all(|(mode, ..)| *mode == 0o600), "{files:#?}");
    let contents = files.into_iter().map(|(name, (.., content))| (name, content));
    assert_eq!(contents.collect::<BTreeMap<_, _>>(), wanted);
}

#[test]
fn a_remote_is_added_later_without_any_key() {
    let mesh = Mesh::new();
    mesh.init("--pki-dir safe/pki --remote-context east").success();
    assert_eq!(mesh.home(), ["kubeconfig", "safe"]);
    assert_eq!(mesh.files("safe/pki").len(), 7);

    let elsewhere = mesh.elsewhere();
    let added = elsewhere.init("--remote-context east --remote-context west");
    mesh.assert_reports(
        added.success(),
        &[
            ("mgmt", "unchanged unchanged unchanged unchanged"),
            ("east", "unchanged unchanged"),
            ("west", "created created"),
        ],
    );
    added.complains("The root's key is not in relay-pki; adding clusters does not need it.\n");
    assert!(!added.stderr.contains("Nothing changed"), "{added}");
    assert_eq!(mesh.data("west", ROOT), mesh.data("mgmt", ROOT));
    let state = mesh.state();
    elsewhere
        .init("--remote-context east --remote-context west")
        .success()
        .complains("Nothing changed");
    assert_eq!(mesh.state(), state);
    assert_eq!(elsewhere.home(), ["kubeconfig"], "nothing is written to disk");
}
