//! The addresses that a Service has from outside its cluster: pure decisions about
//! objects that were read before.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};

use crate::{
    candidate::{Candidate, Found, Preferences, Reason, Source},
    cluster::ObjectRef,
    node_port::{self, Backends},
};

/// Which port of a Service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PortRef {
    /// The one of this name, or of this number in digits.
    Named(String),
    /// The one that leads to a server of a Gateway: Istio has a server listen at the
    /// target of the port that has its number, or else at its number.
    Server(u16),
}

impl PortRef {
    /// A port's name, or its number in digits.
    pub fn new(name_or_number: impl Into<String>) -> Self {
        Self::Named(name_or_number.into())
    }

    /// The port of a Service that is meant; a port for UDP (HTTP/3) never is.
    pub fn find<'p>(&self, ports: &'p [ServicePort]) -> Option<&'p ServicePort> {
        let is_tcp = |port: &&ServicePort| port.protocol.as_deref().is_none_or(|p| p == "TCP");
        let find = |is: &dyn Fn(&ServicePort) -> bool| ports.iter().filter(is_tcp).find(|port| is(port));
        match self {
            Self::Named(name) => find(&|port| port.name.as_deref() == Some(name))
                .or_else(|| find(&|port| name.parse() == Ok(port.port))),
            Self::Server(server) => {
                let number = i32::from(*server);
                find(&|port| port.port == number)
                    .or_else(|| find(&|port| port.target_port == Some(IntOrString::Int(number))))
            }
        }
    }
}

/// Whether node ports of a Service count.
pub fn needs_backends(service: &Service, preferences: &Preferences) -> bool {
    match service_type(service) {
        "NodePort" => true,
        "LoadBalancer" => preferences.node_port,
        _ => false,
    }
}

/// Every address that a Service has from outside its cluster, best first; or why
/// it has none. `backends` is read only for a Service that [`needs_backends`].
pub fn of_service(
    source: Source,
    object: &ObjectRef,
    service: &Service,
    port: &PortRef,
    backends: &Backends,
    preferences: &Preferences,
) -> Vec<Candidate> {
    let candidate = |(field, result)| Candidate {
        source,
        object: object.clone(),
        field,
        result,
    };
    let spec = service.spec.as_ref();
    let ports = spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default();
    let Some(port) = port.find(ports) else {
        return vec![candidate((
            "spec.ports".to_owned(),
            Err(no_such_port(port, ports)),
        ))];
    };
    let kind = service_type(service);
    let mut found = Vec::new();
    if needs_backends(service, preferences) {
        found.extend(node_port::of_nodes(service, port, backends, preferences));
    }
    if kind == "LoadBalancer" {
        found.extend(of_load_balancer(service, port, preferences));
    }
    let external = match kind {
        // Nothing of it is in the cluster, so nothing takes these addresses to it.
        "ExternalName" => Vec::new(),
        _ => of_external_ips(service, port, preferences),
    };
    if found.is_empty() && external.is_empty() {
        found.push(("spec.type".to_owned(), Err(internal(source, kind))));
    }
    found.extend(external);
    found.into_iter().map(candidate).collect()
}

/// The type of a Service.
pub fn service_type(service: &Service) -> &str {
    service
        .spec
        .as_ref()
        .and_then(|spec| spec.type_.as_deref())
        .unwrap_or("ClusterIP")
}

fn internal(source: Source, kind: &str) -> Reason {
    let hint = match source {
        Source::Service => "expose it with `kubectl relay-ingress apply --via loadbalancer` or `--via istio`",
        // Whose gateway it is, its type is theirs to choose.
        _ => "give it the type LoadBalancer or NodePort, for which Istio's gateway chart has `service.type`",
    };
    let state = format!("its type is {kind}, which nothing outside the cluster can reach");
    Reason::new(state, hint)
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
    match wanted {
        PortRef::Named(name) => Reason::new(
            format!("it has no port {name:?}: {has}"),
            "name the right one with --port-name, or --ingress-port-name for the Istio ingress gateway",
        ),
        PortRef::Server(server) => Reason::new(
            format!("it has no port that leads to {server} of its gateway: {has}"),
            "add that port to it, or name another with --ingress-port-name",
        ),
    }
}

/// Every entry as the cloud lists them; within one, the IP before the hostname.
/// A hostname stays one: what it resolves to today may be gone tomorrow.
fn of_load_balancer(service: &Service, port: &ServicePort, preferences: &Preferences) -> Vec<Found> {
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
                found.push((field, preferences.address(host, port.port)));
            }
        }
    }
    preferences.rank(&mut found);
    if found.is_empty() {
        let reason = Reason::pending(
            "its type is LoadBalancer, and its load balancer has no address yet",
            "wait until the cloud has made it, as `kubectl relay-address --wait` does; where no load balancer \
             will come (kind, bare metal), `kubectl relay-address --node-port` takes a node's address and its \
             node port; `kubectl describe service` shows what it waits for",
        );
        found.push(("status.loadBalancer.ingress".to_owned(), Err(reason)));
    }
    found
}

/// Addresses that somebody else leads to the nodes.
fn of_external_ips(service: &Service, port: &ServicePort, preferences: &Preferences) -> Vec<Found> {
    let spec = service.spec.as_ref();
    let ips = spec
        .and_then(|spec| spec.external_ips.as_deref())
        .unwrap_or_default();
    ips.iter()
        .enumerate()
        .map(|(i, ip)| {
            let field = format!("spec.externalIPs[{i}]");
            (field, preferences.address(ip, port.port))
        })
        .collect()
}

#[cfg(test)]
mod tests;
