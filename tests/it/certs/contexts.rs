//! Which clusters `init` works on: contexts by name, list and pattern, and files of
//! their own.

use std::time::Duration;

use relay_tests::{ControlPlane, Kubeconfig, Proxy, Shell, Transcript, fixtures};

use super::{Mesh, SERVER, words};

/// The contexts of a report, each once.
fn reported(transcript: &Transcript) -> Vec<&str> {
    let mut contexts: Vec<_> = transcript.stdout.lines().map(|line| words(line)[0]).collect();
    contexts.dedup();
    contexts
}

#[test]
fn lists_and_patterns_name_remotes_and_the_management_cluster_may_be_among_them() {
    let mesh = Mesh::new();
    let listed = mesh.init("--remote-context west,east");
    assert_eq!(reported(listed.success()), ["mgmt", "west", "east"]);
    let matched = mesh.init("--remote-context * --remote-context w*");
    assert_eq!(reported(matched.success()), ["mgmt", "east", "west"]);
    matched.complains("Nothing changed");
    assert!(!matched.stderr.contains("same server"), "{matched}");
    mesh.init("--remote-context prod-*")
        .exits(2)
        .complains("error: no context matches \"prod-*\"\n  hint: known contexts: mgmt, east, west\n");
    mesh.init("--parallel 0").exits(2);
    mesh.init("--parallel 1 --remote-context *")
        .success()
        .complains("Nothing changed");
}

#[test]
fn a_cluster_that_is_named_twice_is_worked_once() {
    let mgmt = ControlPlane::shared().cluster("mgmt");
    let east = ControlPlane::shared().cluster("east");
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", mgmt)
        .context("mgmt-again", mgmt)
        .context("east", east);
    let mesh = Mesh::with(&kubeconfig.current("mgmt"));
    let done = mesh.init(
        "--remote-context east --remote-context mgmt --remote-context east --remote-context mgmt-again",
    );
    mesh.assert_reports(
        done.success(),
        &[
            ("mgmt", "created created created created"),
            ("east", "created created"),
        ],
    );
    done.complains("context \"mgmt-again\" leads to the same server as \"mgmt\": worked on once\n");
}

/// A kubeconfig, and annotations in a cluster, hold what anybody has put there.
#[test]
fn what_a_terminal_would_obey_is_shown_instead() {
    let control_plane = ControlPlane::shared();
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .context("ea\x1b[2Jst\r", control_plane.cluster("east"));
    let mesh = Mesh::with(&kubeconfig.current("mgmt"));
    let init = mesh.init("--remote-context ea*");
    let helm = "meta.helm.sh/release-name=gl\x1b[2Joo\u{9b}5m meta.helm.sh/release-namespace=mesh";
    mesh.kubectl("mgmt", &format!("annotate secret {SERVER} {helm}"));
    let status = mesh.status("-o wide --remote-context ea*");
    let unknown = mesh.status("--remote-context nobody");
    status
        .success()
        .prints("Helm release \"gl\\u{1b}[2Joo\\u{9b}5m\"");
    unknown
        .exits(2)
        .complains("known contexts: mgmt, ea\\u{1b}[2Jst\\r\n");
    for run in [init.success(), &status, &unknown] {
        let shown = format!("{}{}", run.stdout, run.stderr);
        assert!(shown.contains("ea\\u{1b}[2Jst\\r"), "{run}");
        assert!(
            !shown.contains(|c: char| c.is_control() && c != '\n'),
            "{shown:?}"
        );
    }
}

#[test]
fn files_of_remotes_are_loaded_apart() {
    let control_plane = ControlPlane::shared();
    let of = |context, cluster| Kubeconfig::new().context(context, control_plane.cluster(cluster));
    let mesh = Mesh::with(&of("mgmt", "mgmt").current("mgmt"));
    // As k3s names them: in merged files, the first would win.
    for cluster in ["east", "west"] {
        let file = of("default", cluster).current("default");
        mesh.shell
            .write(&format!("{cluster}.yaml"), file.to_json().to_string());
    }
    let files = "--remote-kubeconfig east.yaml --remote-kubeconfig west.yaml";
    mesh.init(&format!("{files} --remote-context default"))
        .exits(2)
        .complains(
            "error: context \"default\" is in several kubeconfig files\n  \
             hint: say which: east.yaml:default or west.yaml:default\n",
        );
    mesh.init(&format!("{files} --remote-context dflt"))
        .exits(2)
        .complains("known contexts: mgmt, default\n");
    mesh.init("--remote-kubeconfig north.yaml")
        .exits(1)
        .complains("error: cannot load kubeconfig north.yaml: ");
    mesh.is_absent("mgmt");

    let one = mesh.init(&format!("{files} --remote-context west.yaml:def*"));
    assert_eq!(reported(one.success()), ["mgmt", "west.yaml:default"]);
    let all = mesh.init(files);
    let contexts = ["mgmt", "east.yaml:default", "west.yaml:default"];
    assert_eq!(reported(all.success()), contexts);
    for (cluster, created) in [("east", true), ("west", false)] {
        let row = format!("{cluster}.yaml:default   namespace/{}", mesh.namespace);
        let line = all.stdout.lines().find(|line| line.starts_with(&row));
        assert_eq!(line.expect("is reported").ends_with("created"), created, "{all}");
        let [config, namespace] = [&format!("{cluster}.yaml"), &mesh.namespace];
        let get = [
            "--kubeconfig",
            config,
            "-n",
            namespace,
            "get",
            "secrets",
            "-o",
            "name",
        ];
        mesh.shell
            .kubectl(&get)
            .success()
            .prints("secret/relay-root-tls-secret");
    }
}

#[test]
fn no_more_clusters_are_worked_on_at_once_than_asked_for() {
    let control_plane = ControlPlane::shared();
    for parallel in [1, 3, 6] {
        let scratch = Shell::on(control_plane);
        let namespace = fixtures::fresh_namespace(&scratch, &[]);
        let fleet = Proxy::before(control_plane.cluster("east")).with_remotes(&namespace);
        // Long enough for requests to meet that are sent at the same time.
        fleet.set_pause(Duration::from_millis(200));
        let mut kubeconfig = Kubeconfig::new().context("mgmt", control_plane.cluster("mgmt"));
        for number in 1..=6 {
            kubeconfig = kubeconfig.through(&format!("r{number}"), &fleet, &format!("/remote/{number}"));
        }
        let mesh = Mesh {
            shell: Shell::new(&kubeconfig.current("mgmt")),
            namespace,
        };
        let flags = "--key-algorithm ecdsa-p256 --remote-context r* --parallel";
        mesh.init(&format!("{flags} {parallel}")).success();
        assert_eq!(fleet.most_at_once(), parallel, "of --parallel {parallel}");
    }
}
