//! What `init` refuses, all of it before anything is written anywhere.

use std::fs;

use relay_tests::{ControlPlane, Kubeconfig, Transcript};
use serde_json::json;

use super::{Mesh, ROOT, SERVER};

#[test]
fn a_directory_with_another_root_stops_with_both_fingerprints() {
    let mut mesh = Mesh::new();
    let ours = mesh.namespace.clone();
    mesh.init("--remote-context east").success();
    mesh.namespace += "-other";
    mesh.init("--pki-dir other").success();
    mesh.namespace = ours;
    let before = (mesh.state(), mesh.files("relay-pki"), mesh.files("other"));

    let refused = mesh.init("--pki-dir other --remote-context east --remote-context west");
    let [ours, theirs] = ["relay-pki", "other"].map(|d| mesh.fingerprint(&format!("{d}/relay-root.crt")));
    let place = format!(
        "secret {}/{ROOT} in context \"east\" has {ours}\n",
        mesh.namespace
    );
    refused
        .exits(1)
        .complains("error: there are different root certificates, and nothing was written\n")
        .complains(&place)
        .complains(&format!("other/relay-root.crt has {theirs}\n"))
        .complains("to replace a root everywhere: kubectl relay-certs rotate root\n");
    assert_eq!(refused.stdout, "");
    assert_eq!(
        (mesh.state(), mesh.files("relay-pki"), mesh.files("other")),
        before
    );
}

#[test]
fn clusters_with_different_roots_stop() {
    let mesh = Mesh::new();
    mesh.init("--remote-context east").success();
    mesh.init("--context west --pki-dir other").success();
    let before = (mesh.state(), mesh.home());
    let elsewhere = mesh.elsewhere();
    for machine in [&mesh, &elsewhere] {
        let refused = machine.init("--remote-context east --remote-context west");
        refused
            .exits(1)
            .complains("error: there are different root certificates, and nothing was written\n");
        for (context, directory) in [("mgmt", "relay-pki"), ("east", "relay-pki"), ("west", "other")] {
            let print = mesh.fingerprint(&format!("{directory}/relay-root.crt"));
            refused.complains(&format!(
                "secret {}/{ROOT} in context {context:?} has {print}\n",
                mesh.namespace
            ));
        }
    }
    assert_eq!((mesh.state(), mesh.home()), before);
    assert_eq!(elsewhere.home(), ["kubeconfig"]);
}

#[test]
fn without_the_key_of_the_root_nothing_is_issued() {
    let mesh = Mesh::new();
    mesh.init("--remote-context east").success();
    mesh.kubectl("mgmt", &format!("delete secret {SERVER}"));
    let before = mesh.state();
    let elsewhere = mesh.elsewhere();
    let root = mesh.fingerprint("relay-pki/relay-root.crt");
    elsewhere
        .init("--remote-context east --remote-context west")
        .exits(1)
        .complains(&format!(
            "error: relay-server-tls has to be issued, and relay-pki has not the key of the root {root}\n  \
             hint: give the --pki-dir that this root was made in; if somebody is making it at this moment,\n        \
             wait until that is done, and run the same command again\n"
        ));
    assert_eq!(mesh.state(), before);
    assert_eq!(elsewhere.home(), ["kubeconfig"]);
}

#[test]
fn what_helm_owns_is_used_if_it_is_sound_and_never_changed() {
    let mesh = Mesh::new();
    let flags = "--remote-context east --remote-context west";
    mesh.init("--remote-context east").success();
    mesh.kubectl(
        "mgmt",
        &format!("annotate secret {SERVER} meta.helm.sh/release-name=gloo"),
    );
    mesh.kubectl(
        "east",
        &format!("annotate secret {ROOT} meta.helm.sh/release-name=agent"),
    );
    let (server, root) = (mesh.secret("mgmt", SERVER), mesh.secret("east", ROOT));
    let used = mesh.init(flags);
    mesh.assert_reports(
        used.success(),
        &[
            ("mgmt", "unchanged unchanged unchanged unchanged"),
            ("east", "unchanged unchanged"),
            ("west", "created created"),
        ],
    );
    assert_eq!(
        (mesh.secret("mgmt", SERVER), mesh.secret("east", ROOT)),
        (server, root)
    );

    let patch = r#"[{"op":"remove","path":"/data/ca.crt"}]"#;
    mesh.kubectl(
        "mgmt",
        &format!("patch secret {SERVER} --type=json --patch {patch}"),
    );
    mesh.kubectl("west", &format!("delete secret {ROOT}"));
    let before = (mesh.state(), mesh.files("relay-pki"));
    let refused = mesh.init(flags);
    refused.exits(1).complains(&format!(
        "error: its ca.crt would have to change, and it belongs to Helm release \"gloo\"\n  \
         where: context \"mgmt\", secret {}/{SERVER}\n",
        mesh.namespace
    ));
    assert_eq!(refused.stdout, "");
    assert_eq!((mesh.state(), mesh.files("relay-pki")), before);
}

/// Asserts that a first run was refused, and that it has left nothing behind.
#[track_caller]
fn assert_nothing_was_written(mesh: &Mesh, refused: &Transcript) {
    assert_eq!(refused.stdout, "");
    for context in ["mgmt", "west"] {
        mesh.is_absent(context);
    }
    assert_eq!(mesh.home(), ["kubeconfig"]);
}

#[test]
fn nothing_is_written_unless_every_cluster_can_be_worked_with() {
    let control_plane = ControlPlane::shared();
    let east = control_plane.cluster("east");
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .context("east", east)
        .context("west", control_plane.cluster("west"))
        .user_context("forbidden", east, "dev")
        .context("down", east)
        .current("mgmt");
    let mesh = Mesh::with(&kubeconfig);
    let mut bent = kubeconfig.to_json();
    let down = bent["clusters"]
        .as_array_mut()
        .and_then(|clusters| clusters.last_mut());
    down.expect("is there")["cluster"]["server"] = json!("https://127.0.0.1:1");
    mesh.shell.write("kubeconfig", bent.to_string());

    let forbidden = format!(
        "Error from server (Forbidden): secrets \"{ROOT}\" is forbidden: User \"dev\" cannot get resource"
    );
    let refused = "The connection to the server 127.0.0.1:1 was refused";
    let unknown = "error: context \"dwon\" does not exist";
    for (flags, code, complaint, context) in [
        (
            "--remote-context west --remote-context forbidden",
            1,
            forbidden.as_str(),
            "forbidden",
        ),
        ("--remote-context west --remote-context down", 1, refused, "down"),
        ("--context down --remote-context west", 1, refused, "down"),
        ("--remote-context west --remote-context dwon", 2, unknown, "dwon"),
        ("--context dwon --remote-context west", 2, unknown, "dwon"),
    ] {
        let refused = mesh.init(flags);
        refused
            .exits(code)
            .complains(complaint)
            .complains(&format!("context {context:?}"));
        assert_nothing_was_written(&mesh, &refused);
        mesh.is_absent("east");
    }

    let both = mesh.init("--remote-context forbidden --remote-context west --remote-context down");
    both.exits(1)
        .complains("error: 2 of 4 clusters cannot be worked with\n")
        .complains(&forbidden)
        .complains("where: context \"forbidden\"")
        .complains(refused)
        .complains("where: context \"down\"")
        .complains("hint: nothing was written; mend them and run again");
    assert_nothing_was_written(&mesh, &both);
}

#[test]
fn a_first_run_that_is_refused_leaves_nothing_behind() {
    let mesh = Mesh::new();
    // Helm's agent chart was here first, and has put something else there.
    mesh.kubectl("east", &format!("create namespace {}", mesh.namespace));
    mesh.kubectl(
        "east",
        &format!("create secret generic {ROOT} --from-literal=token=t"),
    );
    mesh.kubectl(
        "east",
        &format!("annotate secret {ROOT} meta.helm.sh/release-name=agent"),
    );
    let before = mesh.state();
    let refused = mesh.init("--remote-context west --remote-context east");
    refused
        .exits(1)
        .complains("it belongs to Helm release \"agent\"\n")
        .complains(&format!(
            "where: context \"east\", secret {}/{ROOT}\n",
            mesh.namespace
        ));
    assert_nothing_was_written(&mesh, &refused);

    // A directory that cannot be read, or is not one.
    mesh.init("--pki-dir kubeconfig --remote-context west")
        .exits(1)
        .complains("error: cannot read kubeconfig/relay-root.crt: ");
    fs::create_dir(mesh.path("relay-pki")).expect("is new");
    let key = "-----BEGIN PRIVATE KEY-----\nMIIJQgIBADANBgkqhkiG9w0BAQEFAASCCSwwggkoAgEAAoICAQ\n";
    mesh.shell.write("relay-pki/relay-root.key", key);
    let files = mesh.files("relay-pki");
    mesh.init("--remote-context west")
        .exits(1)
        .complains("error: relay-pki/relay-root.key is not a private key that we can read\n");
    assert_eq!(mesh.files("relay-pki"), files);
    assert_eq!(mesh.state(), before);
}
