//! `kubectl relay-address`: where agents reach the relay server.

mod names;

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
use serde_json::{Value, json};

/// A namespace of the management cluster that holds the relay and Istio's ingress
/// gateway alike.
struct Site {
    shell: Shell,
    namespace: String,
}

impl Site {
    fn new(objects: impl FnOnce(&str) -> Vec<Value>) -> Self {
        let shell = Shell::on(ControlPlane::shared());
        let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
        let objects = objects(&namespace);
        fixtures::create(&shell, "mgmt", &objects);
        Self { shell, namespace }
    }

    fn address(&self, flags: &[&str]) -> Transcript {
        let namespace = self.namespace.as_str();
        let place = ["relay-address", "-n", namespace, "--ingress-namespace", namespace];
        self.shell.kubectl(&[&place[..], flags].concat())
    }

    fn status(&self, service: &str, status: &Value) {
        let service = format!("service/{service}");
        self.shell.patch_status("mgmt", &service, &self.namespace, status);
    }
}

/// Asserts that a command printed an address and nothing else.
#[track_caller]
fn prints(transcript: &Transcript, address: &str) {
    transcript.success();
    let shown = (transcript.stdout.as_str(), transcript.stderr.as_str());
    assert_eq!(shown, (&*format!("{address}\n"), ""), "{transcript}");
}

/// Asserts that a command printed no address, the start of its error, and a part
/// of its hint.
#[track_caller]
fn fails(transcript: &Transcript, error: &str, hint: &str) {
    transcript.exits(1);
    assert_eq!(transcript.stdout, "", "{transcript}");
    assert!(
        transcript.stderr.starts_with(error),
        "expected {error}{transcript}"
    );
    let (_, hints) = transcript.stderr.split_once("hint: ").unwrap_or_default();
    assert!(hints.contains(hint), "expected a hint of {hint:?}:\n{transcript}");
}

fn service(service: Value, addresses: &[&str]) -> Value {
    fixtures::with_status(service, fixtures::load_balancer(addresses))
}

fn renamed(mut object: Value, name: &str) -> Value {
    object["metadata"]["name"] = json!(name);
    object
}

/// The three cases of the page under the names that it gives everything. Nodes
/// belong to the whole cluster, hence a cluster of its own.
#[test]
fn the_pages_cases_need_no_flags() {
    let control_plane = ControlPlane::start(&["alone"]);
    let alone = control_plane.cluster("alone");
    let kubeconfig = Kubeconfig::new()
        .context("alone", alone)
        .user_context("dev", alone, "dev")
        .current("alone");
    let shell = Shell::new(&kubeconfig);
    for namespace in ["gloo-mesh", "istio-system"] {
        shell.kubectl(&["create", "namespace", namespace]).success();
    }
    let address = || shell.kubectl(&["relay-address"]);
    fails(
        &address(),
        "error: the relay server has no address yet\n  where: context \"alone\"\n  \
         error: service gloo-mesh/enterprise-networking has no address: neither it nor \
         gloo-mesh-mgmt-server exists\n",
        "install Gloo Mesh Enterprise",
    );

    let mut gateway = fixtures::ingress_gateway("istio-system", "NodePort");
    gateway["spec"]["ports"][2]["nodePort"] = json!(30443);
    let relay = fixtures::relay_service("gloo-mesh", "ClusterIP");
    fixtures::create(&shell, "alone", &[relay, gateway]);
    node_ports(&shell);

    let load_balancer = json!({ "spec": { "type": "LoadBalancer" } }).to_string();
    let expose = |namespace: &str, name: &str| {
        let patch = ["-n", namespace, "patch", "service", name, "-p", &load_balancer];
        shell.kubectl(&patch).success();
    };
    expose("istio-system", "istio-ingressgateway");
    let istio = fixtures::load_balancer(&["203.0.113.50"]);
    shell.patch_status("alone", "service/istio-ingressgateway", "istio-system", &istio);
    prints(&address(), "203.0.113.50:443");

    expose("gloo-mesh", "enterprise-networking");
    for host in ["203.0.113.10", "relay.example.com"] {
        let status = fixtures::load_balancer(&[host]);
        shell.patch_status("alone", "service/enterprise-networking", "gloo-mesh", &status);
        prints(&address(), &format!("{host}:9900"));
    }
}

/// Which of several nodes carries the ingress gateway's node port 30443.
fn node_ports(shell: &Shell) {
    let address = || shell.kubectl(&["relay-address"]);
    fails(
        &shell.kubectl(&["relay-address", "--via", "istio"]),
        "error: service istio-system/istio-ingressgateway has no address: its type is NodePort, and no \
         node is Ready\n  where: context \"alone\"\n",
        "kubectl get nodes",
    );

    let node = |name: &str, number: u8, ready: bool| {
        let (internal, external) = (format!("192.0.2.{number}"), format!("203.0.113.{number}"));
        let addresses = [("InternalIP", &*internal), ("ExternalIP", &*external)];
        fixtures::node(name, &addresses, ready)
    };
    let pod = |name: &str, node: &str, ready: bool| fixtures::gateway_pod(name, "istio-system", node, ready);
    let mut relay_pod = pod("enterprise-networking", "node-c", true);
    relay_pod["metadata"]["labels"] = json!({ "app": "enterprise-networking" });
    fixtures::create(
        shell,
        "alone",
        &[
            node("node-a", 1, true),
            node("node-b", 2, false),
            node("node-c", 3, true),
            fixtures::node("node-d", &[("InternalIP", "192.0.2.4")], true),
            relay_pod,
            pod("gateway-on-dead-node", "node-b", true),
            pod("gateway-not-ready", "node-c", false),
            pod("gateway", "node-d", true),
        ],
    );
    // Only node-d runs the gateway: its inner address is better than no gateway.
    prints(&address(), "192.0.2.4:30443");
    let addresses = |addresses: Value| {
        let status = json!({ "addresses": addresses });
        shell.patch_status("alone", "node/node-d", "", &status);
    };
    addresses(json!([
        { "type": "InternalIP", "address": "192.0.2.4" },
        { "type": "ExternalIP", "address": "203.0.113.4" },
    ]));
    prints(&address(), "203.0.113.4:30443");
    // The Service listens on IPv4 alone: an address of another family is the last resort.
    addresses(json!([{ "type": "ExternalIP", "address": "2001:db8::4" }]));
    prints(&address(), "203.0.113.1:30443");
    let v6 = shell.kubectl(&["relay-address", "--ip-family", "ipv6"]);
    prints(&v6, "[2001:db8::4]:30443");

    fixtures::grant(shell, "alone", "istio-system", "dev", "get,list", "services,pods");
    fails(
        &shell.kubectl(&["relay-address", "--context", "dev", "--via", "istio"]),
        "Error from server (Forbidden): nodes is forbidden: User \"dev\" cannot list resource \"nodes\" in \
         API group \"\" at the cluster scope\n  where: context \"dev\", nodes\n",
        "",
    );

    let policy = |policy: &str| {
        let patch = json!({ "spec": { "externalTrafficPolicy": policy } }).to_string();
        let service = ["patch", "service", "istio-ingressgateway", "-p", &patch];
        shell
            .kubectl(&[&["-n", "istio-system"], &service[..]].concat())
            .success();
    };
    policy("Local");
    prints(&address(), "[2001:db8::4]:30443");
    // Without a kubelet the pod stays, and is deleted all the time.
    shell
        .kubectl(&["-n", "istio-system", "delete", "pod", "gateway", "--wait=false"])
        .success();
    fails(
        &shell.kubectl(&["relay-address", "--via", "istio"]),
        "error: service istio-system/istio-ingressgateway has no address: its type is NodePort with \
         externalTrafficPolicy Local, and no Ready node runs a ready pod of it\n",
        "kubectl get pods -o wide",
    );
    // Any Ready node passes it on.
    policy("Cluster");
    prints(&address(), "203.0.113.1:30443");
}

#[test]
fn a_load_balancer_is_reached_at_the_first_address_it_has() {
    let relay = |namespace: &str| vec![fixtures::relay_service(namespace, "LoadBalancer")];
    let site = Site::new(relay);
    for (ingress, address) in [
        (json!([{ "ip": "203.0.113.7" }]), "203.0.113.7:9900"),
        (
            json!([{ "hostname": "a1.elb.example.com" }]),
            "a1.elb.example.com:9900",
        ),
        (json!([{ "ip": "2001:db8::7" }]), "[2001:db8::7]:9900"),
        (
            json!([{ "hostname": "relay.example.com", "ip": "203.0.113.8" }]),
            "203.0.113.8:9900",
        ),
        (
            json!([{ "hostname": "relay.example.com" }, { "ip": "203.0.113.8" }]),
            "relay.example.com:9900",
        ),
    ] {
        let status = json!({ "loadBalancer": { "ingress": ingress } });
        site.status("enterprise-networking", &status);
        for via in ["auto", "service"] {
            prints(&site.address(&["--via", via]), address);
        }
    }
}

#[test]
fn the_service_comes_before_istio_where_both_have_an_address() {
    let site = Site::new(|namespace| {
        vec![
            service(
                fixtures::relay_service(namespace, "LoadBalancer"),
                &["203.0.113.7"],
            ),
            service(
                fixtures::ingress_gateway(namespace, "LoadBalancer"),
                &["203.0.113.50"],
            ),
        ]
    });
    prints(&site.address(&[]), "203.0.113.7:9900");
    prints(&site.address(&["--via", "auto"]), "203.0.113.7:9900");
    prints(&site.address(&["--via", "service"]), "203.0.113.7:9900");
    prints(&site.address(&["--via", "istio"]), "203.0.113.50:443");

    site.status("enterprise-networking", &json!({ "loadBalancer": null }));
    prints(&site.address(&[]), "203.0.113.50:443");
    fails(
        &site.address(&["--via", "service"]),
        &format!(
            "error: service {}/enterprise-networking has no address: its type is LoadBalancer, and its load \
             balancer has no address yet\n  where: context \"mgmt\"\n",
            site.namespace
        ),
        "wait until the cloud has made it",
    );
    site.address(&["--via", "gloo"]).exits(2);
}

#[test]
fn istio_is_used_where_the_service_stays_inside_the_cluster() {
    let site = Site::new(|namespace| {
        vec![
            fixtures::relay_service(namespace, "ClusterIP"),
            service(
                fixtures::ingress_gateway(namespace, "LoadBalancer"),
                &["gateway.example.com"],
            ),
        ]
    });
    prints(&site.address(&[]), "gateway.example.com:443");
    fails(
        &site.address(&["--via", "service"]),
        &format!(
            "error: service {}/enterprise-networking has no address: its type is ClusterIP, which nothing \
             outside the cluster can reach\n  where: context \"mgmt\"\n",
            site.namespace
        ),
        "kubectl relay-ingress apply --via loadbalancer",
    );
}

#[test]
fn no_address_anywhere_says_the_state_of_every_object() {
    let site = Site::new(|namespace| {
        vec![
            fixtures::relay_service(namespace, "LoadBalancer"),
            fixtures::ingress_gateway(namespace, "LoadBalancer"),
        ]
    });
    let Site { shell, namespace } = &site;
    let missing = site.address(&[]);
    let pending = "its type is LoadBalancer, and its load balancer has no address yet";
    fails(
        &missing,
        &format!(
            "error: the relay server has no address yet\n  where: context \"mgmt\"\n  \
             error: service {namespace}/enterprise-networking has no address: {pending}\n    hint: "
        ),
        "wait until the cloud has made it",
    );
    missing
        .complains(&format!(
            "\n  error: service {namespace}/istio-ingressgateway has no address: {pending}\n    hint: "
        ))
        .conceals(":9900")
        .conceals(":443");

    shell
        .kubectl(&["-n", namespace, "delete", "services", "--all"])
        .success();
    fails(
        &site.address(&["--via", "istio"]),
        &format!(
            "error: service {namespace}/istio-ingressgateway has no address: there is no such service\n  \
             where: context \"mgmt\"\n"
        ),
        "--ingress-namespace and --ingress-service",
    );
    fails(
        &site.address(&["--via", "service", "--service", "relay"]),
        &format!(
            "error: service {namespace}/relay has no address: there is no such service\n  \
             where: context \"mgmt\"\n"
        ),
        "--namespace and --service",
    );
}

#[test]
fn a_user_without_rights_is_told_what_is_forbidden_where() {
    let mgmt = ControlPlane::shared().cluster("mgmt");
    let kubeconfig = Kubeconfig::new()
        .context("mgmt", mgmt)
        .user_context("audit", mgmt, "auditor")
        .current("audit");
    let shell = Shell::new(&kubeconfig);
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let relay = fixtures::relay_service(&namespace, "LoadBalancer");
    fixtures::create(&shell, "mgmt", &[service(relay, &["203.0.113.7"])]);
    let address = || shell.kubectl(&["relay-address", "--namespace", &namespace]);
    // Each source is left out, and named where nothing is left.
    address()
        .exits(1)
        .complains(
            "error: nothing that may expose the relay server can be read\n  where: context \"audit\"\n",
        )
        .complains("\n    where: context \"audit\", service istio-system/istio-ingressgateway\n");
    fails(
        &shell.kubectl(&["relay-address", "--namespace", &namespace, "--via", "service"]),
        &format!(
            "Error from server (Forbidden): services \"enterprise-networking\" is forbidden: User \"auditor\" \
             cannot get resource \"services\" in API group \"\" in the namespace \"{namespace}\"\n  \
             where: context \"audit\", service {namespace}/enterprise-networking\n"
        ),
        "",
    );
    fixtures::grant(&shell, "mgmt", &namespace, "auditor", "get", "services");
    prints(&address(), "203.0.113.7:9900");
}
