//! `kubectl relay-certs status`: what it finds in real clusters, and how it exits.

use relay_tests::{ControlPlane, Kubeconfig, Transcript};
use serde_json::{Value, json};

use super::{Mesh, ROOT, SERVER, SIGNING, assert_conceals, finishing, keys_in, words};

const TOKEN: &str = "relay-identity-token-secret";

impl Mesh {
    /// Runs `kubectl relay-certs status`, and makes sure that it writes nothing and
    /// shows no key.
    #[track_caller]
    pub(super) fn status(&self, flags: &str) -> Transcript {
        let before = (self.kubectl("mgmt", "get secrets -o json").stdout, self.home());
        let command = ["relay-certs", "status", "--namespace", &self.namespace];
        let transcript = self.shell.kubectl(&[&command[..], &words(flags)].concat());
        assert_conceals(&transcript, &keys_in(&self.shell));
        let after = (self.kubectl("mgmt", "get secrets -o json").stdout, self.home());
        assert_eq!(after, before);
        transcript
    }

    #[track_caller]
    fn patch(&self, context: &str, secret: &str, patch: Value) {
        let patch = patch.to_string();
        let place = ["--context", context, "-n", &self.namespace];
        let command = ["patch", "secret", secret, "--type=merge", "--patch", &patch];
        self.shell.kubectl(&[&place[..], &command].concat()).success();
    }
}

/// The rows of a table as `CONTEXT SECRET STATUS`.
fn rows(transcript: &Transcript) -> Vec<String> {
    let lines = transcript.stdout.lines().skip(1);
    lines.map(|line| words(line)[..3].join(" ")).collect()
}

#[test]
fn a_mesh_is_missing_then_in_order_then_due() {
    let mesh = Mesh::new();
    let remotes = "--remote-context east,west";
    let missing = mesh.status(remotes);
    assert_eq!(
        rows(missing.exits(3)),
        [
            format!("mgmt {ROOT} missing"),
            format!("mgmt {SERVER} missing"),
            format!("mgmt {SIGNING} missing"),
            format!("mgmt {TOKEN} warning"),
            format!("east {ROOT} missing"),
            format!("east {TOKEN} none"),
            format!("west {ROOT} missing"),
            format!("west {TOKEN} none"),
        ]
    );
    let place = format!("secret {}/{ROOT} in context \"east\"", mesh.namespace);
    missing.complains(&format!("error: {place} does not exist"));

    mesh.init(&format!("--identity-token --root-lifetime 100d {remotes}"))
        .success();
    let root = mesh.fingerprint("relay-pki/relay-root.crt");
    let sound = mesh.status(remotes);
    let table = format!(
        "CONTEXT   SECRET                        STATUS   EXPIRES\n\
         mgmt      {ROOT}         ok       99d\n\
         mgmt      {SERVER}       ok       99d\n\
         mgmt      {SIGNING}      ok       99d\n\
         mgmt      {TOKEN}   ok       -\n\
         east      {ROOT}         ok       99d\n\
         east      {TOKEN}   ok       -\n\
         west      {ROOT}         ok       99d\n\
         west      {TOKEN}   ok       -\n"
    );
    assert_eq!(sound.success().stdout, table);
    assert_eq!(
        sound.stderr,
        format!("Every cluster trusts the same root:\n{root}\n")
    );

    let due = mesh.status(&format!("--expires-within 1y {remotes}"));
    assert!(rows(due.exits(4)).contains(&format!("east {ROOT} due")), "{due}");
    due.complains(&format!("due: {place} expires in 99 days ("))
        .complains("Every cluster trusts the same root");
    mesh.status("--expires-within soon").exits(2);

    let wide = mesh.status(&format!("-o wide {remotes}"));
    wide.success()
        .prints("SHA-256\n")
        .prints("this tool")
        .prints(&root);
    let document = mesh.status(&format!("-o json {remotes}"));
    let document = document.success().json();
    assert_eq!(document["root"], json!(root));
    assert_eq!(document["unread"], json!([]));
    let east = &document["secrets"][4];
    let expires = east["expires"].as_str().expect("is a time").to_owned();
    let wanted = json!({
        "context": "east", "namespace": mesh.namespace, "name": ROOT, "status": "ok",
        "expires": expires, "daysLeft": 99, "sha256": [root], "owner": "this tool", "findings": [],
    });
    assert_eq!(*east, wanted);
    let date = mesh.openssl("x509 -noout -enddate -dateopt iso_8601 -in relay-pki/relay-root.crt");
    let date = date
        .success()
        .stdout
        .trim()
        .replace("notAfter=", "")
        .replace(' ', "T");
    assert_eq!(expires, date);
}

#[test]
fn whatever_is_wrong_is_found() {
    let mesh = Mesh::new();
    let flags = "--remote-context east,west";
    mesh.init(&format!("--identity-token --no-wildcard {flags}"))
        .success();
    let whole = |context, secret| mesh.data(context, secret);
    let (root, server, signing, token) = (
        whole("mgmt", ROOT),
        whole("mgmt", SERVER),
        whole("mgmt", SIGNING),
        whole("east", TOKEN),
    );
    let found = |context: &str, secret: &str, patch: Value, restore: &Value, what: &str| {
        mesh.patch(context, secret, json!({ "data": patch }));
        let got = mesh.status(flags);
        assert!(
            rows(got.exits(3)).contains(&format!("{context} {secret} wrong")),
            "{got}"
        );
        let place = format!("secret {}/{secret} in context {context:?}", mesh.namespace);
        got.complains(&format!("error: {place} {what}"));
        assert!(!got.stderr.contains("Every cluster trusts"), "{got}");
        let mut whole = restore.clone();
        for (key, _) in patch.as_object().expect("an object") {
            whole[key] = whole.get(key).cloned().unwrap_or_default();
        }
        mesh.patch(context, secret, json!({ "data": whole }));
    };
    let none = Value::Null;
    found(
        "mgmt",
        SERVER,
        json!({ "tls.key": none }),
        &server,
        "has no tls.key\n",
    );
    found(
        "mgmt",
        SERVER,
        json!({ "tls.key": signing["tls.key"] }),
        &server,
        "does not belong to its key\n",
    );
    found(
        "mgmt",
        SERVER,
        json!({ "tls.crt": "aGk=" }),
        &server,
        "has a tls.crt that holds no certificate\n",
    );
    found(
        "mgmt",
        SERVER,
        json!({ "ca.crt": none }),
        &server,
        "has no ca.crt\n",
    );
    found(
        "mgmt",
        SIGNING,
        server.clone(),
        &signing,
        "is not a certificate authority\n",
    );
    found(
        "mgmt",
        SERVER,
        signing.clone(),
        &server,
        "is a certificate authority, not a server's\n",
    );
    found("east", ROOT, json!({ "ca.crt": none }), &root, "has no ca.crt\n");
    found(
        "east",
        ROOT,
        json!({ "tls.key": "aGk=" }),
        &root,
        "has a tls.key, by which who reads it",
    );
    found(
        "east",
        TOKEN,
        json!({ "token": "aGk=" }),
        &token,
        "has another token than the management cluster\n",
    );

    // Another root, as an installation of its own leaves it.
    mesh.init("--context west --pki-dir other --root-secret theirs")
        .success();
    let theirs = mesh.data("west", "theirs");
    let [ours, others] = ["relay-pki", "other"].map(|d| mesh.fingerprint(&format!("{d}/relay-root.crt")));
    let what = format!("trusts the root {others}, and the management cluster {ours}\n");
    found("east", ROOT, theirs, &root, &what);
    mesh.status(flags)
        .exits(0)
        .complains("Every cluster trusts the same root");
    let elsewhere = mesh.status(&format!("--service relay {flags}"));
    elsewhere
        .exits(3)
        .complains(&format!("is not for relay.{}\n", mesh.namespace));
}

#[test]
fn what_the_relay_accepts_are_warnings() {
    let mesh = Mesh::new();
    finishing::run_the_page(&mesh);
    // As a person places it; an apply keeps a copy.
    let token = json!({
        "apiVersion": "v1", "kind": "Secret", "stringData": { "token": "word" },
        "metadata": { "name": TOKEN, "namespace": mesh.namespace },
    });
    mesh.shell.apply("mgmt", token);
    let status = mesh.status("--remote-context east");
    assert_eq!(
        rows(status.success()),
        [
            format!("mgmt {ROOT} warning"),
            format!("mgmt {SERVER} warning"),
            format!("mgmt {SIGNING} warning"),
            format!("mgmt {TOKEN} warning"),
            format!("east {ROOT} warning"),
            format!("east {TOKEN} none"),
        ]
    );
    let place = |secret| format!("warning: secret {}/{secret} in context \"mgmt\"", mesh.namespace);
    let server = place(SERVER);
    let bare = format!("is for enterprise-networking.{0} only as *.{0}", mesh.namespace);
    status
        .complains(&format!("{server} has the serial number 0"))
        .complains(&format!("{server} {bare}"))
        .complains(&format!("{server} has a copy of its tls.key in the annotation"))
        .complains(&format!("{} has the serial number 0", place(SIGNING)))
        .complains(&format!(
            "{} has a copy of its token in the annotation",
            place(TOKEN)
        ))
        .complains("Every cluster trusts the same root");
}

#[test]
fn a_cluster_that_cannot_be_read_does_not_hide_the_others() {
    let control_plane = ControlPlane::shared();
    let east = control_plane.cluster("east");
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .context("east", east)
        .user_context("forbidden", control_plane.cluster("west"), "dev")
        .current("mgmt");
    let mesh = Mesh::with(&kubeconfig);
    mesh.init("--remote-context east").success();
    let status = mesh.status("--remote-context forbidden,east");
    status.exits(1).complains("where: context \"forbidden\"");
    assert!(rows(&status).contains(&format!("east {ROOT} ok")), "{status}");
    assert!(!status.stderr.contains("Every cluster trusts"), "{status}");
    mesh.patch("east", ROOT, json!({ "data": { "ca.crt": "" } }));
    mesh.status("--remote-context forbidden,east").exits(3);
}
