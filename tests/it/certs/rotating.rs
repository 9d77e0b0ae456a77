//! `kubectl relay-certs rotate`: certificates and the root are replaced, and no agent
//! is cut off in between.

use std::{fs, path::PathBuf};

use relay_tests::{Transcript, relay, relay::RelayServer};
use serde_json::json;

use super::{Mesh, ROOT, SERVER, SIGNING, text, words};

const REMOTES: &str = "--remote-context east,west";

impl Mesh {
    /// A mesh whose certificates are made fast.
    #[track_caller]
    fn rotatable() -> Self {
        let mesh = Self::new();
        mesh.init(&format!("{REMOTES} --key-algorithm ecdsa-p256"))
            .success();
        mesh
    }

    /// Runs `kubectl relay-certs rotate`, and makes sure that it shows no key.
    #[track_caller]
    fn rotate(&self, line: &str) -> Transcript {
        let command = ["relay-certs", "rotate"];
        let place = ["--namespace", &self.namespace];
        let transcript = self
            .shell
            .kubectl(&[&command[..], &words(line), &place[..]].concat());
        super::assert_conceals(&transcript, &super::keys_in(&self.shell));
        transcript
    }

    #[track_caller]
    fn root(&self, step: &str) -> Transcript {
        self.rotate(&format!("root {REMOTES} {step}"))
    }

    /// How many certificates the `ca.crt` of every cluster holds.
    #[track_caller]
    fn trusts(&self) -> Vec<usize> {
        let places = [
            ("mgmt", ROOT),
            ("mgmt", SERVER),
            ("mgmt", SIGNING),
            ("east", ROOT),
            ("west", ROOT),
        ];
        let count = |(context, secret)| {
            let ca = text(&self.data(context, secret)["ca.crt"]).expect("it holds one");
            ca.matches("BEGIN CERTIFICATE").count()
        };
        places.map(count).to_vec()
    }

    /// A relay server that runs on what the server's Secret holds now.
    #[track_caller]
    fn server(&self) -> RelayServer {
        let files = relay::mount(&self.shell, "mgmt", &self.namespace, SERVER);
        RelayServer::start(&self.shell, &files, None)
    }

    /// An agent whose certificate the signing Secret issues now.
    #[track_caller]
    fn agent(&self, name: &str) -> String {
        let signing = relay::mount(&self.shell, "mgmt", &self.namespace, SIGNING);
        let trusted = relay::mount(&self.shell, "east", &self.namespace, ROOT);
        let (signing, trusted) = (signing.display(), trusted.display());
        let issue = format!(
            "issue --ca-cert {signing}/tls.crt --ca-key {signing}/tls.key --root {trusted}/ca.crt \
             --cluster {name} --out {name}"
        );
        self.shell.relay(&words(&issue)).success();
        name.to_owned()
    }

    /// The same agent, started again: it trusts what its cluster does now.
    #[track_caller]
    fn restarted(&self, agent: &str, name: &str) -> String {
        let trusted = relay::mount(&self.shell, "east", &self.namespace, ROOT);
        let directory = self.path(name);
        fs::create_dir_all(&directory).expect("it is ours");
        for file in ["tls.crt", "tls.key"] {
            fs::copy(self.path(agent).join(file), directory.join(file)).expect("the agent has it");
        }
        fs::copy(trusted.join("ca.crt"), directory.join("ca.crt")).expect("it is mounted");
        name.to_owned()
    }

    #[track_caller]
    fn call(&self, server: &RelayServer, agent: &str) -> Transcript {
        let authority = format!("enterprise-networking.{}", self.namespace);
        let dial = format!(
            "dial --tls {agent} --addr {} --authority {authority} --timeout 5s",
            server.address
        );
        self.shell.relay(&words(&dial))
    }
}

#[test]
fn no_agent_is_refused_until_the_old_root_is_retired() {
    let mesh = Mesh::rotatable();
    let old = mesh.fingerprint("relay-pki/relay-root.crt");
    let untouched = mesh.server();
    let agent = mesh.agent("first");
    mesh.call(&untouched, &agent).success();

    let published = mesh.root("--step publish");
    published
        .success()
        .complains(&format!(
            "kubectl --context mgmt -n {} rollout restart deployment/enterprise-networking",
            mesh.namespace
        ))
        .complains(&format!(
            "kubectl --context west -n {} rollout restart deployment/enterprise-agent",
            mesh.namespace
        ));
    assert_eq!(mesh.trusts(), [2; 5]);
    let new = mesh.fingerprint("relay-pki/relay-root-next.crt");
    published.complains(&format!("to {old} and {new}"));
    let trusting = mesh.restarted(&agent, "trusting");
    let restarted = mesh.server();
    for server in [&untouched, &restarted] {
        for agent in [&agent, &trusting] {
            mesh.call(server, agent).success();
        }
    }

    mesh.root("--step issue").success();
    assert_eq!(mesh.trusts(), [2; 5]);
    let second = mesh.agent("second");
    let issued = mesh.server();
    for server in [&restarted, &issued] {
        for agent in [&trusting, &second] {
            mesh.call(server, agent).success();
        }
    }

    mesh.root("--step retire").success();
    assert_eq!(mesh.trusts(), [1; 5]);
    let renewed = mesh.restarted(&second, "renewed");
    let retired = mesh.server();
    for server in [&issued, &retired] {
        for agent in [&second, &renewed] {
            mesh.call(server, agent).success();
        }
    }
    mesh.call(&retired, &trusting).exits(1);
    mesh.call(&retired, &agent).exits(1);

    // The files have their final names, and what they replace is kept.
    assert_eq!(mesh.fingerprint("relay-pki/relay-root.crt"), new);
    assert_eq!(mesh.fingerprint("relay-pki/relay-root-old.crt"), old);
    let files = mesh.files("relay-pki");
    assert_eq!(files.len(), 13, "{:?}", files.keys());
    assert!(
        files.values().all(|(mode, ..)| *mode == 0o600),
        "{:?}",
        files.keys()
    );
    let before = mesh.state();
    mesh.init(&format!("{REMOTES} --key-algorithm ecdsa-p256"))
        .success()
        .complains("Nothing changed");
    assert_eq!(mesh.state(), before);
}

#[test]
fn steps_can_be_repeated_and_have_their_order() {
    let mesh = Mesh::rotatable();
    mesh.root("--step issue")
        .exits(1)
        .complains("begin with `--step publish`");
    mesh.root("--step retire").success().prints("unchanged");
    mesh.root("--step publish --dry-run=client")
        .success()
        .complains("this was a dry run");
    assert!(!mesh.path("relay-pki/relay-root-next.key").exists());
    assert_eq!(mesh.trusts(), [1; 5]);

    // A remote that does not take part stops the next step.
    mesh.rotate("root --remote-context east --step publish").success();
    assert_eq!(mesh.trusts(), [2, 2, 2, 2, 1]);
    mesh.root("--step issue")
        .exits(1)
        .complains("relay-root-tls-secret in context \"west\" does not trust the new root");
    mesh.root("--step publish").success();
    let before = mesh.state();
    let again = mesh.root("--step publish");
    assert!(!again.success().stdout.contains("configured"), "{again}");
    assert_eq!(mesh.state(), before);
    mesh.root("--step retire")
        .exits(1)
        .complains("the server's certificate still comes from the old root");

    // Taken back, and published again with the root that is there.
    let next = mesh.read("relay-pki/relay-root-next.crt");
    mesh.root("--abort").success();
    assert_eq!(mesh.trusts(), [1; 5]);
    mesh.root("--step publish").success();
    assert_eq!(mesh.read("relay-pki/relay-root-next.crt"), next);

    mesh.root("--step issue --pki-dir elsewhere")
        .exits(1)
        .complains("elsewhere has not the key of the new root");
    mesh.root("--step issue").success();
    let before = mesh.state();
    mesh.root("--step issue").success();
    assert_eq!(mesh.state(), before);
    mesh.root("--abort")
        .exits(1)
        .complains("only publishing can be taken back");
    // From any machine.
    let elsewhere = mesh.elsewhere();
    elsewhere.root("--step retire").success();
    assert_eq!(mesh.trusts(), [1; 5]);
    mesh.root("--step retire").success();
    assert!(mesh.path("relay-pki/relay-root-old.key").exists());
    assert!(!mesh.path("relay-pki/relay-root-next.key").exists());
}

#[test]
fn a_root_behind_a_password_is_followed_by_another() {
    let mesh = Mesh::new();
    mesh.shell.write("password", "a word\n");
    let password = "--ca-key-password-file password";
    mesh.init(&format!(
        "{REMOTES} --key-algorithm ecdsa-p256 --encrypt-root-key {password}"
    ))
    .success();
    mesh.root("--step publish")
        .exits(1)
        .complains("a password is needed");
    assert_eq!(mesh.trusts(), [1; 5]);
    mesh.root(&format!("--step publish {password}")).success();
    let key = mesh.read("relay-pki/relay-root-next.key");
    assert!(key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----"));
    mesh.root(&format!("--step issue {password}")).success();
}

#[test]
fn only_a_root_that_can_issue_is_published() {
    let mesh = Mesh::rotatable();
    mesh.root("--abort").success().complains("nothing to take back");
    mesh.root("--step retire")
        .success()
        .complains("there was no other to retire");
    mesh.root("--step publish").success();
    mesh.root("--abort").success().complains("any more");
    let before = mesh.state();
    let put = |kind: &str, from: &str| {
        let from = mesh.path(format!("relay-pki/{from}.{kind}"));
        fs::copy(from, mesh.path(format!("relay-pki/relay-root-next.{kind}"))).expect("it is ours");
    };
    let refused = |what: &str| {
        mesh.root("--step publish").exits(1).complains(what);
        assert_eq!(mesh.state(), before);
    };
    put("key", "relay-root");
    refused("relay-root-next.crt does not belong to its key");
    fs::remove_file(mesh.path("relay-pki/relay-root-next.key")).expect("it is ours");
    refused("relay-root-next.crt is there and its key is not");
    for kind in ["crt", "key"] {
        put(kind, "relay-tls-signing");
    }
    refused("relay-root-next.crt is not signed by itself");
    for kind in ["crt", "key"] {
        put(kind, "relay-server-tls");
    }
    refused("relay-root-next.crt is not a certificate authority");
    for kind in ["crt", "key"] {
        put(kind, "relay-root");
    }
    refused("the new root of the directory is the one in use already");
}

#[test]
fn pods_have_to_be_restarted_and_agents_renewed() {
    let mesh = Mesh::rotatable();
    let pod = |app: &str, started: &str| {
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": app, "namespace": mesh.namespace, "labels": { "app": app } },
            "spec": { "containers": [{ "name": "relay", "image": "relay" }] },
            "status": { "phase": "Running", "startTime": started },
        })
    };
    let (early, late) = ("2026-01-01T00:00:00Z", "2126-01-01T00:00:00Z");
    relay_tests::fixtures::create(&mesh.shell, "mgmt", &[pod("enterprise-networking", early)]);
    relay_tests::fixtures::create(&mesh.shell, "east", &[pod("enterprise-agent", early)]);
    mesh.root("--step publish").success();
    let before = mesh.state();
    mesh.root("--step issue")
        .exits(1)
        .complains("error: 2 of 3 clusters cannot be worked with")
        .complains("error: it has started before the new root was written\n    where: context \"mgmt\", pod")
        .complains("error: it has started before the new root was written\n    where: context \"east\", pod")
        .complains("rollout restart deployment/enterprise-agent");
    assert_eq!(mesh.state(), before);
    let started = |context: &str, app: &str| {
        let status = json!({ "startTime": late });
        mesh.shell
            .patch_status(context, &format!("pod/{app}"), &mesh.namespace, &status);
    };
    started("mgmt", "enterprise-networking");
    mesh.root("--step issue").exits(1).complains("context \"east\"");
    mesh.root("--step issue --assume-restarted").success();

    let files = mesh.agent("east");
    let read = |file: &str| mesh.path(&files).join(file);
    let created = |files: &[PathBuf]| {
        let files = files.iter().map(|file| format!("--from-file={}", file.display()));
        let line = format!(
            "create secret generic relay-client-tls-secret {}",
            files.collect::<Vec<_>>().join(" ")
        );
        mesh.kubectl("east", &line);
    };
    fs::write(mesh.path("tls.crt"), mesh.read("relay-pki/relay-server-tls.crt")).expect("it is ours");
    created(&[mesh.path("tls.crt")]);
    mesh.root("--step retire")
        .exits(1)
        .complains("the agent's certificate does not come from the new root")
        .complains("delete secret/relay-client-tls-secret && kubectl --context east");
    mesh.kubectl("east", "delete secret relay-client-tls-secret");
    created(&[read("tls.crt"), read("tls.key"), read("ca.crt")]);
    mesh.root("--step retire").success();
}

#[test]
fn all_registered_clusters_take_part() {
    let mesh = Mesh::rotatable();
    let group = "multicluster.solo.io";
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("kubernetesclusters.{group}") },
        "spec": {
            "group": group, "scope": "Namespaced",
            "names": { "kind": "KubernetesCluster", "plural": "kubernetesclusters" },
            "versions": [{
                "name": "v1alpha1", "served": true, "storage": true,
                "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
            }],
        },
    });
    mesh.shell.apply("mgmt", &definition);
    mesh.kubectl(
        "mgmt",
        &format!("wait --for=condition=established crd/kubernetesclusters.{group}"),
    );
    for name in ["one", "two", "three"] {
        let cluster = json!({
            "apiVersion": format!("{group}/v1alpha1"), "kind": "KubernetesCluster",
            "metadata": { "name": name, "namespace": mesh.namespace },
        });
        mesh.shell.apply("mgmt", &cluster);
    }
    mesh.root("--step publish")
        .exits(1)
        .complains("3 clusters are registered with the relay server, and 2 take part: one, three, two")
        .complains("--only-these");
    assert_eq!(mesh.trusts(), [1; 5]);
    mesh.root("--step publish --remote-context mgmt").success();
    mesh.root("--step issue --only-these").success();
}

#[test]
fn a_pair_is_replaced_under_the_same_root() {
    let mesh = Mesh::rotatable();
    let (server, agent) = (mesh.server(), mesh.agent("first"));
    let names = |file: &str| {
        mesh.openssl(&format!("x509 -noout -ext subjectAltName -in {file}"))
            .stdout
    };
    let (old, known) = (
        mesh.read("relay-pki/relay-server-tls.crt"),
        names("relay-pki/relay-server-tls.crt"),
    );
    mesh.rotate("server --dry-run=client")
        .success()
        .complains("this was a dry run");
    assert_eq!(mesh.read("relay-pki/relay-server-tls.crt"), old);

    mesh.rotate("server --lifetime 90d")
        .success()
        .complains("notices it by itself");
    assert_eq!(mesh.read("relay-pki/relay-server-tls-old.crt"), old);
    assert_eq!(names("relay-pki/relay-server-tls.crt"), known);
    let files = relay::mount(&mesh.shell, "mgmt", &mesh.namespace, SERVER);
    let live = fs::read_to_string(files.join("tls.crt")).expect("is mounted");
    assert_eq!(live, mesh.read("relay-pki/relay-server-tls.crt"));
    mesh.openssl("x509 -noout -checkend 7700000 -in relay-pki/relay-server-tls.crt")
        .success();
    mesh.openssl("x509 -noout -checkend 7800000 -in relay-pki/relay-server-tls.crt")
        .exits(1);
    for server in [&server, &mesh.server()] {
        mesh.call(server, &agent).success();
    }

    let signing = mesh.read("relay-pki/relay-tls-signing.crt");
    mesh.rotate("signing")
        .success()
        .complains("rollout restart deployment/enterprise-networking");
    assert_ne!(mesh.read("relay-pki/relay-tls-signing.crt"), signing);
    let second = mesh.agent("second");
    for agent in [&agent, &second] {
        mesh.call(&mesh.server(), agent).success();
    }

    // Without the root's key, somebody else's certificate is the way.
    let elsewhere = mesh.elsewhere();
    elsewhere
        .rotate("server")
        .exits(1)
        .complains("relay-pki/relay-root.key is not there");
    fs::copy(
        mesh.path("relay-pki/relay-server-tls-old.crt"),
        elsewhere.path("own.crt"),
    )
    .expect("is ours");
    fs::copy(
        mesh.path("relay-pki/relay-server-tls.key"),
        elsewhere.path("own.key"),
    )
    .expect("is ours");
    elsewhere
        .rotate("server --cert own.crt --key own.key")
        .exits(1)
        .complains("the new certificate does not belong to its key");
    fs::copy(
        mesh.path("relay-pki/relay-server-tls-old.key"),
        elsewhere.path("own.key"),
    )
    .expect("is ours");
    elsewhere.rotate("server --cert own.crt --key own.key").success();
    assert_eq!(text(&mesh.data("mgmt", SERVER)["tls.crt"]), Some(old));
}
