//! Whose the secrets are and what they are called: what `init` adopts, what it changes
//! only when told to, and what else it puts beside them.

use serde_json::json;

use super::{Mesh, ROOT, SERVER, text};

const TOKEN: &str = "relay-identity-token-secret";

#[test]
fn what_a_program_owns_is_taken_over_only_by_name() {
    let mesh = Mesh::new();
    let flags = "--remote-context east";
    mesh.init(flags).success();
    let whole = mesh.data("mgmt", SERVER);
    let helm = "meta.helm.sh/release-name=gloo meta.helm.sh/release-namespace=mesh";
    mesh.kubectl("mgmt", &format!("annotate secret {SERVER} {helm}"));
    let remove = r#"[{"op":"remove","path":"/data/ca.crt"}]"#;
    mesh.kubectl(
        "mgmt",
        &format!("patch secret {SERVER} --type=json --patch {remove}"),
    );
    // A controller's own field, beside the root that people may look after.
    mesh.kubectl("east", &format!("delete secret {ROOT}"));
    let theirs = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": ROOT, "namespace": mesh.namespace },
        "data": { "ca.crt": "", "theirs": "aGk=" },
    });
    let apply = [
        "--context",
        "east",
        "apply",
        "--server-side",
        "--field-manager=external-secrets",
        "-f-",
    ];
    mesh.shell.stdin(&theirs).kubectl(&apply).success();
    let before = mesh.state();

    let refused = mesh.init(flags);
    refused
        .exits(1)
        .complains("error: 2 of 2 clusters cannot be worked with\n")
        .complains("its ca.crt would have to change, and it belongs to Helm release \"gloo\"\n")
        .complains("its ca.crt would have to change, and it belongs to field manager \"external-secrets\"\n")
        .complains("--take-over");
    assert_eq!(mesh.state(), before);

    let taken = mesh.init(&format!("--take-over {flags}"));
    mesh.assert_reports(
        taken.success(),
        &[
            ("mgmt", "unchanged unchanged configured unchanged"),
            ("east", "unchanged configured"),
        ],
    );
    taken.complains("  owner    from Helm release \"gloo\"\n           to kubectl-relay-certs\n");
    let after = mesh.secret("mgmt", SERVER);
    assert_eq!(after["data"], whole);
    assert_eq!(
        after["metadata"]["annotations"]["meta.helm.sh/release-name"],
        "gloo"
    );
    let after = mesh.data("east", ROOT);
    assert_eq!(after["theirs"], "aGk=");
    assert_eq!(after["ca.crt"], whole["ca.crt"]);
}

#[test]
fn a_key_of_the_root_on_a_remote_is_told() {
    let mesh = Mesh::new();
    let flags = "--remote-context east";
    mesh.init(flags).success();
    let key = json!({ "stringData": { "tls.key": "who knows" } }).to_string();
    for context in ["mgmt", "east"] {
        let patch = [
            "--context",
            context,
            "-n",
            &mesh.namespace,
            "patch",
            "secret",
            ROOT,
            "--patch",
            &key,
        ];
        mesh.shell.kubectl(&patch).success();
    }
    let told = mesh.init(flags);
    let place = |context| {
        format!(
            "warning: secret {}/{ROOT} in context {context:?} has a tls.key",
            mesh.namespace
        )
    };
    told.success()
        .complains("Nothing changed")
        .complains(&place("east"));
    told.conceals(&place("mgmt"));
}

#[test]
fn secrets_have_the_names_that_the_relay_is_told() {
    let mesh = Mesh::new();
    let names = "--root-secret root --server-secret server.tls --signing-secret signing";
    let flags = format!("{names} --remote-context east");
    let done = mesh.init(&flags);
    done.success()
        .complains("    relayTlsSecret:\n      name: server.tls\n")
        .complains("    signingTlsSecret:\n      name: signing\n")
        .complains("    rootTlsSecret:\n      name: root\n");
    let listed = |context| mesh.kubectl(context, "get secrets -o name").stdout;
    assert_eq!(listed("mgmt"), "secret/root\nsecret/server.tls\nsecret/signing\n");
    assert_eq!(listed("east"), "secret/root\n");
    mesh.init(&flags).success().complains("Nothing changed");
    let second = mesh.init(&format!("--service gloo-mesh-mgmt-server {flags}"));
    second
        .success()
        .complains("  glooMeshMgmtServer:\n    relay:\n      disableCaCertGeneration: true\n")
        .complains("  glooMgmtServer:\n    relay:\n      disableCaCertGeneration: true\n")
        .complains(&format!(
            "  glooAgent:\n    relay:\n      authority: gloo-mesh-mgmt-server.{}\n",
            mesh.namespace
        ))
        .complains("  meshctl cluster register --kubecontext mgmt \\\n");
    mesh.init("--root-secret a --server-secret a")
        .exits(2)
        .complains("error: two secrets cannot both be called \"a\"\n");
    mesh.init("--root-secret A").exits(2);
}

#[test]
fn the_identity_token_is_the_same_everywhere() {
    let mesh = Mesh::new();
    let missing = format!(
        "secret {}/{TOKEN} in context \"mgmt\" does not exist.\n",
        mesh.namespace
    );
    let without = mesh.init("--remote-context east");
    without
        .success()
        .complains(&missing)
        .complains("add --identity-token\n");

    let flags = "--identity-token --remote-context east --remote-context west";
    let with = mesh.init(flags);
    for context in ["mgmt", "east", "west"] {
        with.prints(&format!("secret/{TOKEN}"));
        let mut lines = with.stdout.lines();
        let outcome = lines.rfind(|line| line.starts_with(context));
        assert!(outcome.expect("is reported").ends_with("created"), "{with}");
    }
    let token = text(&mesh.data("mgmt", TOKEN)["token"]).expect("is there");
    assert_eq!(token.len(), 64);
    with.success().conceals(&token);
    let documents = mesh.init(&format!("--dry-run=client -o json {flags}"));
    documents.success().conceals(&token);

    let state = mesh.state();
    let again = mesh.init(flags);
    again.success().complains("Nothing changed").conceals(&missing);
    assert_eq!(mesh.state(), state);

    // What the management cluster has is what its relay server asks for.
    let other = json!({ "stringData": { "token": "another" } }).to_string();
    let patch = [
        "--context",
        "east",
        "-n",
        &mesh.namespace,
        "patch",
        "secret",
        TOKEN,
        "--patch",
        &other,
    ];
    mesh.shell.kubectl(&patch).success();
    mesh.kubectl("west", &format!("delete secret {TOKEN}"));
    let mended = mesh.init(flags);
    mended
        .success()
        .complains("token   from another token\n          to the management cluster's\n");
    for context in ["east", "west"] {
        assert_eq!(mesh.data(context, TOKEN), mesh.data("mgmt", TOKEN), "{context}");
    }
    mesh.kubectl("mgmt", &format!("delete secret {TOKEN}"));
    mesh.init(flags).success();
    assert_eq!(text(&mesh.data("mgmt", TOKEN)["token"]), Some(token));
    mesh.kubectl("mgmt", &format!("delete secret {TOKEN}"));
    mesh.shell.kubectl(&patch).success();
    mesh.init(flags)
        .exits(1)
        .complains("context \"east\" and context \"west\" have different identity tokens");
}
