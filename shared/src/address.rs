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
    fn new(host: &str, port: i32) -> Option<Self> {
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
        state: format!("it has no port {:?}; {has}", wanted.0).replacen("; it has ", ": it has ", 1),
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

fn is_ready_pod(pod: &Pod) -> bool {
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
