//! `kubectl relay-address`: which gateways are found, and which address is taken. A
//! control plane of its own, as gateways and nodes are the whole cluster's.

mod choice;
mod waiting;

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
use serde_json::{Value, json};

/// A cluster that serves Istio and Gateway API and runs a relay server that stays
/// inside.
struct Cluster {
    control_plane: ControlPlane,
    shell: Shell,
}

impl Cluster {
    fn start() -> Self {
        let control_plane = ControlPlane::start(&["alone"]);
        let alone = control_plane.cluster("alone");
        let kubeconfig = Kubeconfig::new()
            .context("alone", alone)
            .user_context("dev", alone, "dev")
            .current("alone");
        let shell = Shell::new(&kubeconfig);
        for namespace in ["gloo-mesh", "istio-system", "edge"] {
            shell.kubectl(&["create", "namespace", namespace]).success();
        }
        fixtures::create(
            &shell,
            "alone",
            &[fixtures::relay_service("gloo-mesh", "ClusterIP")],
        );
        Self { control_plane, shell }
    }

    fn address(&self, flags: &[&str]) -> Transcript {
        self.shell.kubectl(&[&["relay-address"], flags].concat())
    }

    fn create(&self, objects: &[Value]) {
        fixtures::create(&self.shell, "alone", objects);
    }

    #[track_caller]
    fn prints(&self, flags: &[&str], address: &str) {
        let transcript = self.address(flags);
        transcript.success();
        let shown = (transcript.stdout.as_str(), transcript.stderr.as_str());
        assert_eq!(shown, (&*format!("{address}\n"), ""), "{transcript}");
    }
}

/// An Istio Gateway in `edge` for pods with `istio: LABEL`.
fn gateway(name: &str, version: &str, label: &str, mode: &str, host: &str) -> Value {
    json!({
        "apiVersion": format!("networking.istio.io/{version}"),
        "kind": "Gateway",
        "metadata": { "name": name, "namespace": "edge" },
        "spec": {
            "selector": { "istio": label },
            "servers": [{
                "port": { "number": 443, "name": "tls", "protocol": "TLS" },
                "tls": { "mode": mode },
                "hosts": [host],
            }],
        },
    })
}

/// A Gateway of Gateway API's in `edge` that passes TLS through for the relay.
fn entrance(name: &str, addresses: Value) -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "Gateway",
        "metadata": { "name": name, "namespace": "edge" },
        "spec": {
            "gatewayClassName": "any",
            "listeners": [{
                "name": "tls",
                "port": 8443,
                "protocol": "TLS",
                "hostname": "*.gloo-mesh",
                "tls": { "mode": "Passthrough" },
                "allowedRoutes": { "namespaces": { "from": "All" } },
            }],
        },
        "status": { "addresses": addresses },
    })
}

/// The route from the Gateway `relay` to the relay server.
fn tls_route() -> Value {
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": "TLSRoute",
        "metadata": { "name": "relay", "namespace": "gloo-mesh" },
        "spec": {
            "hostnames": ["enterprise-networking.gloo-mesh"],
            "parentRefs": [{ "name": "relay", "namespace": "edge" }],
            "rules": [{ "backendRefs": [{ "name": "enterprise-networking", "port": 9900 }] }],
        },
    })
}

/// What Istio's gateway chart installs under a name: a pod and a Service.
fn installed(name: &str, namespace: &str, label: &str, address: &str) -> [Value; 2] {
    let labels = json!({ "app": name, "istio": label });
    let mut pod = fixtures::gateway_pod(name, namespace, "node-a", true);
    pod["metadata"]["labels"] = labels.clone();
    let mut service = fixtures::ingress_gateway(namespace, "LoadBalancer");
    service["metadata"]["name"] = json!(name);
    service["spec"]["selector"] = labels;
    [
        pod,
        fixtures::with_status(service, fixtures::load_balancer(&[address])),
    ]
}

#[test]
fn istios_gateways_are_found_by_the_host_they_pass_through() {
    let cluster = Cluster::start();
    fixtures::install_istio_crds(&cluster.shell, "alone");
    cluster.create(&installed(
        "istio-ingressgateway",
        "istio-system",
        "ingressgateway",
        "203.0.113.1",
    ));
    cluster.create(&installed("edge-gw", "edge", "ingress", "203.0.113.2"));
    cluster.create(&installed("other-gw", "edge", "other", "203.0.113.3"));
    // Where no Gateway serves the host, the page's is taken, and that is said.
    cluster.prints(&[], "203.0.113.1:443");
    let host = "enterprise-networking.gloo-mesh";
    cluster
        .address(&["--explain"])
        .success()
        .prints("\nwarning: no Istio Gateway passes TLS through for\n  enterprise-networking.gloo-mesh; ");

    // Neither terminating TLS nor serving another host counts.
    cluster.create(&[
        gateway("terminates", "v1", "other", "SIMPLE", "*"),
        gateway("another", "v1", "other", "PASSTHROUGH", "*.example.com"),
    ]);
    // The credential of a terminating server is not needed to be found or not.
    cluster.prints(&[], "203.0.113.1:443");

    for (version, hosts) in [
        ("v1alpha3", host),
        ("v1beta1", "gloo-mesh/*.gloo-mesh"),
        ("v1", "*"),
        ("v1", "./enterprise-networking.gloo-mesh"),
    ] {
        cluster.create(&[gateway("relay", version, "ingress", "PASSTHROUGH", hosts)]);
        cluster.prints(&[], "203.0.113.2:443");
        cluster.prints(&["--via", "istio"], "203.0.113.2:443");
    }
    // One that selects no pods, or pods without a Service, is told of.
    for (label, state) in [
        ("nowhere", "no pod has the labels istio=nowhere, which it selects"),
        (
            "lonely",
            "no Service leads to the pods with the labels istio=lonely, which\n      it selects",
        ),
    ] {
        let mut pod = fixtures::gateway_pod("lonely", "edge", "node-a", true);
        pod["metadata"]["labels"] = json!({ "istio": "lonely" });
        cluster.create(&[pod, gateway("relay", "v1", label, "PASSTHROUGH", host)]);
        cluster.prints(&[], "203.0.113.1:443");
        cluster
            .address(&["--explain"])
            .success()
            .prints(&format!(
                "\n    gateway edge/relay, spec.selector\n    not taken: {state}\n"
            ))
            .prints("\nwarning: nothing listens for the Istio Gateways that pass TLS through for\n");
    }

    // Its name may be another than the Service's.
    cluster.create(&[gateway(
        "relay",
        "v1",
        "ingress",
        "PASSTHROUGH",
        "relay.example.org",
    )]);
    cluster.prints(&[], "203.0.113.1:443");
    cluster.prints(&["--server-name", "relay.example.org"], "203.0.113.2:443");
    cluster.create(&[gateway("relay", "v1", "ingress", "PASSTHROUGH", host)]);

    // A name switches the search off.
    cluster.prints(&["--ingress-namespace", "istio-system"], "203.0.113.1:443");
    cluster.prints(&["--ingress-service", "istio-ingressgateway"], "203.0.113.1:443");
    let named = ["--ingress-namespace", "edge", "--ingress-service", "other-gw"];
    cluster.prints(&named, "203.0.113.3:443");

    // A server of another port is reached through the port that leads to it.
    let mut relay = gateway("relay", "v1", "ingress", "PASSTHROUGH", host);
    relay["spec"]["servers"][0]["port"]["number"] = json!(8443);
    cluster.create(&[relay.clone()]);
    cluster.prints(&[], "203.0.113.2:443");
    relay["spec"]["servers"][0]["port"]["number"] = json!(15443);
    cluster.create(&[relay]);
    cluster
        .address(&["--via", "istio"])
        .exits(1)
        .complains("it has no port that leads to 15443 of its gateway: it has status-port (15021), http2 (80), https (443)");
    cluster.prints(&["--ingress-port-name", "http2"], "203.0.113.2:80");
    cluster.create(&[gateway("relay", "v1", "ingress", "PASSTHROUGH", host)]);

    // Who may not read the relay's Service gets what else there is, and is told so.
    fixtures::grant(&cluster.shell, "alone", "istio-system", "dev", "get", "services");
    let dev = ["--context", "dev"];
    cluster.prints(&dev, "203.0.113.1:443");
    cluster
        .address(&["--context", "dev", "--explain"])
        .success()
        .prints("\n    service gloo-mesh/enterprise-networking, metadata.name\n    not taken: it cannot be read: services \"enterprise-networking\" is forbidden:\n");

    // Who may not list Gateways gets the usual one, and is told so.
    fixtures::grant(&cluster.shell, "alone", "gloo-mesh", "dev", "get", "services");
    cluster.prints(&dev, "203.0.113.1:443");
    cluster
        .address(&["--context", "dev", "--explain"])
        .success()
        .prints("\nwarning: Istio's gateways cannot be found, the ingress gateway is the usual one:\n")
        .prints("gateways.networking.istio.io is forbidden: User \"dev\"");
}

#[test]
fn gateway_apis_gateways_are_found_by_their_routes() {
    let cluster = Cluster::start();
    cluster.address(&["--via", "gateway-api"]).exits(1).complains(
        "error: the cluster serves no Gateway and TLSRoute of Gateway API\n  where: context \"alone\"\n",
    );
    fixtures::install_gateway_api_crds(&cluster.shell, "alone");
    let other = entrance("other", json!([{ "type": "IPAddress", "value": "203.0.113.3" }]));
    cluster.create(&[entrance("relay", json!([])), other]);
    cluster
        .address(&["--via", "gateway-api"])
        .exits(1)
        .complains("error: no Gateway of Gateway API has a TLSRoute to enterprise-networking.gloo-mesh\n");
    cluster.create(&[tls_route()]);
    cluster
        .address(&["--via", "gateway-api"])
        .exits(1)
        .complains("error: gateway edge/relay has no address: it has no address yet\n");
    for (addresses, address) in [
        (
            json!([{ "type": "Hostname", "value": "gw.example.com" }]),
            "gw.example.com:8443",
        ),
        (
            json!([{ "type": "IPAddress", "value": "2001:db8::2" }]),
            "[2001:db8::2]:8443",
        ),
    ] {
        cluster.create(&[entrance("relay", addresses)]);
        cluster.prints(&["--via", "gateway-api"], address);
        cluster.prints(&[], address);
    }

    // What its controller finds wrong with it keeps it from being taken.
    let condition = json!({
        "type": "ResolvedRefs",
        "status": "False",
        "reason": "RefNotPermitted",
        "message": "no ReferenceGrant",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let said =
        json!([{ "name": "tls", "attachedRoutes": 1, "supportedKinds": [], "conditions": [condition] }]);
    cluster
        .shell
        .patch_status("alone", "gateway/relay", "edge", &json!({ "listeners": said }));
    cluster
        .address(&["--explain"])
        .exits(1)
        .prints("\n    not taken: its listener \"tls\" does not work (ResolvedRefs is False): no\n      ReferenceGrant\n");
    cluster
        .shell
        .patch_status("alone", "gateway/relay", "edge", &json!({ "listeners": [] }));
    let parent = json!({
        "parentRef": { "name": "relay", "namespace": "edge" },
        "controllerName": "example.com/any",
        "conditions": [condition],
    });
    cluster.shell.patch_status(
        "alone",
        "tlsroute/relay",
        "gloo-mesh",
        &json!({ "parents": [parent] }),
    );
    cluster
        .address(&["--via", "gateway-api"])
        .exits(1)
        .complains("the TLSRoute does not lead to the relay server: no ReferenceGrant");

    // Who may not list them is told so, and what else there is counts.
    fixtures::grant(&cluster.shell, "alone", "gloo-mesh", "dev", "get", "services");
    cluster
        .address(&["--context", "dev", "--via", "gateway-api"])
        .exits(1)
        .complains("Error from server (Forbidden): ")
        .complains("is forbidden: User \"dev\"");
    let relay = fixtures::relay_service("gloo-mesh", "LoadBalancer");
    cluster.create(&[fixtures::with_status(
        relay,
        fixtures::load_balancer(&["203.0.113.9"]),
    )]);
    let everywhere = cluster.address(&["--context", "dev", "--explain", "-o", "json"]);
    let document = everywhere.success().json();
    assert_eq!(document["address"], "203.0.113.9:9900");
    let notes = document["warnings"].as_array().expect("is a list");
    let refused = notes.iter().filter_map(Value::as_str);
    assert!(
        refused
            .clone()
            .any(|note| note.starts_with("Gateway API cannot be read: ")),
        "{everywhere}"
    );
}

#[test]
fn an_address_is_printed_for_shells_and_programs() {
    let cluster = Cluster::start();
    let relay = |address: &str| {
        let relay = fixtures::relay_service("gloo-mesh", "LoadBalancer");
        fixtures::with_status(relay, fixtures::load_balancer(&[address]))
    };
    for (address, host) in [
        ("2001:db8::7", "[2001:db8::7]"),
        ("lb.example.com", "lb.example.com"),
    ] {
        cluster.create(&[relay(address)]);
        let environment = cluster.address(&["-o", "env"]);
        environment.success();
        assert_eq!(
            environment.stdout,
            format!("MGMT_INGRESS_ADDRESS='{host}'\nMGMT_INGRESS_PORT='9900'\nRELAY_ADDRESS='{host}:9900'\n")
        );
        let explained = cluster.address(&["-o", "env", "--explain"]);
        explained
            .success()
            .complains("relay host: enterprise-networking.gloo-mesh\n")
            .complains("\n    taken\n");
        assert_eq!(explained.stdout, environment.stdout);
        let script = "eval \"$(kubectl relay-address -o env)\"\n\
                      [ \"$RELAY_ADDRESS\" = \"$MGMT_INGRESS_ADDRESS:$MGMT_INGRESS_PORT\" ] && echo $RELAY_ADDRESS";
        let evaluated = cluster.shell.run("sh", &["-euc", script]);
        evaluated.success();
        assert_eq!(evaluated.stdout, format!("{host}:9900\n"));
        let document = cluster.address(&["-o", "json"]).success().json();
        assert_eq!(
            (&document["host"], &document["port"]),
            (&json!(address), &json!(9900))
        );
    }
    let document = cluster.address(&["-o", "json"]).success().json();
    // Its whole shape is in `output::an_address_has_a_document_and_a_wide_table`.
    let keys: Vec<_> = document.as_object().expect("is one").keys().collect();
    assert_eq!(keys, ["address", "candidates", "host", "port", "source"]);

    let explained = cluster.address(&["--explain"]);
    explained.success();
    let want = "relay host: enterprise-networking.gloo-mesh\n\
        \n\
        1   lb.example.com:9900\n    \
            service gloo-mesh/enterprise-networking,\n      \
              status.loadBalancer.ingress[0].hostname\n    \
            taken\n\
        \n\
        2   -\n    \
            service istio-system/istio-ingressgateway, metadata.name\n    \
            not taken: there is no such service\n\
        \n\
        warning: no Istio Gateway passes TLS through for\n  \
          enterprise-networking.gloo-mesh; the ingress gateway is the usual one\n";
    assert_eq!((explained.stdout.as_str(), explained.stderr.as_str()), (want, ""));
    assert!(explained.stdout.lines().all(|line| line.len() <= 80));

    // Where there is no address it is still explained.
    cluster
        .shell
        .kubectl(&["-n", "gloo-mesh", "delete", "service", "--all"])
        .success();
    let nothing = cluster.address(&["--explain", "-o", "json"]);
    nothing
        .exits(1)
        .complains("error: the relay server has no address yet");
    let document = nothing.json();
    assert_eq!(
        (&document["address"], &document["source"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(
        document["candidates"][0]["reason"],
        "neither it nor gloo-mesh-mgmt-server exists"
    );
}

#[test]
fn one_request_is_enough_where_the_relay_service_has_an_address() {
    let cluster = Cluster::start();
    let relay = fixtures::relay_service("gloo-mesh", "LoadBalancer");
    cluster.create(&[fixtures::with_status(
        relay,
        fixtures::load_balancer(&["203.0.113.9"]),
    )]);
    let verbose = cluster.address(&["-v", "6"]);
    verbose.success();
    assert_eq!(verbose.stderr.lines().count(), 1, "{verbose}");
    verbose.complains("/api/v1/namespaces/gloo-mesh/services/enterprise-networking");
}
