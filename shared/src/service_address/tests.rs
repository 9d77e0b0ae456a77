//! The cases of [`super`].

use serde_json::{Value, json};

use super::*;
use crate::address::{Family, HostKind, NodeAddressType};

/// What is found, best first: addresses as `FIELD ADDRESS`, reasons as they are.
fn found(service: Value, port: &str, nodes: &[Value], pods: &[Value]) -> Vec<String> {
    preferred(service, port, nodes, pods, &Preferences::default())
}

fn preferred(
    service: Value,
    port: &str,
    nodes: &[Value],
    pods: &[Value],
    preferences: &Preferences,
) -> Vec<String> {
    fn parse<T: serde::de::DeserializeOwned>(values: &[Value]) -> Vec<T> {
        let parsed = values.iter().map(|value| serde_json::from_value(value.clone()));
        parsed
            .collect::<Result<_, _>>()
            .expect("is an object of its kind")
    }
    let object = ObjectRef::new::<Service>("ns", "name");
    let service = serde_json::from_value(service).expect("is a service");
    let backends = Backends {
        nodes: parse(nodes),
        pods: parse(pods),
        unread: None,
    };
    let port = match port.strip_prefix("server ") {
        Some(server) => PortRef::Server(server.parse().expect("is a port")),
        None => PortRef::new(port),
    };
    let candidates = of_service(Source::Service, &object, &service, &port, &backends, preferences);
    let shown = candidates.into_iter().map(|candidate| match candidate.result {
        Ok(address) => format!("{} {address}", candidate.field),
        Err(reason) => reason.state,
    });
    shown.collect()
}

fn load_balancer(ingress: Value) -> Value {
    json!({
        "spec": { "type": "LoadBalancer", "ports": [{ "name": "grpc", "port": 9900 }] },
        "status": { "loadBalancer": { "ingress": ingress } },
    })
}

fn node_port(more: Value) -> Value {
    let mut spec =
        json!({ "type": "NodePort", "ports": [{ "name": "https", "port": 443, "nodePort": 30443 }] });
    spec.as_object_mut()
        .expect("is one")
        .extend(more.as_object().cloned().unwrap_or_default());
    json!({ "spec": spec })
}

fn node(name: &str, ready: bool, addresses: &[(&str, &str)]) -> Value {
    let address = |(kind, address): &(&str, &str)| json!({ "type": kind, "address": address });
    json!({
        "metadata": { "name": name },
        "status": {
            "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "Unknown" } }],
            "addresses": addresses.iter().map(address).collect::<Vec<_>>(),
        },
    })
}

fn pod(node: &str, ready: bool) -> Value {
    json!({
        "metadata": { "name": "gateway" },
        "spec": { "nodeName": node, "containers": [] },
        "status": { "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }] },
    })
}

#[test]
fn load_balancers_are_read_in_the_order_listed() {
    #[track_caller]
    fn check(ingress: Value, want: &[&str]) {
        let got = found(load_balancer(ingress), "grpc", &[], &[]);
        let field = |found: &String| found.replace("status.loadBalancer.ingress", "");
        assert_eq!(got.iter().map(field).collect::<Vec<_>>(), want);
    }
    check(json!([{ "ip": "192.0.2.1" }]), &["[0].ip 192.0.2.1:9900"]);
    check(
        json!([{ "hostname": "a.b.example" }]),
        &["[0].hostname a.b.example:9900"],
    );
    check(
        json!([{ "hostname": "h1", "ip": "192.0.2.1" }, { "ip": "192.0.2.2" }]),
        &[
            "[0].ip 192.0.2.1:9900",
            "[0].hostname h1:9900",
            "[1].ip 192.0.2.2:9900",
        ],
    );
    check(json!([{ "ip": "2001:db8:0::1" }]), &["[0].ip [2001:db8::1]:9900"]);
    let pending = "its type is LoadBalancer, and its load balancer has no address yet";
    check(json!([]), &[pending]);
    check(json!([{}, { "ip": "", "hostname": "" }]), &[pending]);
    for hostile in ["$(reboot)", "a b", "a\u{1b}[2J", "-o", "a:1", "a/b", "ü"] {
        let got = found(load_balancer(json!([{ "hostname": hostile }])), "grpc", &[], &[]);
        let want = format!("{hostile:?} with port 9900 is not an address that can be dialled");
        assert_eq!(got, [want]);
    }
}

#[test]
fn ports_go_by_name_or_number() {
    #[track_caller]
    fn check(ports: Value, port: &str, want: &str) {
        let mut service = load_balancer(json!([{ "ip": "192.0.2.1" }]));
        service["spec"]["ports"] = ports;
        let got = found(service, port, &[], &[]).concat();
        assert_eq!(got.replace("status.loadBalancer.ingress[0].ip ", ""), want);
    }
    let two = json!([{ "name": "http", "port": 80 }, { "name": "grpc", "port": 9900 }]);
    check(two.clone(), "grpc", "192.0.2.1:9900");
    check(two.clone(), "80", "192.0.2.1:80");
    check(
        two,
        "tls",
        "it has no port \"tls\": it has http (80), grpc (9900)",
    );
    check(
        json!([{ "port": 1 }]),
        "grpc",
        "it has no port \"grpc\": it has 1",
    );
    check(json!([]), "grpc", "it has no port \"grpc\": it has no ports");
    for port in [0, 65536, -1] {
        let unusable = format!("\"192.0.2.1\" with port {port} is not an address that can be dialled");
        check(json!([{ "name": "grpc", "port": port }]), "grpc", &unusable);
    }
}

#[test]
fn a_service_that_stays_inside_says_so() {
    let inside = |type_: &str| format!("its type is {type_}, which nothing outside the cluster can reach");
    let ports = json!([{ "name": "grpc", "port": 9900 }]);
    let got = found(json!({ "spec": { "ports": ports } }), "grpc", &[], &[]);
    assert_eq!(got, [inside("ClusterIP")]);
    let external = json!({ "spec": { "type": "ExternalName", "ports": ports } });
    assert_eq!(found(external, "grpc", &[], &[]), [inside("ExternalName")]);
    assert_eq!(
        found(json!({}), "grpc", &[], &[]),
        ["it has no port \"grpc\": it has no ports"]
    );
}

#[test]
fn node_ports_are_reached_at_nodes_that_answer() {
    #[track_caller]
    fn check(policy: &str, nodes: &[Value], pods: &[Value], want: &[&str]) {
        let service = node_port(json!({ "externalTrafficPolicy": policy }));
        assert_eq!(found(service, "https", nodes, pods), want);
    }
    let a = node("a", true, &[("InternalIP", "10.0.0.1")]);
    let b = node("b", true, &[("InternalIP", "10.0.0.2")]);
    let down = node("down", false, &[("ExternalIP", "192.0.2.9")]);
    let (on_a, on_b) = (
        "node a InternalIP 10.0.0.1:30443",
        "node b InternalIP 10.0.0.2:30443",
    );
    check("Cluster", &[a.clone(), b.clone()], &[], &[on_a, on_b]);
    check(
        "Cluster",
        &[a.clone(), b.clone()],
        &[pod("b", true)],
        &[on_b, on_a],
    );
    check(
        "Cluster",
        &[a.clone(), b.clone()],
        &[pod("b", false)],
        &[on_a, on_b],
    );
    check(
        "Cluster",
        &[down.clone(), b.clone()],
        &[pod("down", true)],
        &[on_b],
    );
    check("Local", &[a.clone(), b.clone()], &[pod("b", true)], &[on_b]);
    check(
        "Local",
        &[a.clone(), b],
        &[pod("b", false)],
        &["its type is NodePort with externalTrafficPolicy Local, and no Ready node runs a ready pod of it"],
    );
    check(
        "Cluster",
        &[down],
        &[],
        &["its type is NodePort, and no node is Ready"],
    );
    check(
        "Cluster",
        &[],
        &[],
        &["its type is NodePort, and no node is Ready"],
    );
    check(
        "Cluster",
        &[node("bare", true, &[])],
        &[],
        &["its type is NodePort, and no Ready node has an address"],
    );
    // An address from outside beats the pod only among nodes that run one.
    let outside = node("outside", true, &[("ExternalIP", "192.0.2.1")]);
    let from_outside = "node outside ExternalIP 192.0.2.1:30443";
    check(
        "Cluster",
        &[a.clone(), outside.clone()],
        &[pod("a", true)],
        &[on_a, from_outside],
    );
    check("Cluster", &[a, outside], &[], &[from_outside, on_a]);
}

#[test]
fn a_nodes_addresses_are_ranked_by_who_can_reach_them() {
    let all = [
        ("Hostname", "host"),
        ("InternalDNS", "in.example"),
        ("InternalIP", "10.0.0.1"),
        ("ExternalDNS", "out.example"),
        ("ExternalIP", "192.0.2.1"),
    ];
    for count in 0..all.len() {
        let known = &all[..=count];
        let got = found(node_port(json!({})), "https", &[node("n", true, known)], &[]);
        let best_first = known.iter().rev();
        let want: Vec<_> = best_first
            .map(|(kind, address)| format!("node n {kind} {address}:30443"))
            .collect();
        assert_eq!(got, want);
    }
    let odd = node(
        "n",
        true,
        &[("ExternalIP", ""), ("Other", "192.0.2.2"), ("Hostname", "host")],
    );
    assert_eq!(
        found(node_port(json!({})), "https", &[odd], &[]),
        ["node n Hostname host:30443"]
    );
    // What else a node has comes after the best of the others.
    let nodes = [node("n", true, &all[2..]), node("m", true, &all[2..3])];
    let got = found(node_port(json!({})), "https", &nodes, &[pod("m", true)]);
    let want = [
        "node m InternalIP 10.0.0.1:30443",
        "node n ExternalIP 192.0.2.1:30443",
        "node n ExternalDNS out.example:30443",
        "node n InternalIP 10.0.0.1:30443",
    ];
    assert_eq!(got, want);
}

#[test]
fn a_gateways_server_is_reached_through_the_port_that_leads_to_it() {
    #[track_caller]
    fn check(ports: Value, server: u16, want: &str) {
        let mut service = load_balancer(json!([{ "ip": "192.0.2.1" }]));
        service["spec"]["ports"] = ports;
        let got = found(service, &format!("server {server}"), &[], &[]).concat();
        assert_eq!(got.replace("status.loadBalancer.ingress[0].ip ", ""), want);
    }
    let istio = json!([
        { "name": "http3", "port": 443, "targetPort": 8443, "protocol": "UDP" },
        { "name": "http2", "port": 80, "targetPort": 8080 },
        { "name": "https", "port": 443, "targetPort": 8443 },
        { "name": "named", "port": 444, "targetPort": "tls" },
    ]);
    check(istio.clone(), 443, "192.0.2.1:443");
    check(istio.clone(), 8443, "192.0.2.1:443");
    check(
        istio,
        15443,
        "it has no port that leads to 15443 of its gateway: \
         it has http3 (443), http2 (80), https (443), named (444)",
    );
}

#[test]
fn external_ips_come_after_everything_else() {
    let spec = |kind: &str| {
        json!({
            "type": kind,
            "externalIPs": ["192.0.2.7", "-o"],
            "ports": [{ "name": "grpc", "port": 9900, "nodePort": 30900 }],
        })
    };
    let external = [
        "spec.externalIPs[0] 192.0.2.7:9900",
        "\"-o\" with port 9900 is not an address that can be dialled",
    ];
    let got = found(json!({ "spec": spec("ClusterIP") }), "grpc", &[], &[]);
    assert_eq!(got, external);
    let balanced = json!({
        "spec": spec("LoadBalancer"),
        "status": { "loadBalancer": { "ingress": [{ "hostname": "lb.example" }] } },
    });
    let balancer = "status.loadBalancer.ingress[0].hostname lb.example:9900";
    assert_eq!(
        found(balanced, "grpc", &[], &[]),
        [&[balancer][..], &external].concat()
    );
    let nodes = [node("n", true, &[("ExternalIP", "192.0.2.1")])];
    let got = found(json!({ "spec": spec("NodePort") }), "grpc", &nodes, &[]);
    assert_eq!(
        got,
        [&["node n ExternalIP 192.0.2.1:30900"][..], &external].concat()
    );
    let name = found(json!({ "spec": spec("ExternalName") }), "grpc", &[], &[]);
    assert_eq!(
        name,
        ["its type is ExternalName, which nothing outside the cluster can reach"]
    );
}

#[test]
fn a_load_balancers_node_port_is_used_if_asked_for() {
    #[track_caller]
    fn check(service: Value, want: &[&str]) {
        let nodes = [node("n", true, &[("InternalIP", "10.0.0.1")])];
        let asked = Preferences {
            node_port: true,
            ..Preferences::default()
        };
        assert_eq!(preferred(service, "grpc", &nodes, &[], &asked), want);
    }
    let pending = "its type is LoadBalancer, and its load balancer has no address yet";
    let mut service = load_balancer(json!([]));
    check(
        service.clone(),
        &[
            "its type is LoadBalancer, and this port has no node port",
            pending,
        ],
    );
    service["spec"]["ports"][0]["nodePort"] = json!(30900);
    check(service.clone(), &["node n InternalIP 10.0.0.1:30900", pending]);
    let without = found(service.clone(), "grpc", &[], &[]);
    assert_eq!(without, [pending], "never by itself");
    service["status"]["loadBalancer"]["ingress"] = json!([{ "ip": "192.0.2.1" }]);
    let balanced = "status.loadBalancer.ingress[0].ip 192.0.2.1:9900";
    check(service, &["node n InternalIP 10.0.0.1:30900", balanced]);
}

#[test]
fn a_nodes_addresses_can_be_chosen_by_type_and_family() {
    #[track_caller]
    fn check(
        families: &[&str],
        types: &[NodeAddressType],
        family: Option<Family>,
        addresses: &[(&str, &str)],
        want: &[&str],
    ) {
        let preferences = Preferences {
            family,
            node_address_types: types.to_vec(),
            ..Preferences::default()
        };
        let service = node_port(json!({ "ipFamilies": families }));
        let nodes = [node("n", true, addresses)];
        assert_eq!(preferred(service, "https", &nodes, &[], &preferences), want);
    }
    let all = [
        ("InternalIP", "10.0.0.1"),
        ("InternalIP", "fd00::1"),
        ("ExternalIP", "192.0.2.1"),
        ("ExternalIP", "2001:db8::1"),
        ("Hostname", "n"),
    ];
    let (v4, v6, name) = (
        "node n ExternalIP 192.0.2.1:30443",
        "node n ExternalIP [2001:db8::1]:30443",
        "node n Hostname n:30443",
    );
    let (inner4, inner6) = (
        "node n InternalIP 10.0.0.1:30443",
        "node n InternalIP [fd00::1]:30443",
    );
    check(&["IPv4"], &[], None, &all, &[v4, inner4, name]);
    check(&["IPv6"], &[], None, &all, &[v6, inner6, name]);
    check(
        &["IPv6", "IPv4"],
        &[],
        None,
        &all,
        &[v4, v6, inner4, inner6, name],
    );
    check(
        &["IPv4", "IPv6"],
        &[],
        Some(Family::V6),
        &all,
        &[v6, inner6, name],
    );
    check(&["IPv4"], &[], None, &all[3..4], &[v6]);
    use NodeAddressType::{ExternalIp, Hostname, InternalIp};
    check(&["IPv4"], &[InternalIp, ExternalIp], None, &all, &[inner4, v4]);
    check(&["IPv4"], &[Hostname, InternalIp], None, &all, &[name, inner4]);
    let (none, other) = (
        "its type is NodePort, and no node that answers has an address of type Hostname",
        "192.0.2.1 is not an IPv6 address",
    );
    check(&["IPv4"], &[Hostname], None, &all[..3], &[none]);
    check(&["IPv4"], &[], Some(Family::V6), &all[2..3], &[other]);
}

#[test]
fn a_node_of_the_services_family_comes_before_any_other() {
    let service = node_port(json!({ "ipFamilies": ["IPv4"] }));
    let nodes = [
        node("a", true, &[("ExternalIP", "2001:db8::1")]),
        node("b", true, &[("InternalIP", "10.0.0.2")]),
    ];
    let want = [
        "node b InternalIP 10.0.0.2:30443",
        "node a ExternalIP [2001:db8::1]:30443",
    ];
    for pods in [&[][..], &[pod("a", true)]] {
        assert_eq!(found(service.clone(), "https", &nodes, pods), want);
    }
}

#[test]
fn odd_contents_never_panic() {
    let huge: Vec<_> = (0..20_000)
        .map(|i| json!({ "ip": format!("10.{}.{}.1", i / 256, i % 256), "hostname": "\u{1b}]0;x\u{7}" }))
        .collect();
    let got = found(load_balancer(json!(huge)), "grpc", &[], &[]);
    assert_eq!(got.len(), 40_000);
    assert!(got.iter().all(|shown| !shown.contains(char::is_control)));

    let twice = json!([{ "ip": "192.0.2.1" }, { "ip": "192.0.2.1" }]);
    assert_eq!(found(load_balancer(twice), "grpc", &[], &[]).len(), 2);
    let mut service = node_port(json!({}));
    for port in [json!(0), json!(-1), json!(70_000), json!(null)] {
        service["spec"]["ports"] = json!([{ "name": "https", "port": 443, "nodePort": port }]);
        let nodes = [node("\u{1b}[2J", true, &[("ExternalIP", "192.0.2.1")])];
        let got = found(service.clone(), "https", &nodes, &[]);
        assert!(!got.concat().contains("192.0.2.1:"), "{got:?}");
    }
    let nodes: Vec<_> = (0..3_000)
        .map(|i| {
            node(
                &format!("n{i}"),
                true,
                &[("ExternalIP", "192.0.2.1"), ("ExternalIP", "")],
            )
        })
        .collect();
    let pods: Vec<_> = (0..3_000).map(|i| pod(&format!("n{i}"), true)).collect();
    let got = found(node_port(json!({})), "https", &nodes, &pods);
    assert_eq!(got.len(), 3_000);
    assert_eq!(
        found(json!({ "status": {} }), "", &[json!({})], &[json!({})]).len(),
        1
    );
}

#[test]
fn one_kind_of_host_can_come_first() {
    let ingress = json!([{ "hostname": "a.example" }, { "ip": "192.0.2.1", "hostname": "b.example" }]);
    for (kind, want) in [
        (HostKind::Ip, ["[1].ip", "[0].hostname", "[1].hostname"]),
        (HostKind::Hostname, ["[0].hostname", "[1].hostname", "[1].ip"]),
    ] {
        let preferences = Preferences {
            kind: Some(kind),
            ..Preferences::default()
        };
        let got = preferred(load_balancer(ingress.clone()), "grpc", &[], &[], &preferences);
        let fields: Vec<_> = got
            .iter()
            .map(|shown| {
                let field = shown.split(' ').next().unwrap_or_default();
                field.replace("status.loadBalancer.ingress", "")
            })
            .collect();
        assert_eq!(fields, want);
    }
}
