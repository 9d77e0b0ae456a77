//! Which address an agent should dial: pure decisions about Services, nodes and
//! pods that were read before.
//!
//! Looking at a Service gives [`Finding`]s, ranked: each is an address, or the
//! reason why there is none. The first address wins; if there is no address,
//! the reasons are the error.

use std::{fmt, net::IpAddr, net::Ipv6Addr};

use k8s_openapi::api::core::v1::{Node, Pod, Service, ServicePort};

use crate::cluster::ObjectRef;

/// A host and a port that can be dialled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// An address, unless the host is neither an IP nor a DNS name, or the port
    /// is not between 1 and 65535: what a status says is not to be trusted.
    pub fn new(host: &str, port: i32) -> Option<Self> {
        let port = u16::try_from(port).ok().filter(|port| *port != 0)?;
        let dns = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        let named = !host.is_empty() && host.len() <= 253 && host.chars().all(dns) && !host.starts_with('-');
        (named || host.parse::<IpAddr>().is_ok()).then(|| Self {
            host: host.to_owned(),
            port,
        })
    }

    /// The IP or DNS name, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

/// `HOST:PORT`, an IPv6 host in brackets (RFC 3986, section 3.2.2).
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(ip) => write!(f, "[{ip}]:{}", self.port),
            Err(_) => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// What one field of one object says about where the relay server can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The object.
    pub object: ObjectRef,
    /// The field, as `kubectl get -o jsonpath` would name it.
    pub field: String,
    /// The address in it, or why there is none.
    pub result: Result<Address, Reason>,
}

/// Why there is no address, as the end of a sentence about the object, and what
/// can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Such as `its load balancer has no address yet`.
    pub state: String,
    /// Such as "wait for it".
    pub hint: String,
}

/// Which port of a Service: by its name, or by its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortRef(String);

impl PortRef {
    /// A port's name, or its number in digits.
    pub fn new(name_or_number: impl Into<String>) -> Self {
        Self(name_or_number.into())
    }

    fn is(&self, port: &ServicePort) -> bool {
        port.name.as_deref() == Some(&self.0) || self.0.parse() == Ok(port.port)
    }
}

/// The nodes that a node port can be reached at, and the pods behind it.
#[derive(Debug, Default)]
pub struct Backends {
    /// All nodes of the cluster.
    pub nodes: Vec<Node>,
    /// The pods that the Service selects.
    pub pods: Vec<Pod>,
}

/// Whether the addresses of a Service are those of nodes.
pub fn needs_backends(service: &Service) -> bool {
    service_type(service) == "NodePort"
}

/// The first address among findings, and the finding it is from.
pub fn choose(findings: &[Finding]) -> Option<(&Address, &Finding)> {
    findings
        .iter()
        .find_map(|finding| Some((finding.result.as_ref().ok()?, finding)))
}

/// Every address that a Service has from outside its cluster, best first; or why
/// it has none. `backends` is read only for a Service that [`needs_backends`].
pub fn of_service(
    object: &ObjectRef,
    service: &Service,
    port: &PortRef,
    backends: &Backends,
) -> Vec<Finding> {
    let finding = |field: &str, result| Finding {
        object: object.clone(),
        field: field.to_owned(),
        result,
    };
    let ports = service
        .spec
        .as_ref()
        .and_then(|spec| spec.ports.as_deref())
        .unwrap_or_default();
    let Some(port) = ports.iter().find(|p| port.is(p)) else {
        return vec![finding("spec.ports", Err(no_such_port(port, ports)))];
    };
    let found = match service_type(service) {
        "LoadBalancer" => of_load_balancer(service, port),
        "NodePort" => of_nodes(service, port, backends),
        other => vec![(
            "spec.type".to_owned(),
            Err(Reason {
                state: format!("its type is {other}, which nothing outside the cluster can reach"),
                hint: "expose it with `kubectl relay-ingress apply --via loadbalancer` or `--via istio`"
                    .to_owned(),
            }),
        )],
    };
    found
        .into_iter()
        .map(|(field, result)| finding(&field, result))
        .collect()
}

fn service_type(service: &Service) -> &str {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.type_.as_deref())
        .unwrap_or("ClusterIP")
}

fn no_such_port(wanted: &PortRef, ports: &[ServicePort]) -> Reason {
    let known: Vec<_> = ports
        .iter()
        .map(|p| match &p.name {
            Some(name) => format!("{name} ({})", p.port),
            None => p.port.to_string(),
        })
        .collect();
    let has = match known.as_slice() {
        [] => "it has no ports".to_owned(),
        known => format!("it has {}", known.join(", ")),
    };
    Reason {
        state: format!("it has no port {:?}: {has}", wanted.0),
        hint: "name the right one with --port-name, or --ingress-port-name for the Istio ingress gateway"
            .to_owned(),
    }
}

/// Every entry as the cloud lists them; within one, the IP before the hostname.
/// A hostname stays one: what it resolves to today may be gone tomorrow.
fn of_load_balancer(service: &Service, port: &ServicePort) -> Vec<(String, Result<Address, Reason>)> {
    let status = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    let entries = status.and_then(|lb| lb.ingress.as_deref()).unwrap_or_default();
    let mut found = Vec::new();
    for (i, entry) in entries.iter().enumerate() {
        for (key, host) in [("ip", &entry.ip), ("hostname", &entry.hostname)] {
            if let Some(host) = host.as_deref().filter(|host| !host.is_empty()) {
                let field = format!("status.loadBalancer.ingress[{i}].{key}");
                found.push((
                    field,
                    Address::new(host, port.port).ok_or_else(|| unusable(host, port.port)),
                ));
            }
        }
    }
    if found.is_empty() {
        found.push((
            "status.loadBalancer.ingress".to_owned(),
            Err(Reason {
                state: "its type is LoadBalancer, and its load balancer has no address yet".to_owned(),
                hint:
                    "wait until the cloud has made it; `kubectl describe service` shows what it waits for, \
                       and on a cluster without load balancers (kind, bare metal) it stays like this"
                        .to_owned(),
            }),
        ));
    }
    found
}

/// The node port on every Ready node. A node that runs a ready pod comes first;
/// under `externalTrafficPolicy: Local` no other node answers at all.
fn of_nodes(
    service: &Service,
    port: &ServicePort,
    backends: &Backends,
) -> Vec<(String, Result<Address, Reason>)> {
    let spec = service.spec.as_ref();
    let local = spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local");
    let node_port = port.node_port.unwrap_or_default();
    let mut ranked = Vec::new();
    for node in &backends.nodes {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let runs_pod = backends
            .pods
            .iter()
            .any(|pod| is_ready_pod(pod) && runs_on(pod, name));
        if !is_ready_node(node) || (local && !runs_pod) {
            continue;
        }
        if let Some((rank, kind, host)) = best_node_address(node) {
            let address = Address::new(host, node_port).ok_or_else(|| unusable(host, node_port));
            ranked.push(((!runs_pod, rank), (format!("node {name} {kind}"), address)));
        }
    }
    // Stable: among equals, nodes stay in the order the API server lists them.
    ranked.sort_by_key(|(rank, _)| *rank);
    let mut found: Vec<_> = ranked.into_iter().map(|(_, found)| found).collect();
    if found.is_empty() {
        let (state, hint) = match (backends.nodes.iter().any(is_ready_node), local) {
            (false, _) => (
                "its type is NodePort, and no node is Ready",
                "see `kubectl get nodes`",
            ),
            (true, true) => (
                "its type is NodePort with externalTrafficPolicy Local, and no Ready node runs a ready pod of it",
                "see `kubectl get pods -o wide` in its namespace for where its pods are and why none is ready",
            ),
            (true, false) => (
                "its type is NodePort, and no Ready node has an address",
                "see `kubectl get nodes -o wide`",
            ),
        };
        let reason = Reason {
            state: state.to_owned(),
            hint: hint.to_owned(),
        };
        found.push(("spec.ports".to_owned(), Err(reason)));
    }
    found
}

/// The node's address that is most likely reachable from another cluster, with
/// its rank and its type.
fn best_node_address(node: &Node) -> Option<(usize, &str, &str)> {
    const ORDER: [&str; 5] = [
        "ExternalIP",
        "ExternalDNS",
        "InternalIP",
        "InternalDNS",
        "Hostname",
    ];
    let addresses = node.status.as_ref()?.addresses.as_deref()?;
    addresses
        .iter()
        .filter(|a| !a.address.is_empty())
        .filter_map(|a| {
            Some((
                ORDER.iter().position(|kind| *kind == a.type_)?,
                a.type_.as_str(),
                a.address.as_str(),
            ))
        })
        .min_by_key(|(rank, ..)| *rank)
}

fn is_ready_node(node: &Node) -> bool {
    let conditions = node
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    conditions
        .iter()
        .any(|c| c.type_ == "Ready" && c.status == "True")
}

/// Whether a pod is Ready and stays.
pub fn is_ready_pod(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .as_ref()
        .and_then(|s| s.conditions.as_deref())
        .unwrap_or_default();
    pod.metadata.deletion_timestamp.is_none()
        && conditions
            .iter()
            .any(|c| c.type_ == "Ready" && c.status == "True")
}

fn runs_on(pod: &Pod, node: &str) -> bool {
    pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node)
}

fn unusable(host: &str, port: i32) -> Reason {
    Reason {
        state: format!("{host:?} with port {port} is not an address that can be dialled"),
        hint: "see what writes this status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// What is found, best first: addresses as `FIELD ADDRESS`, reasons as they are.
    fn found(service: Value, port: &str, nodes: &[Value], pods: &[Value]) -> Vec<String> {
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
        };
        let findings = of_service(&object, &service, &PortRef::new(port), &backends);
        let shown = findings.into_iter().map(|finding| match finding.result {
            Ok(address) => format!("{} {address}", finding.field),
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
        let inside =
            |type_: &str| format!("its type is {type_}, which nothing outside the cluster can reach");
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
            &[
                "its type is NodePort with externalTrafficPolicy Local, and no Ready node runs a ready pod of it",
            ],
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
    fn a_nodes_best_address_is_the_one_others_can_reach() {
        let all = [
            ("Hostname", "host"),
            ("InternalDNS", "in.example"),
            ("InternalIP", "10.0.0.1"),
            ("ExternalDNS", "out.example"),
            ("ExternalIP", "192.0.2.1"),
        ];
        for (count, (kind, address)) in all.iter().enumerate() {
            let got = found(
                node_port(json!({})),
                "https",
                &[node("n", true, &all[..=count])],
                &[],
            );
            assert_eq!(got, [format!("node n {kind} {address}:30443")]);
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
    }

    #[test]
    fn the_first_address_is_chosen() {
        let finding = |result| Finding {
            object: ObjectRef::new::<Service>("ns", "name"),
            field: "f".to_owned(),
            result,
        };
        let reason = || {
            Err(Reason {
                state: "s".to_owned(),
                hint: "h".to_owned(),
            })
        };
        let address = |host| Address::new(host, 1).ok_or_else(|| unusable(host, 1));
        let findings = [finding(reason()), finding(address("a")), finding(address("b"))];
        assert_eq!(choose(&findings).map(|(address, _)| address.host()), Some("a"));
        assert_eq!(choose(&findings[..1]), None);
    }
}
