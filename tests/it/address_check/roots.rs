//! Whose root a server is signed under, and roots that cannot be read.

use relay_tests::{ControlPlane, Kubeconfig, Shell, authority::Authority, fixtures, relay::RelayServer};

use super::{Site, ends};

#[test]
fn a_cluster_with_another_root_is_found() {
    let site = Site::new();
    let server = site.server(&[&site.host()]);
    site.expose_server(&server);
    let other = Authority::new("relay-root");
    site.trusts("west", &other.ca_pem());
    let json = ["--remote-context", "*", "-o", "json"];
    ends(
        &site.check(&json),
        3,
        "trust",
        "failed",
        "context \"west\": it is signed by another key than that of \"CN=relay-root\"",
    );
    let table = site.check(&["--remote-context", "west"]);
    table.exits(3).complains(
        "hint: trust: agents with another root refuse the server: `kubectl relay-certs status` shows",
    );
    site.trusts("west", &Authority::new("someone else's").ca_pem());
    ends(
        &site.check(&json),
        3,
        "trust",
        "failed",
        "context \"west\": it is signed by \"CN=relay-root\", not under \"CN=someone else's\"",
    );
    // Also where the server sends its own root along.
    let directory = site.identity("whole", &site.root.server(&[&site.host()]), &site.root);
    let pem = std::fs::read_to_string(directory.join("tls.crt")).expect("it was written");
    site.shell.write("whole/tls.crt", pem + &site.root.ca_pem());
    let whole = RelayServer::start(&site.shell, &directory, None);
    site.expose_server(&whole);
    ends(
        &site.check(&json),
        3,
        "trust",
        "failed",
        "context \"west\": it is signed by \"CN=relay-root\", not under \"CN=someone else's\"",
    );
    site.expose_server(&server);
    site.trusts("west", "no certificate");
    ends(&site.check(&json), 3, "trust", "failed", "ca.crt of secret ");
    // Two roots, as in the middle of a rotation.
    site.trusts("west", &(other.ca_pem() + &site.root.ca_pem()));
    site.check(&json).success();

    let delete = ["-n", &site.namespace, "delete", "secret", "relay-root-tls-secret"];
    site.shell.kubectl(&delete).success();
    ends(
        &site.check(&["-o", "json"]),
        3,
        "trust",
        "failed",
        "context \"mgmt\": there is no secret ",
    );
    site.shell.write("root.pem", site.root.ca_pem());
    site.check(&["--ca-file", "root.pem"])
        .success()
        .prints("\"root.pem\": it is signed under");
    site.shell.write("root.pem", other.ca_pem());
    site.check(&["--ca-file", "root.pem"]).exits(3);
    let missing = ["--ca-file", "missing.pem", "-o", "json"];
    ends(
        &site.check(&missing),
        3,
        "trust",
        "failed",
        "\"missing.pem\": No such file",
    );
}

#[test]
fn roots_that_may_not_be_read_are_told_of() {
    let site = Site::new();
    let server = site.server(&[&site.host()]);
    site.expose_server(&server);
    let mgmt = ControlPlane::shared().cluster("mgmt");
    let kubeconfig = Kubeconfig::new().user_context("dev", mgmt, "dev").current("dev");
    let shell = Shell::new(&kubeconfig);
    fixtures::grant(&site.shell, "mgmt", &site.namespace, "dev", "get", "services");
    let check = ["relay-address", "--check", "-n", &site.namespace, "-o", "json"];
    ends(
        &shell.kubectl(&check),
        3,
        "trust",
        "failed",
        "context \"dev\": secrets \"relay-root-tls-secret\" is forbidden: User \"dev\"",
    );
    shell.write("root.pem", site.root.ca_pem());
    let with_file = [&check[..], &["--ca-file", "root.pem"]].concat();
    shell.kubectl(&with_file).success();
}

#[test]
fn remotes_that_cannot_be_read_are_named_with_what_to_do() {
    let site = Site::new();
    let server = site.server(&[&site.host()]);
    site.expose_server(&server);
    let [mgmt, east] = ["mgmt", "east"].map(|name| ControlPlane::shared().cluster(name));
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", mgmt)
        .user_context("dev", east, "dev")
        .current("mgmt");
    let shell = Shell::new(&kubeconfig);
    for (arguments, context) in [
        (
            &["set-cluster", "gone", "--server=https://127.0.0.1:1"][..],
            &["--cluster=gone"][..],
        ),
        (
            &[
                "set-credentials",
                "lost",
                "--client-certificate=/lost.crt",
                "--client-key=/lost.key",
            ],
            &["--cluster=gone", "--user=lost"],
        ),
    ] {
        shell.kubectl(&[&["config"], arguments].concat()).success();
        let name = arguments[1];
        shell
            .kubectl(&[&["config", "set-context", name], context].concat())
            .success();
    }
    for (context, detail, hint) in [
        (
            "dev",
            "is forbidden: User \"dev\"",
            "ask whoever manages this cluster for the right",
        ),
        (
            "gone",
            "The connection to the server 127.0.0.1:1 was refused",
            "see whether the server runs",
        ),
        ("lost", "cannot read the client certificate", ""),
    ] {
        let checked = shell.kubectl(&[
            "relay-address",
            "--check",
            "-n",
            &site.namespace,
            "--remote-context",
            context,
        ]);
        checked
            .exits(3)
            .prints(&format!("   context {context:?}: "))
            .complains(hint)
            .conceals("--ca-file");
        let said = checked.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(detail), "{checked}");
    }
}
