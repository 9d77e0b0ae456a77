//! What `init` plans before it writes: shown, tried by the server, refused for want of
//! a right, held against another run's.

use std::thread;

use relay_tests::{ControlPlane, Kubeconfig, Transcript, fixtures};
use serde_json::{Value, json};

use super::{Mesh, ROOT, SERVER, SIGNING, text};

/// The requests that a cluster got, as `-v 6` shows them.
fn requests<'t>(transcript: &'t Transcript, context: &str) -> Vec<&'t str> {
    let server = &ControlPlane::shared().cluster(context).server;
    let lines = transcript.stderr.lines();
    lines
        .filter(|line| line.split(' ').nth(1).is_some_and(|url| url.starts_with(server)))
        .collect()
}

#[test]
fn a_fresh_remote_costs_six_requests_and_an_unchanged_one_one() {
    let mesh = Mesh::new();
    let flags = "-v 6 --remote-context east --remote-context west";
    let fresh = mesh.init(flags);
    for remote in ["east", "west"] {
        let got = requests(fresh.success(), remote);
        assert_eq!(got.len(), 6, "{got:#?}");
    }
    let unchanged = mesh.init(flags);
    for remote in ["east", "west"] {
        let got = requests(unchanged.success(), remote);
        assert_eq!(got.len(), 1, "{got:#?}");
    }
    let got = requests(&unchanged, "mgmt");
    assert!(got.iter().all(|line| line.starts_with("GET ")), "{got:#?}");
}

#[test]
fn a_dry_run_leaves_nothing_behind() {
    let mesh = Mesh::new();
    let flags = "--remote-context east --remote-context west";
    for (dry_run, suffix) in [
        ("--dry-run", "(dry run)"),
        ("--dry-run=client", "(dry run)"),
        ("--dry-run=server", "(server dry run)"),
    ] {
        let foreseen = mesh.init(&format!("{dry_run} {flags}"));
        let row = format!("mgmt   secret/{SERVER}    created {suffix}\n");
        foreseen
            .success()
            .prints(&row)
            .complains("Nothing was written: this was a dry run.\n");
        for context in ["mgmt", "east", "west"] {
            mesh.is_absent(context);
        }
        assert_eq!(mesh.home(), ["kubeconfig"], "{dry_run}");
    }
}

#[test]
fn a_servers_dry_run_finds_what_only_the_server_knows() {
    let mesh = Mesh::new();
    let namespace = &mesh.namespace;
    mesh.kubectl("east", &format!("create namespace {namespace}"));
    fixtures::refuse_secrets(&mesh.shell, "east", namespace, true);
    let flags = "--remote-context east --remote-context west";
    mesh.init(&format!("--dry-run=client {flags}")).exits(0);
    let tried = mesh.init(&format!("--dry-run=server {flags}"));
    tried
        .exits(1)
        .prints("created (server dry run)")
        .complains("no secrets today")
        .complains(
            "the namespace is not there yet, so no server has checked what goes into it: \
             context \"mgmt\", \"west\"\n",
        );
    fixtures::refuse_secrets(&mesh.shell, "east", namespace, false);
    for context in ["mgmt", "west"] {
        mesh.is_absent(context);
    }
    assert_eq!(mesh.home(), ["kubeconfig"]);
}

#[test]
fn a_plan_says_which_keys_change_and_a_document_holds_all_of_it() {
    let mesh = Mesh::new();
    let flags = "--remote-context east";
    mesh.init(flags).success();
    let own = mesh.data("mgmt", SIGNING);
    // Another mesh's certificate, and a root that nobody can read.
    let patch = |context: &str, secret: &str, data: Value| {
        let patch = json!({ "data": data }).to_string();
        mesh.kubectl(context, &format!("patch secret {secret} --patch {patch}"));
    };
    patch("mgmt", SIGNING, mesh.data("mgmt", SERVER));
    patch("east", ROOT, json!({ "ca.crt": "" }));
    let [root, server, signing] =
        ["root", "server-tls", "tls-signing"].map(|n| mesh.fingerprint(&format!("relay-pki/relay-{n}.crt")));
    let before = mesh.state();

    let shown = mesh.init(&format!("--dry-run=client -o json {flags}"));
    let place = format!("secret {}/{SIGNING}", mesh.namespace);
    shown.success().complains(&format!(
        "context \"mgmt\", {place} changes:\n  \
         tls.crt   from {server}\n            to {signing}\n  \
         tls.key   from another key\n            to key of this tls.crt\n\
         context \"east\", secret {}/{ROOT} changes:\n  ca.crt   new {root}\n",
        mesh.namespace
    ));
    let document = shown.json();
    assert_eq!(document["dryRun"], "client");
    let certificates = document["certificates"].as_array().expect("a list");
    let certificates: Vec<_> = certificates
        .iter()
        .map(|c| (&c["name"], &c["sha256"], &c["issued"]))
        .collect();
    let wanted = [
        ("relay-root", root),
        ("relay-server-tls", server),
        ("relay-tls-signing", signing.clone()),
    ];
    let wanted: Vec<_> = wanted
        .map(|(name, print)| (json!(name), json!(print), json!(false)))
        .into();
    let wanted: Vec<_> = wanted.iter().map(|(a, b, c)| (a, b, c)).collect();
    assert_eq!(certificates, wanted);
    let object = &document["clusters"][0]["objects"][3];
    let version = &mesh.secret("mgmt", SIGNING)["metadata"]["resourceVersion"];
    assert_eq!(
        *object,
        json!({
            "apiVersion": "v1", "kind": "Secret", "name": SIGNING, "namespace": mesh.namespace,
            "outcome": "configured",
            "changes": [
                { "field": "tls.crt", "from": wanted[1].1, "to": signing },
                { "field": "tls.key", "from": "another key", "to": "key of this tls.crt" },
            ],
            "sent": {
                "metadata": { "resourceVersion": version },
                "data": { "ca.crt": own["ca.crt"], "tls.crt": own["tls.crt"], "tls.key": "<redacted>" },
            },
        })
    );
    assert_eq!(mesh.state(), before);

    let done = mesh.init(&format!("-o yaml -v9 {flags}"));
    done.success()
        .complains("PATCH https://")
        .prints("tls.key: <redacted>\n")
        .prints("dryRun: none\n");
    assert_eq!(mesh.data("mgmt", SIGNING), own);
    let template = "jsonpath={.clusters[*].objects[?(@.outcome!=\"unchanged\")].name}";
    let nothing = mesh.init(&format!("-o {template} {flags}"));
    assert_eq!(nothing.success().stdout, "");
    mesh.init(&format!("-o wide {flags}")).exits(2);
}

#[test]
fn missing_rights_are_all_told_before_anything_is_written() {
    let control_plane = ControlPlane::shared();
    let [east, west] = ["east", "west"].map(|name| control_plane.cluster(name));
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .context("east", east)
        .context("west", west)
        .user_context("reader", east, "dev")
        .user_context("auditor", west, "auditor")
        .current("mgmt");
    let mesh = Mesh::with(&kubeconfig);
    let namespace = &mesh.namespace;
    for (context, user) in [("east", "dev"), ("west", "auditor")] {
        mesh.kubectl(context, &format!("create namespace {namespace}"));
        fixtures::grant(&mesh.shell, context, namespace, user, "get", "secrets");
    }
    let refused = mesh.init("--remote-context reader --remote-context auditor");
    refused
        .exits(1)
        .complains("error: 2 of 3 clusters cannot be worked with\n");
    for context in ["reader", "auditor"] {
        refused.complains(&format!(
            "error: you may not create secrets in namespace {namespace:?}\n    \
             where: context {context:?}, secret {namespace}/{ROOT}\n    \
             hint: ask for the right; `kubectl auth can-i create secrets -n {namespace} --context {context}` \
             tells when it is there\n"
        ));
    }
    assert_eq!(refused.stdout, "");
    assert_eq!(mesh.home(), ["kubeconfig"]);
    mesh.is_absent("mgmt");

    // Who has nothing to write needs no right to.
    mesh.init("--remote-context east --remote-context west").success();
    let unchanged = mesh.init("--remote-context reader --remote-context auditor");
    unchanged.success().complains("Nothing changed");
}

#[test]
fn nothing_is_said_of_a_namespace_that_may_not_be_looked_at() {
    let control_plane = ControlPlane::shared();
    let east = control_plane.cluster("east");
    let writer = east.client_certificate("secrets-alone", &[]);
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .context("east", east)
        .context("west", control_plane.cluster("west"))
        .certificate_context("writer", east, &writer)
        .current("mgmt");
    let mesh = Mesh::with(&kubeconfig);
    let namespace = &mesh.namespace;
    for what in [
        "clusterrole secrets-alone --verb=get,create --resource=secrets",
        "clusterrolebinding secrets-alone --clusterrole=secrets-alone --user=secrets-alone",
    ] {
        mesh.kubectl("east", &format!("create {what}"));
    }
    let asked = ["auth", "can-i", "create", "secrets", "--context", "writer"];
    let counts = (0..500).any(|_| mesh.shell.kubectl(&asked).code == Some(0));
    assert!(counts, "a right is granted but does not count");

    // It may be there or not: what is written in it tells.
    let absent = mesh.init("--remote-context writer");
    let rows = |run: &Transcript| {
        let lines = run.stdout.lines().filter(|line| line.starts_with("writer"));
        let rows = lines.map(|line| super::words(line)[1..].join(" "));
        rows.collect::<Vec<_>>()
    };
    assert_eq!(rows(absent.exits(1)), [format!("secret/{ROOT} failed")]);
    absent
        .complains(&format!("namespaces {namespace:?} not found"))
        .complains("hint: create what is missing, or ask for it");
    mesh.kubectl("east", &format!("create namespace {namespace}"));
    let there = mesh.init("--remote-context writer");
    assert_eq!(rows(there.success()), [format!("secret/{ROOT} created")]);
}

#[test]
fn keep_going_leaves_out_what_cannot_be_worked_with() {
    let control_plane = ControlPlane::shared();
    let [east, west] = ["east", "west"].map(|name| control_plane.cluster(name));
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .context("east", east)
        .context("west", west)
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

    let flags = "--keep-going --remote-context down --remote-context west";
    let done = mesh.init(flags);
    mesh.assert_reports(
        done.exits(1),
        &[
            ("mgmt", "created created created created"),
            ("west", "created created"),
        ],
    );
    done.complains("error: 1 cluster was left out\n  The connection to the server 127.0.0.1:1 was refused")
        .complains("where: context \"down\"")
        .complains("hint: mend it and run the same command again");
    let again = mesh.init(&format!("{flags} --remote-context forbidden"));
    again
        .exits(1)
        .complains("error: 2 clusters were left out\n")
        .complains("where: context \"forbidden\"")
        .complains("Nothing changed.\n");
    assert!(!again.stderr.contains("every cluster holds"), "{again}");

    // What fails later does not hide them.
    fixtures::refuse_secrets(&mesh.shell, "west", &mesh.namespace, true);
    mesh.kubectl("west", &format!("delete secret {ROOT}"));
    let both = mesh.init(flags);
    both.exits(1)
        .complains("error: not everything is done\n")
        .complains("no secrets today")
        .complains("error: 1 cluster was left out\n");
    fixtures::refuse_secrets(&mesh.shell, "west", &mesh.namespace, false);

    // A remote with another root is one that cannot be worked with.
    mesh.init("--context east --pki-dir other").success();
    let [ours, theirs] = ["relay-pki", "other"].map(|d| mesh.fingerprint(&format!("{d}/relay-root.crt")));
    let theirs_before = mesh.data("east", ROOT);
    let other = mesh.init("--keep-going --remote-context east --remote-context west");
    mesh.assert_reports(
        other.exits(1),
        &[
            ("mgmt", "unchanged unchanged unchanged unchanged"),
            ("west", "unchanged created"),
        ],
    );
    other.complains(&format!(
        "error: its root certificate is {theirs}, and the management cluster's is {ours}\n    \
         where: context \"east\", secret {}/{ROOT}\n    \
         hint: to replace a root that is in use: kubectl relay-certs rotate root\n",
        mesh.namespace
    ));
    assert_eq!(mesh.data("east", ROOT), theirs_before);

    // Without the management cluster there is nothing to go on with.
    mesh.init("--keep-going --context down --remote-context west")
        .exits(1)
        .complains("where: context \"down\"");
}

#[test]
fn of_two_runs_at_once_one_makes_the_root_and_the_other_is_told() {
    let mut lost = 0;
    // The window is open while both make keys; that both hit it is likely, not sure.
    for _ in 0..5 {
        let here = Mesh::new();
        let there = here.elsewhere();
        let flags = "--remote-context east --remote-context west";
        let runs = thread::scope(|scope| {
            let runs = [&here, &there].map(|mesh| scope.spawn(|| mesh.run(flags)));
            runs.map(|run| run.join().expect("a run does not panic"))
        });
        let root = here.data("mgmt", ROOT)["ca.crt"].clone();
        for context in ["east", "west"] {
            assert_eq!(here.data(context, ROOT)["ca.crt"], root, "{context}");
        }
        here.shell.write("root.crt", text(&root).expect("is there"));
        for secret in [SERVER, SIGNING] {
            let data = here.data("mgmt", secret);
            assert_eq!(data["ca.crt"], root, "{secret}");
            here.shell
                .write("issued.crt", text(&data["tls.crt"]).expect("is there"));
            here.openssl("verify -CAfile root.crt issued.crt").success();
        }
        let failed: Vec<_> = runs.iter().filter(|run| run.code != Some(0)).collect();
        assert!(failed.len() < 2, "{runs:?}");
        for run in failed {
            run.exits(1);
            if run.stderr.contains("Another run made the root first") {
                run.complains(&format!("secrets \"{ROOT}\" already exists\n"));
                let rows = run.stdout.lines();
                let rows: Vec<_> = rows.filter(|row| !row.contains("namespace/")).collect();
                assert!(rows[0].ends_with("failed"), "{run}");
                assert!(rows[1..].iter().all(|row| row.ends_with("not tried")), "{run}");
                lost += 1;
            }
        }
        if lost > 0 {
            return;
        }
    }
    panic!("no run ever lost a race");
}
