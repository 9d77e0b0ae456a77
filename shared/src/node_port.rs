//! Which nodes answer on a node port: pure decisions about nodes and pods.

use std::{collections::HashSet, net::IpAddr};

use clap::ValueEnum as _;
use k8s_openapi::api::core::v1::{Node, NodeAddress, Service, ServicePort};

use crate::{
    address::NodeAddressType,
    candidate::{Found, Preferences, Reason},
    error::Error,
    pod::Pod,
};

/// The nodes that a node port can be reached at, and the pods behind it.
#[derive(Debug, Default)]
pub struct Backends {
    /// All nodes of the cluster.
    pub nodes: Vec<Node>,
    /// The pods that the Service selects.
    pub pods: Vec<Pod>,
    /// Why the nodes or the pods may not be read, if so.
    pub unread: Option<Error>,
}

/// The node port on every address of every Ready node. A node that runs a ready pod comes first;
/// under `externalTrafficPolicy: Local` no other node answers at all.
pub(crate) fn of_nodes(
    service: &Service,
    port: &ServicePort,
    backends: &Backends,
    preferences: &Preferences,
) -> Vec<Found> {
    let spec = service.spec.as_ref();
    let kind = spec.and_then(|spec| spec.type_.as_deref()).unwrap_or_default();
    let nothing = |reason| vec![("spec.ports".to_owned(), Err(reason))];
    let Some(node_port) = port.node_port.filter(|port| *port != 0) else {
        return nothing(Reason::new(
            format!("its type is {kind}, and this port has no node port"),
            "the field `allocateLoadBalancerNodePorts` of its spec may turn node ports off",
        ));
    };
    if let Some(refusal) = &backends.unread {
        let what = format!("its type is {kind}, and which nodes answer cannot be read");
        return nothing(Reason::refused(&what, refusal.clone()));
    }
    let local = spec.and_then(|s| s.external_traffic_policy.as_deref()) == Some("Local");
    let running = backends.running();
    let runs_pod = |node: &Node| {
        node.metadata
            .name
            .as_deref()
            .is_some_and(|name| running.contains(name))
    };
    let ready = backends.nodes.iter().filter(|node| is_ready_node(node));
    let answering: Vec<_> = ready.filter(|node| !local || runs_pod(node)).collect();
    let mut ranked = Vec::new();
    for node in &answering {
        let name = node.metadata.name.as_deref().unwrap_or_default();
        let addresses = addresses(node, service, node_port, preferences);
        for (nth, Ranked { unfit, rank, address }) in addresses.into_iter().enumerate() {
            // The best of each node comes before what else they have.
            if nth > 0 && unfit != FIT {
                break;
            }
            let field = format!("node {name} {}", address.type_);
            let result = preferences.address(&address.address, node_port);
            ranked.push(((unfit, nth > 0, !runs_pod(node), rank), (field, result)));
        }
    }
    if ranked.is_empty() {
        return nothing(no_address(kind, backends, &answering, preferences));
    }
    // Stable: among equals, nodes stay in the order the API server lists them.
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, found)| found).collect()
}

impl Backends {
    /// The names of the nodes that run a ready pod.
    fn running(&self) -> HashSet<&str> {
        let ready = self.pods.iter().filter(|pod| pod.is_ready());
        ready
            .filter_map(|pod| pod.spec.as_ref()?.node_name.as_deref())
            .collect()
    }
}

/// Why a Service has no address on any node.
fn no_address(kind: &str, backends: &Backends, answering: &[&Node], preferences: &Preferences) -> Reason {
    if !answering.is_empty() {
        let types = preferences.node_address_types.iter().map(|kind| kind.name());
        let state = match types.collect::<Vec<_>>().as_slice() {
            [] => "no Ready node has an address".to_owned(),
            types => format!(
                "no node that answers has an address of type {}",
                types.join(" or ")
            ),
        };
        return Reason::new(
            format!("its type is {kind}, and {state}"),
            "see `kubectl get nodes -o wide`, and --node-address-type",
        );
    }
    match backends.nodes.iter().any(is_ready_node) {
        false => Reason::new(
            format!("its type is {kind}, and no node is Ready"),
            "see `kubectl get nodes`",
        ),
        true => Reason::new(
            format!(
                "its type is {kind} with externalTrafficPolicy Local, and no Ready node runs a ready pod of it"
            ),
            "see `kubectl get pods -o wide` in its namespace for where its pods are and why none is ready",
        ),
    }
}

/// An address of a node, and how likely it is reached from another cluster.
struct Ranked<'n> {
    /// Whether it cannot be dialled, and whether it is an IP of a family that the Service
    /// has not: the node does not answer there, and only something before it might.
    unfit: (bool, bool),
    /// That of its type.
    rank: usize,
    address: &'n NodeAddress,
}

/// Nothing speaks against an address.
const FIT: (bool, bool) = (false, false);

/// The addresses of a node, the one that is most likely reached first.
fn addresses<'n>(node: &'n Node, service: &Service, port: i32, preferences: &Preferences) -> Vec<Ranked<'n>> {
    let types = match preferences.node_address_types.as_slice() {
        [] => NodeAddressType::value_variants(),
        types => types,
    };
    let status = node.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_deref());
    let addresses = addresses.unwrap_or_default().iter();
    let ranked = addresses
        .filter(|address| !address.address.is_empty())
        .filter_map(|address| {
            let host = &address.address;
            Some(Ranked {
                unfit: (
                    preferences.address(host, port).is_err(),
                    !serves_family(service, host),
                ),
                rank: types.iter().position(|kind| kind.name() == address.type_)?,
                address,
            })
        });
    let mut ranked: Vec<_> = ranked.collect();
    ranked.sort_by_key(|ranked| (ranked.unfit, ranked.rank));
    ranked
}

/// Whether a Service listens on addresses of a host's family.
fn serves_family(service: &Service, host: &str) -> bool {
    let families = service.spec.as_ref().and_then(|spec| spec.ip_families.as_deref());
    let Some(families) = families.filter(|families| !families.is_empty()) else {
        return true;
    };
    let wanted = match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => "IPv4",
        Ok(IpAddr::V6(_)) => "IPv6",
        Err(_) => return true,
    };
    families.iter().any(|family| family == wanted)
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
