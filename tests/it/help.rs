//! Help is true: every example in it does what it says.

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures, plugin::PLUGINS};
use serde_json::json;

/// What every plugin has besides, which needs no example.
const ABOUT: [&str; 3] = ["completion", "version", "help"];

/// Where an outside CA has to answer first; `certs` plays its part and runs it.
const ANSWERED: &str = "--signing-cert signing.crt";

/// What looks for something wrong, and says by 3 or 4 that it found it.
const CHECKS: [&str; 5] = [
    "kubectl relay-address --check",
    "kubectl relay-certs inspect",
    "kubectl relay-certs status",
    "kubectl relay-ingress lint",
    "kubectl relay-ingress status",
];

/// The help of a command, and of all below it, each with the words that lead there.
fn helps(shell: &Shell, words: &[&str]) -> Vec<(String, String)> {
    let help = shell
        .kubectl(&[words, &["--help"]].concat())
        .success()
        .stdout
        .clone();
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest);
    let names = listed
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| !ABOUT.contains(name));
    let below = names.flat_map(|name| helps(shell, &[words, &[name]].concat()));
    let below: Vec<_> = below.collect();
    std::iter::once((words.join(" "), help)).chain(below).collect()
}

/// The examples at the end of a help text: what stands between empty lines is one.
fn examples(help: &str) -> Vec<String> {
    let listed = help.split_once("\nExamples:\n").map_or("", |(_, rest)| rest);
    let listed = listed.replace("\\\n", " ");
    let indented: Vec<_> = listed
        .lines()
        .take_while(|line| line.is_empty() || line.starts_with("  "))
        .map(str::trim)
        .collect();
    let blocks = indented.split(|line| line.is_empty()).map(|lines| {
        let commands = lines.iter().filter(|line| !line.starts_with('#'));
        commands.copied().collect::<Vec<_>>().join("\n")
    });
    blocks
        .filter(|block| !block.is_empty() && !block.contains(ANSWERED))
        .collect()
}

/// A management cluster with all that can be exposed, and a remote of many names.
fn shell(control_plane: &ControlPlane) -> Shell {
    let east = control_plane.cluster("east");
    let mut kubeconfig = Kubeconfig::new().context("mgmt", control_plane.cluster("mgmt"));
    for name in ["east", "west", "north", "prod-1"] {
        kubeconfig = kubeconfig.context(name, east);
    }
    let mut shell = Shell::new(&kubeconfig.current("mgmt"));
    fixtures::install_istio_crds(&shell, "mgmt");
    fixtures::install_gateway_api_crds(&shell, "mgmt");
    for namespace in ["gloo-mesh", "istio-system", "edge"] {
        shell.kubectl(&["create", "namespace", namespace]).success();
    }
    let service = fixtures::relay_service("gloo-mesh", "LoadBalancer");
    let address = fixtures::load_balancer(&["203.0.113.10"]);
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "GatewayClass",
        "metadata": { "name": "istio" },
        "spec": { "controllerName": "istio.io/gateway-controller" },
    });
    // As Istio's Helm chart labels it.
    let mut helms = fixtures::gateway_pod("gateway-2", "edge", "node-1", true);
    helms["metadata"]["labels"] = json!({ "istio": "ingress" });
    let mut edge = fixtures::with_status(fixtures::ingress_gateway("edge", "LoadBalancer"), address.clone());
    edge["spec"]["selector"] = json!({ "istio": "ingress" });
    // Without a controller, it starts nothing.
    let server = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": "enterprise-networking", "namespace": "gloo-mesh" },
        "spec": {
            "selector": { "matchLabels": { "app": "enterprise-networking" } },
            "template": {
                "metadata": { "labels": { "app": "enterprise-networking" } },
                "spec": { "containers": [{ "name": "server", "image": "server" }] },
            },
        },
    });
    let objects = [
        class,
        server,
        helms,
        fixtures::with_status(service, address.clone()),
        fixtures::gateway_pod("gateway-1", "istio-system", "node-1", true),
        fixtures::with_status(fixtures::ingress_gateway("istio-system", "LoadBalancer"), address),
        edge,
    ];
    fixtures::create(&shell, "mgmt", &objects);
    let edge = Kubeconfig::new().context("default", east);
    shell.write("edge.yaml", edge.to_json().to_string());
    let ca = "req -x509 -newkey rsa:2048 -noenc -keyout ca.key -out ca.crt -days 7300 -subj /CN=ours";
    shell.run("openssl", &ca.split(' ').collect::<Vec<_>>()).success();
    let generate = ["relay-certs", "generate", "--pki-dir", "made/relay-pki"];
    shell.run("mkdir", &["made"]).success();
    shell.kubectl(&generate).success();
    for (name, copy) in [
        ("root.crt", "root.crt"),
        ("server-tls.crt", "server.crt"),
        ("server-tls.key", "server.key"),
    ] {
        let paths = [format!("made/relay-pki/relay-{name}"), format!("made/{copy}")];
        shell.run("cp", &[&paths[0], &paths[1]]).success();
    }
    shell.set_env("RELAY_CA_KEY_PASSWORD", "correct horse");
    shell
}

#[test]
fn every_command_has_examples_and_they_work() {
    let control_plane = ControlPlane::start(&["mgmt", "east"]);
    let shell = shell(&control_plane);
    for plugin in PLUGINS {
        for (command, help) in helps(&shell, &[plugin]) {
            let examples = examples(&help);
            assert!(!examples.is_empty(), "no examples in {command}");
            for example in examples {
                // Each in a directory of its own, as they are alternatives.
                let made = match command.as_str() {
                    "relay-certs manifests" | "relay-certs inspect" => "cp -r made/* place",
                    // What one's own CA issues, where that CA's root is the one in use.
                    "relay-certs rotate server" => {
                        "cp -r in-use place/relay-pki
                         kubectl relay-certs generate --pki-dir new \\
                           --ca-cert in-use/relay-root.crt --ca-key in-use/relay-root.key
                         for kind in crt key; do cp new/relay-server-tls.$kind place/new.$kind; done"
                    }
                    rotate if rotate.starts_with("relay-certs rotate") => "cp -r in-use place/relay-pki",
                    _ => "",
                };
                let place = format!("rm -rf place\nmkdir place\ncp edge.yaml ca.* place\n{made}\ncd place");
                let ran: Transcript = shell.run("sh", &["-euc", &format!("{place}\n{example}")]);
                let is_check = CHECKS.iter().any(|check| example.starts_with(check));
                let worked = match ran.code {
                    // What is checked may be found wrong or due.
                    Some(3 | 4) => is_check && !example.contains('\n'),
                    code => code == Some(0),
                };
                assert!(worked, "an example of {command} fails:\n{ran}");
                // The first to make a root has made the one that the clusters hold, until
                // it is rotated.
                let keep = match command.starts_with("relay-certs rotate") {
                    true => "rm -r in-use; cp -r place/relay-pki in-use",
                    false => "test -e in-use || ! test -e place/relay-pki || cp -r place/relay-pki in-use",
                };
                shell.run("sh", &["-euc", keep]).success();
            }
        }
    }
}
