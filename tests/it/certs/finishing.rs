//! What `init` completes: a run that was interrupted, a secret that was lost, or
//! what a person made by hand or by the page's script.

use std::{fs, process::Stdio, thread, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relay_tests::fixtures;
use serde_json::{Value, json};

use super::{Mesh, ROOT, SERVER, SIGNING, assert_files_are_the_secrets, words};

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The page's bash, of the creation of certificates.
const PAGE: &str = include_str!("page.sh");

#[test]
fn what_was_lost_is_restored_from_the_directory() {
    let mesh = Mesh::new();
    let flags = "--remote-context east";
    mesh.init(flags).success();
    let files = mesh.files("relay-pki");
    let server = mesh.data("mgmt", SERVER);
    mesh.kubectl("mgmt", &format!("delete secret {SERVER}"));
    mesh.kubectl("east", &format!("delete secret {ROOT}"));
    // Not a certificate at all: the relay cannot use it either.
    let patch = r#"{"data":{"tls.crt":"aGFsZg=="}}"#;
    mesh.kubectl("mgmt", &format!("patch secret {SIGNING} --patch {patch}"));

    let restored = mesh.init(flags);
    mesh.assert_reports(
        restored.success(),
        &[
            ("mgmt", "unchanged unchanged created configured"),
            ("east", "unchanged created"),
        ],
    );
    assert_eq!(mesh.data("mgmt", SERVER), server);
    assert_eq!(mesh.data("east", ROOT), mesh.data("mgmt", ROOT));
    assert_eq!(mesh.files("relay-pki"), files);
    assert_files_are_the_secrets(&mesh);
}

#[test]
fn keys_that_an_interrupted_run_left_get_their_certificates() {
    let mesh = Mesh::new();
    let flags = "--remote-context east";
    mesh.init(flags).success();
    let old =
        ["root", "server-tls", "tls-signing"].map(|name| mesh.read(&format!("relay-pki/relay-{name}.crt")));
    for context in ["mgmt", "east"] {
        mesh.kubectl(context, "delete secrets --all");
    }
    let directory = mesh.path("relay-pki");
    for name in mesh
        .files("relay-pki")
        .into_keys()
        .filter(|name| name.ends_with(".crt"))
    {
        fs::remove_file(directory.join(name)).expect("can be removed");
    }
    // As OpenSSL 1.1.1 writes keys.
    let convert = "openssl rsa -traditional -in relay-pki/relay-server-tls.key -out pkcs1";
    let convert = format!("{convert} && cat pkcs1 >relay-pki/relay-server-tls.key && rm pkcs1");
    mesh.shell.run("sh", &["-c", &convert]).success();
    let keys = mesh.files("relay-pki");
    assert_eq!(keys.len(), 4, "{keys:#?}");

    mesh.init(flags).success();
    let files = mesh.files("relay-pki");
    assert!(keys.iter().all(|(name, key)| files[name] == *key));
    // The secret holds PKCS#8, which everybody reads.
    let pkcs8 = mesh.openssl("pkey -in relay-pki/relay-server-tls.key");
    mesh.shell
        .write("relay-pki/relay-server-tls.key", &pkcs8.success().stdout);
    assert_files_are_the_secrets(&mesh);
    for (name, old) in ["root", "server-tls", "tls-signing"].into_iter().zip(old) {
        let (crt, key) = (
            format!("relay-pki/relay-{name}.crt"),
            format!("relay-pki/relay-{name}.key"),
        );
        assert_ne!(mesh.read(&crt), old);
        let public = mesh.openssl(&format!("pkey -pubout -in {key}"));
        let issued_to = mesh.openssl(&format!("x509 -noout -pubkey -in {crt}"));
        assert_eq!(issued_to.success().stdout, public.success().stdout, "{name}");
    }
}

#[test]
fn a_run_that_is_killed_at_any_point_is_finished_by_the_same_command() {
    let flags = "--key-algorithm ecdsa-p256 --identity-token --remote-context east,west";
    let mut killed = 0;
    for step in 0..10 {
        let mesh = Mesh::new();
        let line = format!("init --namespace {} {flags}", mesh.namespace);
        let mut run = mesh.shell.command("kubectl-relay_certs");
        run.args(words(&line)).stdout(Stdio::null()).stderr(Stdio::null());
        let mut run = run.spawn().expect("starts");
        thread::sleep(Duration::from_millis(30 * step));
        run.kill().expect("can be killed");
        killed += usize::from(run.wait().expect("ends").code().is_none());

        let written = |mesh: &Mesh| {
            let files = mesh.files("relay-pki").into_iter();
            let whole = files.filter(|(name, _)| name.ends_with(".key") || name.ends_with(".crt"));
            whole.collect::<Vec<_>>()
        };
        let left = written(&mesh);
        mesh.init(flags).success();
        let files = written(&mesh);
        assert!(
            left.iter().all(|file| files.contains(file)),
            "{left:#?} {files:#?}"
        );
        mesh.status("--remote-context east,west").success();
    }
    assert!(killed > 0, "every run was faster");
}

#[test]
fn a_run_that_wrote_to_some_clusters_is_finished_by_another() {
    let mesh = Mesh::new();
    let namespace = &mesh.namespace;
    mesh.kubectl("east", &format!("create namespace {namespace}"));
    fixtures::refuse_secrets(&mesh.shell, "east", namespace, true);
    let flags = "--remote-context east --remote-context west";
    let half = mesh.init(flags);
    mesh.assert_reports(
        half.exits(1),
        &[
            ("mgmt", "created created created created"),
            ("east", "unchanged failed"),
            ("west", "created created"),
        ],
    );
    half.complains("no secrets today")
        .complains(&format!("where: context \"east\", secret {namespace}/{ROOT}"));
    fixtures::refuse_secrets(&mesh.shell, "east", namespace, false);
    let whole = mesh.init(flags);
    mesh.assert_reports(
        whole.success(),
        &[
            ("mgmt", "unchanged unchanged unchanged unchanged"),
            ("east", "unchanged created"),
            ("west", "unchanged unchanged"),
        ],
    );
    assert_eq!(mesh.data("east", ROOT), mesh.data("west", ROOT));
}

#[test]
fn what_a_person_made_is_completed() {
    let mesh = Mesh::new();
    let flags = "--remote-context east";
    mesh.init(flags).success();
    let (server, signing) = (mesh.data("mgmt", SERVER), mesh.data("mgmt", SIGNING));
    mesh.kubectl("mgmt", &format!("delete secret {SERVER} {SIGNING}"));
    mesh.kubectl("east", &format!("delete secret {ROOT}"));
    // As the page's `kubectl apply` leaves it: the key is in an annotation, too.
    let by_hand = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": SERVER, "namespace": mesh.namespace, "annotations": { "team": "mesh" } },
        "data": { "tls.crt": server["tls.crt"], "tls.key": server["tls.key"], "note": "aGk=" },
    });
    mesh.shell.apply("mgmt", &by_hand);
    let pair = "--cert relay-pki/relay-tls-signing.crt --key relay-pki/relay-tls-signing.key";
    mesh.kubectl("mgmt", &format!("create secret tls {SIGNING} {pair}"));
    mesh.kubectl("mgmt", &format!("label secret {SIGNING} team=mesh"));
    mesh.kubectl("mgmt", &format!("annotate secret {SIGNING} by=hand"));
    mesh.kubectl(
        "east",
        &format!("create secret generic {ROOT} --from-literal=note=hi"),
    );
    assert!(mesh.secret("mgmt", SERVER)["metadata"]["annotations"][LAST_APPLIED].is_string());

    let completed = mesh.init(flags);
    mesh.assert_reports(
        completed.success(),
        &[
            ("mgmt", "unchanged unchanged configured configured"),
            ("east", "unchanged configured"),
        ],
    );
    let with_note = |mut data: Value| {
        data["note"] = json!("aGk=");
        data
    };
    let after = mesh.secret("mgmt", SERVER);
    assert_eq!(after["data"], with_note(server));
    assert_eq!(after["metadata"]["annotations"], json!({ "team": "mesh" }));
    let after = mesh.secret("mgmt", SIGNING);
    assert_eq!(
        (&after["data"], &after["type"]),
        (&signing, &json!("kubernetes.io/tls"))
    );
    assert_eq!(after["metadata"]["labels"], json!({ "team": "mesh" }));
    assert_eq!(after["metadata"]["annotations"], json!({ "by": "hand" }));
    assert_eq!(mesh.data("east", ROOT), with_note(mesh.data("mgmt", ROOT)));
}

/// Runs the page's script in the directory `page`, for mgmt and east.
#[track_caller]
pub(super) fn run_the_page(mesh: &Mesh) {
    let script = PAGE
        .replace("gloo-mesh", &mesh.namespace)
        .replace("kind-mgmt-cluster", "mgmt")
        .replace("kind-remote-cluster", "east")
        // As the page's OpenSSL 1.1.1 writes keys.
        .replace("openssl genrsa", "openssl genrsa -traditional");
    mesh.shell.write("page/script", script);
    let run = "cd page && sh -eu ./script";
    mesh.shell.run("sh", &["-euc", run]).success();
}

#[test]
fn what_the_pages_script_made_is_kept() {
    let mesh = Mesh::new();
    run_the_page(&mesh);
    let open = "chmod 755 page && chmod 644 page/relay-root.key";
    mesh.shell.run("sh", &["-euc", open]).success();
    let (state, files) = (mesh.state(), mesh.files("page"));
    let flags = "--pki-dir page --remote-context east";
    let open = "page can be read by others: chmod -R go= page\n";
    for (flags, warning) in [(flags, open), ("--remote-context east", "")] {
        let kept = mesh.init(flags);
        kept.complains("Nothing changed").complains(warning);
        mesh.assert_reports(
            kept.success(),
            &[
                ("mgmt", "unchanged unchanged unchanged unchanged"),
                ("east", "unchanged unchanged"),
            ],
        );
        assert_eq!(mesh.state(), state);
    }

    // From the files alone: clusters that lost everything get the same again.
    let data = || {
        [
            ("mgmt", SERVER),
            ("mgmt", SIGNING),
            ("mgmt", ROOT),
            ("east", ROOT),
        ]
        .map(|(c, s)| mesh.data(c, s))
    };
    let mut before = data();
    for context in ["mgmt", "east"] {
        mesh.kubectl(context, "delete secrets --all");
    }
    let adopted = mesh.init(flags);
    adopted.success();
    let generate = [
        "relay-certs",
        "generate",
        "--namespace",
        &mesh.namespace,
        "--pki-dir",
        "page",
    ];
    let unchanged = mesh.shell.kubectl(&generate);
    unchanged.success().complains("Nothing changed");
    let inspect = ["relay-certs", "inspect", "--namespace", &mesh.namespace, "page"];
    let inspected = mesh.shell.kubectl(&inspect);
    for (file, defect) in [
        (
            "relay-root.crt",
            "has no key usage: OpenSSL's strict checks and Python refuse it",
        ),
        (
            "relay-server-tls.crt",
            "has the serial number 0, which is not a positive one",
        ),
        (
            "relay-server-tls.crt",
            &format!("only as *.{}, which Go takes", mesh.namespace),
        ),
        (
            "relay-tls-signing.crt",
            "has the serial number 0, which is not a positive one",
        ),
    ] {
        for adopted in [&adopted, &unchanged] {
            let warnings = adopted
                .stderr
                .lines()
                .filter(|line| line.starts_with("warning: "));
            let mut of_file = warnings.filter(|line| line.contains(&format!("page/{file} ")));
            assert!(
                of_file.any(|line| line.contains(defect)),
                "{file} {defect}: {adopted}"
            );
        }
        inspected.success().prints(defect);
    }
    let twins = "warning:    has the serial number of another certificate of its issuer\n";
    inspected.prints(twins);
    for (secret, name) in before.iter_mut().zip(["server-tls", "tls-signing"]) {
        // Its keys as PKCS#8, which everybody reads.
        let pkcs8 = mesh.openssl(&format!("pkey -in page/relay-{name}.key"));
        secret["tls.key"] = STANDARD.encode(&pkcs8.success().stdout).into();
    }
    assert_eq!(data(), before);
    assert_eq!(mesh.files("page"), files);
    assert_eq!(mesh.home(), ["kubeconfig", "page"]);
}
