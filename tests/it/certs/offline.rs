//! `csr`, `manifests` and `inspect`: what is done with files, and with one secret.

use std::fs;

use relay_tests::Transcript;
use serde_json::{Value, json};

use super::{Mesh, ROOT, SERVER, SIGNING, generate::offline, text, words};

impl Mesh {
    /// Runs `kubectl relay-certs`.
    #[track_caller]
    fn certs(&self, line: &str) -> Transcript {
        self.shell.kubectl(&[&["relay-certs"], &words(line)[..]].concat())
    }
}

#[test]
fn an_outside_ca_answers_requests_and_the_answers_are_placed() {
    let mesh = Mesh::new();
    let csr = format!(
        "csr --namespace {} --san relay.example.com --key-algorithm ecdsa-p256",
        mesh.namespace
    );
    let files = [
        "server-tls.key",
        "server-tls.csr",
        "tls-signing.key",
        "tls-signing.csr",
    ];
    let report = |became: &str| -> String {
        let row = |file| format!("relay-pki/relay-{file:15}   {became}\n");
        files.map(row).concat()
    };
    let asked = mesh.certs(&csr);
    assert_eq!(asked.success().stdout, report("created"));
    asked.complains("--server-cert SERVER.crt --server-key relay-pki/relay-server-tls.key");
    let before = mesh.files("relay-pki");
    assert_eq!(mesh.certs(&csr).success().stdout, report("unchanged"));
    assert_eq!(mesh.files("relay-pki"), before);
    assert!(before.values().all(|(mode, ..)| *mode == 0o600), "{before:#?}");
    mesh.certs("csr --san other.example.com")
        .exits(1)
        .complains("error: relay-pki/relay-server-tls.csr asks for something else\n  hint: move it away");
    mesh.certs("csr --key-algorithm rsa").exits(1).complains(
        "error: relay-pki/relay-server-tls.key has a key of kind ECDSA P-256, \
         and --key-algorithm rsa was asked for\n",
    );
    assert_eq!(mesh.files("relay-pki"), before);

    // The CA copies what was asked for, as `openssl x509 -copy_extensions` does.
    mesh.openssl_root("root", "");
    for name in ["server-tls", "tls-signing"] {
        let request = format!("relay-pki/relay-{name}.csr");
        mesh.openssl(&format!("req -verify -noout -in {request}"))
            .success();
        mesh.openssl(&format!(
            "x509 -req -days 20 -copy_extensions copyall -in {request} -CA root.crt -CAkey root.key \
             -out {name}.crt"
        ))
        .success();
    }
    let names = mesh.openssl("x509 -noout -ext subjectAltName -in server-tls.crt");
    names
        .success()
        .prints("DNS:relay.example.com")
        .prints("DNS:enterprise-networking,");
    let answers = "--ca-cert root.crt \
                   --server-cert server-tls.crt --server-key relay-pki/relay-server-tls.key \
                   --signing-cert tls-signing.crt --signing-key relay-pki/relay-tls-signing.key";
    mesh.certs(
        "inspect server-tls.crt --key relay-pki/relay-server-tls.key --ca-cert root.crt --expires-within 1d",
    )
    .exits(3)
    .prints("error:      is not for enterprise-networking.gloo-mesh\n");
    mesh.init(answers).success();
    assert_eq!(
        text(&mesh.data("mgmt", SERVER)["tls.crt"]),
        Some(mesh.read("server-tls.crt"))
    );
    assert_eq!(
        text(&mesh.data("mgmt", SIGNING)["tls.crt"]),
        Some(mesh.read("tls-signing.crt"))
    );
    assert_eq!(mesh.files("relay-pki"), before);
}

#[test]
fn manifests_are_the_secrets_that_init_places() {
    let mesh = Mesh::new();
    let namespace = &mesh.namespace;
    mesh.init("--remote-context east").success();
    let management = format!("manifests --for management --namespace {namespace}");

    let redacted = mesh.certs(&management);
    assert_eq!(redacted.success().stdout.matches("<redacted>").count(), 2);
    redacted.complains("Keys are left out: --output-dir writes whole files, --show-keys prints them.\n");
    // Nobody applies that by mistake.
    let refused = mesh
        .shell
        .stdin(&redacted.stdout)
        .kubectl(&["apply", "--dry-run=server", "-f", "-"]);
    refused.exits(1).complains("illegal base64 data");
    let names = mesh.certs(&format!("{management} -o name --root-secret other"));
    assert_eq!(
        names.success().stdout,
        format!("secret/other\nsecret/{SERVER}\nsecret/{SIGNING}\n")
    );

    let written = mesh.certs(&format!("{management} --output-dir secrets"));
    written
        .success()
        .prints(&format!("secrets/{ROOT}.yaml"))
        .complains("These files hold private keys");
    let files = mesh.files("secrets");
    assert_eq!(files.len(), 4, "{files:#?}");
    assert!(files.values().all(|(mode, ..)| *mode == 0o600), "{files:#?}");
    let again = mesh.certs(&format!("{management} --output-dir secrets"));
    assert_eq!(
        again.success().stdout,
        written.stdout.replace("created", "unchanged")
    );
    mesh.shell
        .write(&format!("secrets/{SERVER}.yaml"), "kind: Secret\n");
    mesh.certs(&format!("{management} --output-dir secrets"))
        .exits(1)
        .complains(&format!(
            "error: secrets/{SERVER}.yaml is there and holds something else\n"
        ));

    // Shown only when asked for by name, and what init has placed.
    let command = [&["relay-certs"], &words(&management)[..], &["--show-keys"]].concat();
    let shown = mesh.shell.kubectl(&command);
    let live = || [ROOT, SERVER, SIGNING].map(|name| mesh.data("mgmt", name));
    let before = live();
    mesh.kubectl("mgmt", "delete secrets --all");
    mesh.shell.apply("mgmt", &shown.success().stdout);
    assert_eq!(live(), before);
    mesh.init("--remote-context east")
        .success()
        .complains("Nothing changed");

    let remote = mesh.certs(&format!("manifests --for remote --namespace {namespace}"));
    assert_eq!(remote.success().stderr, "");
    mesh.kubectl("east", "delete secrets --all");
    mesh.shell.apply("east", &remote.stdout);
    assert_eq!(mesh.data("east", ROOT), before[0]);

    let empty = offline();
    empty.certs("manifests --for management").exits(1).complains(
        "error: relay-pki does not hold all certificates\n  \
         hint: complete it with kubectl relay-certs generate --pki-dir relay-pki\n",
    );
    empty
        .certs("manifests --for remote")
        .exits(1)
        .complains("error: relay-pki/relay-root.crt is not there\n");
    assert_eq!(empty.home(), [""; 0]);
}

#[test]
fn inspect_shows_what_is_there_and_judges_it() {
    let mesh = offline();
    mesh.generate("--pki-dir pki --key-algorithm ecdsa-p256 --server-lifetime 90d")
        .success();
    let whole = mesh.certs("inspect pki");
    let print = |file: &str| mesh.fingerprint(&format!("pki/{file}.crt"));
    whole
        .success()
        .prints("pki/relay-root.crt (trusted)\n  subject     CN=relay-root.gloo-mesh, O=relay-root\n")
        .prints("\npki/relay-server-tls.crt (server)\n")
        .prints("89 days left\n  key         ECDSA P-256\n  usages      server, client\n")
        .prints("\n  names       enterprise-networking\n              enterprise-networking.gloo-mesh\n")
        .prints(&format!(
            "  SHA-256     {}\n  private key belongs to it\n",
            print("relay-server-tls")
        ))
        .prints("\npki/relay-tls-signing.crt (signing)\n");
    assert!(
        !whole.stdout.contains("warning:") && !whole.stdout.contains("error:"),
        "{whole}"
    );
    mesh.certs("inspect pki --expires-within 100d").exits(4);

    let json = mesh.certs("inspect pki -o json").success().json();
    let server = &json["inspected"][1];
    assert_eq!(
        (&server["purpose"], &server["sound"], &server["findings"]),
        (&json!("server"), &json!(true), &json!([]))
    );
    let certificate = &server["certificates"][0];
    assert_eq!(certificate["sha256"], print("relay-server-tls"));
    assert_eq!(certificate["usages"], json!(["server", "client"]));
    let end = mesh.openssl("x509 -noout -enddate -dateopt iso_8601 -in pki/relay-server-tls.crt");
    let end = end
        .success()
        .stdout
        .trim()
        .replace("notAfter=", "")
        .replace(' ', "T");
    assert_eq!(certificate["notAfter"], end);
    let one = mesh.certs("inspect pki -o jsonpath={.inspected[0].certificates[0].key}");
    assert_eq!(one.success().stdout, "ECDSA P-256");

    // A file alone: no chain can be followed.
    mesh.certs("inspect pki/relay-server-tls.crt")
        .success()
        .complains("No chain was followed, as no root is among these: give it with --ca-cert.\n");
    mesh.certs("inspect pki/relay-server-tls.crt pki/relay-root.crt")
        .success();
    mesh.openssl_root("other", "");
    mesh.certs("inspect pki/relay-server-tls.crt --ca-cert other.crt")
        .exits(3)
        .prints(
            "  error:      is not signed by the root, but by \"CN=relay-root.gloo-mesh, O=relay-root\"\n",
        );
    mesh.certs("inspect pki/relay-server-tls.crt --key other.key")
        .exits(3)
        .prints("  private key belongs to another certificate\n  error:      does not belong to its key\n");
    mesh.openssl_issue(
        "other",
        "agent",
        &["extendedKeyUsage=clientAuth", "subjectAltName=DNS:east"],
    );
    mesh.certs("inspect agent.crt --ca-cert other.crt --expires-within 1d")
        .success()
        .prints("agent.crt (agent)\n");
    mesh.certs("inspect missing")
        .exits(1)
        .complains("error: cannot read missing: ");
    mesh.certs("inspect pki/relay-root.key")
        .exits(1)
        .complains("error: pki/relay-root.key holds no certificate\n");
    mesh.certs("inspect").exits(2);
    fs::create_dir(mesh.path("empty")).expect("is new");
    mesh.certs("inspect empty")
        .exits(1)
        .complains("error: empty holds none of the relay's files\n");

    // What a certificate says does not reach the terminal as it is.
    let hostile = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 90 -utf8 \
                   -keyout evil.key -out evil.crt -subj";
    let mut command = words(hostile);
    command.push("/CN=\x1b]0;owned\x07");
    mesh.shell.run("openssl", &command).success();
    mesh.certs("inspect evil.crt").conceals("\x1b").conceals("\x07");
}

#[test]
fn inspect_looks_into_a_secret() {
    let mesh = Mesh::new();
    let inspect = |flags: &str| mesh.certs(&format!("inspect --namespace {} {flags}", mesh.namespace));
    mesh.init("--remote-context east").success();
    inspect(&format!("--secret {SERVER}"))
        .success()
        .prints(&format!("ca.crt of secret {SERVER} (trusted)\n"))
        .prints(&format!("\ntls.crt of secret {SERVER} (server)\n"))
        .prints("  private key belongs to it\n");
    inspect(&format!("--secret {ROOT} --context east")).success();
    inspect("--secret missing")
        .exits(1)
        .complains("error: the secret is not there\n  where: context \"mgmt\", secret ");

    // The page's certificates work, and have their defects; so has its kubectl apply.
    let server = mesh.secret("mgmt", SERVER);
    let mut broken: Value = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": "copy", "namespace": mesh.namespace },
        "data": server["data"],
    });
    mesh.shell.apply("mgmt", &broken);
    inspect("--secret copy")
        .success()
        .complains("warning: secret copy has a copy of its data in an annotation");
    broken["data"]["tls.crt"] = json!("aGFsZg==");
    mesh.shell.apply("mgmt", &broken);
    inspect("--secret copy")
        .exits(3)
        .prints("tls.crt of secret copy (unreadable)\n");
    broken["data"] = json!({ "token": "dA==" });
    mesh.shell.apply("mgmt", &broken);
    mesh.kubectl("mgmt", "get secret copy -o name");
    inspect("--secret copy")
        .exits(1)
        .complains("error: the secret holds neither ca.crt nor tls.crt\n");
}

#[test]
fn no_verbosity_and_no_format_shows_a_key() {
    let mesh = Mesh::new();
    // Every transcript is searched for keys as it comes in.
    mesh.init("--remote-context east --dry-run=client -v 9 -o yaml")
        .success();
    mesh.init("--remote-context east --dry-run=server -v 9 -o json")
        .success();
    mesh.init("--remote-context east -v 9").success();
    let namespace = &mesh.namespace;
    for line in [
        "inspect relay-pki -v 9",
        "inspect relay-pki -v 9 -o json",
        "inspect --secret relay-server-tls-secret -v 9 -o yaml",
        "status --remote-context east -v 9 -o json",
        "manifests --for management -v 9",
        "manifests --for management -v 9 -o json",
        "manifests --for management -o jsonpath={.items[*].data}",
    ] {
        mesh.certs(&format!("{line} --namespace {namespace}")).success();
    }
    mesh.certs("generate --pki-dir new -v 9").success();
    mesh.certs("csr --pki-dir asked -v 9").success();
    // Where a key is not one, too.
    let key = mesh.read("relay-pki/relay-root.key");
    mesh.shell.write("new/relay-root.key", key.replace("MII", "NII"));
    mesh.certs("generate --pki-dir new -v 9").exits(1);
    mesh.certs("inspect new -v 9").exits(1);
}
