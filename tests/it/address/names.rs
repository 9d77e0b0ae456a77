//! What the user names: services, ports, clusters and namespaces.

use relay_tests::{ControlPlane, Kubeconfig, Shell, fixtures};
use serde_json::json;

use super::{Site, fails, prints, renamed, service};

#[test]
fn the_relay_service_may_have_any_name_and_port() {
    let site = Site::new(|namespace| {
        let server = renamed(
            fixtures::relay_service(namespace, "LoadBalancer"),
            "gloo-mesh-mgmt-server",
        );
        let mut relay = renamed(fixtures::relay_service(namespace, "LoadBalancer"), "relay");
        relay["spec"]["ports"] = json!([
            { "name": "admin", "port": 8080 },
            { "name": "grpc", "port": 9901 },
            { "name": "grpc-tls", "port": 9443 },
        ]);
        vec![
            service(server, &["203.0.113.2"]),
            service(relay, &["203.0.113.3"]),
        ]
    });
    prints(&site.address(&[]), "203.0.113.2:9900");
    let relay = |flags: &[&str]| site.address(&[&["--service", "relay"], flags].concat());
    prints(&relay(&[]), "203.0.113.3:9901");
    prints(&relay(&["--port-name", "grpc-tls"]), "203.0.113.3:9443");
    prints(&relay(&["--port-name", "8080"]), "203.0.113.3:8080");
    for port in ["http", "9900"] {
        fails(
            &relay(&["--via", "service", "--port-name", port]),
            &format!(
                "error: service {}/relay has no address: it has no port {port:?}: it has admin (8080), grpc \
                 (9901), grpc-tls (9443)\n  where: context \"mgmt\"\n",
                site.namespace
            ),
            "--port-name",
        );
    }

    // What an upgrade has left over has no address, and hides none.
    let first = fixtures::relay_service(&site.namespace, "ClusterIP");
    fixtures::create(&site.shell, "mgmt", &[first]);
    prints(&site.address(&[]), "203.0.113.2:9900");
    site.address(&["--explain"])
        .success()
        .prints(&format!("relay host: gloo-mesh-mgmt-server.{}\n", site.namespace))
        .prints("/enterprise-networking, spec.type\n    not taken: ");
    let first = fixtures::relay_service(&site.namespace, "LoadBalancer");
    fixtures::create(&site.shell, "mgmt", &[service(first, &["203.0.113.1"])]);
    prints(&site.address(&[]), "203.0.113.1:9900");
}

#[test]
fn the_ingress_gateway_may_have_any_place_and_port() {
    let site = Site::new(|namespace| vec![fixtures::relay_service(namespace, "ClusterIP")]);
    let edge = fixtures::fresh_namespace(&site.shell, &["mgmt"]);
    let mut gateway = renamed(fixtures::ingress_gateway(&edge, "LoadBalancer"), "edge-gateway");
    gateway["spec"]["ports"] = json!([
        { "name": "https", "port": 8443 },
        { "name": "tls", "port": 15443 },
    ]);
    fixtures::create(&site.shell, "mgmt", &[service(gateway, &["203.0.113.50"])]);
    let place = [
        &[
            "relay-address",
            "-n",
            &site.namespace,
            "--ingress-namespace",
            &edge,
        ][..],
        &["--ingress-service", "edge-gateway"],
    ]
    .concat();
    let address = |flags: &[&str]| site.shell.kubectl(&[&place, flags].concat());
    prints(&address(&[]), "203.0.113.50:8443");
    prints(&address(&["--ingress-port-name", "tls"]), "203.0.113.50:15443");
    prints(&address(&["--ingress-port-name", "15443"]), "203.0.113.50:15443");
    fails(
        &address(&["--via", "istio", "--ingress-port-name", "443"]),
        &format!(
            "error: service {edge}/edge-gateway has no address: it has no port \"443\": it has https (8443), \
             tls (15443)\n  where: context \"mgmt\"\n"
        ),
        "--ingress-port-name",
    );
}

#[test]
fn the_cluster_and_the_namespace_are_the_ones_named() {
    let control_plane = ControlPlane::shared();
    let shell = Shell::on(control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt", "west"]);
    let balanced = |address| service(fixtures::relay_service(&namespace, "LoadBalancer"), &[address]);
    fixtures::create(&shell, "mgmt", &[balanced("203.0.113.1")]);
    fixtures::create(&shell, "west", &[balanced("203.0.113.2")]);
    let address = |flags: &[&str]| shell.kubectl(&[&["relay-address"], flags].concat());
    prints(&address(&["-n", &namespace]), "203.0.113.1:9900");
    prints(&address(&["--namespace", &namespace]), "203.0.113.1:9900");
    for flag in ["--context", "--mgmt-context"] {
        prints(&address(&["-n", &namespace, flag, "west"]), "203.0.113.2:9900");
    }

    for flag in ["--context", "--mgmt-context"] {
        let unknown = address(&["-n", &namespace, flag, "mgnt"]);
        unknown.exits(2);
        let shown = (unknown.stdout.as_str(), unknown.stderr.as_str());
        let error = "error: context \"mgnt\" does not exist\n  \
                     hint: did you mean \"mgmt\"? known contexts: mgmt, east, west\n";
        assert_eq!(shown, ("", error), "{unknown}");
    }
    address(&["-n", &namespace, "--context", "production"])
        .exits(2)
        .complains("hint: known contexts: mgmt, east, west\n");

    // The page's namespace is meant, whatever the context's own.
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .namespace(&namespace)
        .current("mgmt");
    let elsewhere = ["relay-address", "--via", "service", "--service", &namespace];
    fails(
        &Shell::new(&kubeconfig).kubectl(&elsewhere),
        &format!("error: service gloo-mesh/{namespace} has no address: there is no such service\n"),
        "--namespace",
    );
}

#[test]
fn a_name_that_cannot_be_is_wrong_usage() {
    let shell = Shell::on(ControlPlane::shared());
    for flag in [
        "--namespace",
        "--service",
        "--ingress-namespace",
        "--ingress-service",
    ] {
        let refused = shell.kubectl(&["relay-address", flag, "Not_A.Name"]);
        refused
            .exits(2)
            .complains(&format!("error: invalid value 'Not_A.Name' for '{flag}"))
            .complains(": a name has at most 63 lower case letters, digits and dashes, none at its ends\n");
        assert_eq!(refused.stdout, "");
    }
    for (flags, complaint) in [
        (
            &["--port-name", ""][..],
            "error: a value is required for '--port-name <PORT>'",
        ),
        (
            &["--ingress-port-name="],
            "error: a value is required for '--ingress-port-name <PORT>'",
        ),
        (
            &["--server-name", "10.0.0.1"],
            "agents cannot ask for a server by an IP\n",
        ),
        (
            &["--server-name", "fd00::1"],
            "agents cannot ask for a server by an IP\n",
        ),
        (
            &["--all", "-o", "env"],
            "error: -o env assigns one address, and --all prints every one\n",
        ),
    ] {
        let refused = shell.kubectl(&[&["relay-address"], flags].concat());
        refused.exits(2).complains(complaint);
        assert_eq!(refused.stdout, "");
    }
}
