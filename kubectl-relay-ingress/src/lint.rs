//! What would keep agents from the relay server, found before it is applied or after:
//! decisions about values that were read before.

use std::{collections::BTreeMap, fmt};

use k8s_openapi::{
    api::core::v1::{Node, Pod, Service, ServicePort},
    apimachinery::pkg::util::intstr::IntOrString,
};
use relay_shared::{Error, address::is_ready_pod, cluster::ObjectRef};
use serde_json::{Value, json};

use crate::{
    route::{Route, covers, labels, reference, servers},
    service::type_of,
    target::Relay,
};

/// Something that was found, as a sentence about an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lint {
    pub(crate) severity: Severity,
    /// What it is about, as errors name it.
    pub(crate) object: String,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// What a finding means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Severity {
    /// Agents may be kept away.
    Warning,
    /// No agent gets through.
    Error,
}

impl Lint {
    pub(crate) fn error(
        object: impl fmt::Display,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self {
            severity: Severity::Error,
            object: object.to_string(),
            message: message.into(),
            hint: hint.into(),
        }
    }

    fn warning(object: impl fmt::Display, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            ..Self::error(object, message, hint)
        }
    }

    /// The finding as an error.
    pub(crate) fn to_error(&self) -> Error {
        Error::new(&self.message).object(&self.object).hint(&self.hint)
    }

    /// The finding in a context, as errors are shown.
    pub(crate) fn shown(&self, context: &str) -> String {
        let shown = self.to_error().context(context).to_string();
        match (self.severity, shown.strip_prefix("error: ")) {
            (Severity::Warning, Some(rest)) => format!("warning: {rest}"),
            _ => shown,
        }
    }
}

/// What a cluster says about its ingress gateways.
#[derive(Debug, Default)]
pub(crate) struct Ingress {
    /// Every Gateway.
    pub(crate) gateways: Vec<Value>,
    /// Every pod that carries the selector of a route, and where none is ready, every
    /// pod that has a label `istio`; `None` where they may not be read.
    pub(crate) pods: Option<Vec<Pod>>,
    /// The Services in the namespaces of these pods.
    pub(crate) services: Vec<Service>,
}

impl Ingress {
    /// The Services that lead to ready pods with these labels.
    pub(crate) fn services(&self, selector: &BTreeMap<String, String>) -> Vec<&Service> {
        let pods: Vec<_> = self.ready_pods(selector).collect();
        let services = self.services.iter().filter(|service| {
            let selects = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            selects.is_some_and(|selects| {
                let leads_to = |pod: &&Pod| {
                    pod.metadata.namespace == service.metadata.namespace && carries(pod, selects)
                };
                !selects.is_empty() && pods.iter().any(leads_to)
            })
        });
        services.collect()
    }

    /// The Service through which a route is entered, rather one that the outside
    /// reaches, and its port.
    pub(crate) fn entrance(&self, route: &Route) -> Option<(&Service, i32)> {
        let services = self.services(&route.selector).into_iter();
        let entrances = services.filter_map(|service| Some((service, port_to(service, route.port)?)));
        entrances.min_by_key(|(service, _)| is_internal(service))
    }

    fn ready_pods<'a>(&'a self, selector: &'a BTreeMap<String, String>) -> impl Iterator<Item = &'a Pod> {
        let pods = self.pods.iter().flatten();
        pods.filter(move |pod| is_ready_pod(pod) && carries(pod, selector))
    }

    /// Whether two selectors have a ready pod in common.
    fn overlap(&self, one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
        match self.pods {
            Some(_) => self.ready_pods(one).any(|pod| carries(pod, other)),
            None => one == other || other.is_empty(),
        }
    }
}

/// Finds what is wrong with a way through an Istio ingress gateway to a relay
/// server, whose Service is given if there is one.
pub(crate) fn route(route: &Route, relay: &Relay, service: Option<&Service>, ingress: &Ingress) -> Vec<Lint> {
    let host = &relay.host;
    let mut found = Vec::new();
    if route.mode != "PASSTHROUGH" {
        found.push(Lint::error(
            &route.gateway,
            format!(
                "its server for {host} has TLS mode {}, so agents do not meet the relay server's certificate",
                route.mode
            ),
            "set the mode to PASSTHROUGH, as `kubectl relay-ingress apply --via istio` does",
        ));
    }
    found.extend(pods(route, ingress));
    found.extend(rivals(route, host, ingress));
    found.extend(destination(route, relay, service));
    found
}

/// The pods behind the Gateway, and the port that leads to them.
fn pods(route: &Route, ingress: &Ingress) -> Option<Lint> {
    let Route {
        gateway,
        selector,
        port,
        ..
    } = route;
    ingress.pods.as_ref()?;
    if ingress.ready_pods(selector).next().is_none() {
        return Some(no_pod(route, ingress));
    }
    let services = ingress.services(selector);
    if services.is_empty() {
        return Some(Lint::error(
            gateway,
            format!("no Service leads to the pods with {}", joined(selector)),
            "make one of type LoadBalancer or NodePort, as Istio's gateway chart does",
        ));
    }
    let Some((entrance, _)) = ingress.entrance(route) else {
        let service = services[0];
        let known: Vec<_> = ports(service).iter().map(shown).collect();
        return Some(Lint::error(
            of(service),
            format!(
                "it has no port that reaches {port} of the gateway: it has {}",
                known.join(", ")
            ),
            format!("add the port to it, or take another with --port; {gateway} is told which"),
        ));
    };
    is_internal(entrance).then(|| {
        let object = of(entrance);
        let [namespace, name] = [&entrance.metadata.namespace, &entrance.metadata.name]
            .map(|part| part.as_deref().unwrap_or_default());
        Lint::warning(
            object,
            "its type is ClusterIP, which nothing outside the cluster can reach",
            format!(
                "it is not ours to change: set `service.type` of Istio's gateway chart, or run\n\
                 kubectl -n {namespace} patch service {name} --type merge -p '{}'",
                json!({ "spec": { "type": "LoadBalancer" } }),
            ),
        )
    })
}

fn no_pod(route: &Route, ingress: &Ingress) -> Lint {
    let selector = joined(&route.selector);
    if ingress
        .pods
        .iter()
        .flatten()
        .any(|pod| carries(pod, &route.selector))
    {
        return Lint::error(
            &route.gateway,
            format!("no pod with {selector} is ready"),
            format!("see `kubectl get pods --all-namespaces --selector {selector}`"),
        );
    }
    let mut others: Vec<_> = ingress
        .pods
        .iter()
        .flatten()
        .filter(|pod| is_ready_pod(pod))
        .filter_map(|pod| {
            let value = pod.metadata.labels.as_ref()?.get("istio")?;
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            value
                .contains("ingress")
                .then(|| format!("--gateway-selector istio={value} would find pods in {namespace}"))
        })
        .collect();
    others.sort_unstable();
    others.dedup();
    let hint = match others.is_empty() {
        true => "install an Istio ingress gateway, or say which labels its pods have with --gateway-selector"
            .to_owned(),
        false => others.join("; "),
    };
    Lint::error(&route.gateway, format!("no pod has {selector}"), hint)
}

/// Other Gateways whose hosts on the same port of the same pods overlap.
fn rivals(route: &Route, host: &str, ingress: &Ingress) -> Vec<Lint> {
    let mut found = Vec::new();
    for rival in &ingress.gateways {
        let object = reference(rival);
        let selector = labels(&rival["spec"]["selector"]);
        let is_apart = !ingress.overlap(&route.selector, &selector);
        if is_apart
            || (object.namespace(), object.name()) == (route.gateway.namespace(), route.gateway.name())
        {
            continue;
        }
        for server in servers(rival).filter(|server| server.port == route.port) {
            let overlaps = |pattern: &str| {
                match pattern == host {
                true => Some(Lint::error(
                    &object,
                    format!("it has {host} on port {} of the same pods, too, and only one of the two counts", route.port),
                    "delete one of them, or choose another with --host or --port",
                )),
                false => covers(pattern, host).then(|| Lint::warning(
                    &object,
                    format!("its {pattern} on port {} of the same pods includes {host}; Istio prefers the exact name", route.port),
                    "see that no route for it takes the relay's connections",
                )),
            }
            };
            found.extend(server.hosts().filter_map(overlaps));
        }
    }
    found
}

/// Where the way ends.
fn destination(route: &Route, relay: &Relay, service: Option<&Service>) -> Option<Lint> {
    let host = &relay.host;
    let wanted = relay.service.cluster_local();
    let Some(destination) = route
        .destinations
        .iter()
        .find(|d| d.host == wanted)
        .or(route.destinations.first())
    else {
        return Some(Lint::error(
            &route.gateway,
            format!(
                "no VirtualService leads on from it for {host} on port {}",
                route.port
            ),
            "run `kubectl relay-ingress apply --via istio`",
        ));
    };
    let object = &destination.virtual_service;
    if destination.host != wanted {
        return Some(Lint::error(
            object,
            format!(
                "it leads to {}, not to the relay server at {wanted}",
                destination.host
            ),
            "name the relay server with --namespace and --service, or mend the route",
        ));
    }
    let Some(service) = service else {
        return Some(Lint::error(
            object,
            format!("it leads to {wanted}, and there is no such service"),
            "install Gloo Mesh Enterprise first, or say where it is with --namespace and --service",
        ));
    };
    let known = ports(service);
    let exists = match destination.port {
        Some(port) => known.iter().any(|p| p.port == i32::from(port)),
        None => known.len() == 1,
    };
    let port = destination
        .port
        .map_or("without a number".to_owned(), |port| port.to_string());
    (!exists).then(|| {
        let known: Vec<_> = known.iter().map(shown).collect();
        Lint::error(
            object,
            format!(
                "it leads to port {port} of {wanted}, which has {}",
                known.join(", ")
            ),
            "run `kubectl relay-ingress apply --via istio` to follow the Service",
        )
    })
}

/// Whether a Service waits for a load balancer's address.
pub(crate) fn waits_for_load_balancer(service: &Service) -> bool {
    type_of(service) == "LoadBalancer" && !has_address(service)
}

fn has_address(service: &Service) -> bool {
    let status = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    status.is_some_and(|status| status.ingress.as_ref().is_some_and(|ingress| !ingress.is_empty()))
}

/// Warns of a Service that waits for a load balancer where none is to be expected.
pub(crate) fn load_balancer(service: &Service, nodes: &[Node], services: &[Service]) -> Option<Lint> {
    if nodes.is_empty() || has_address(service) || services.iter().any(has_address) {
        return None;
    }
    let provider = |node: &Node| {
        node.spec
            .as_ref()
            .and_then(|spec| spec.provider_id.clone())
            .unwrap_or_default()
    };
    let why = match nodes.iter().map(provider).collect::<Vec<_>>().as_slice() {
        nodes if nodes.iter().all(|node| node.starts_with("kind://")) => {
            "this is kind, which has none by default"
        }
        nodes if nodes.iter().all(String::is_empty) => "no node belongs to a cloud, and no Service has one",
        _ => return None,
    };
    Some(Lint::warning(
        of(service),
        format!("no load balancer is to be expected: {why}"),
        "install one (MetalLB, cloud-provider-kind), or use node ports: `kubectl relay-ingress apply --via nodeport`",
    ))
}

/// The port of a Service that leads to a server of a Gateway: a server listens at the
/// target of the port that has its number, or else at its number.
fn port_to(service: &Service, server: u16) -> Option<i32> {
    let wanted = i32::from(server);
    let ports = ports(service);
    let same = ports.iter().find(|port| port.port == wanted);
    let found = same.or_else(|| {
        ports
            .iter()
            .find(|port| port.target_port == Some(IntOrString::Int(wanted)))
    });
    found.map(|port| port.port)
}

fn is_internal(service: &Service) -> bool {
    !matches!(type_of(service), "LoadBalancer" | "NodePort")
}

fn ports(service: &Service) -> &[ServicePort] {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

fn shown(port: &ServicePort) -> String {
    match &port.name {
        Some(name) => format!("{name} ({})", port.port),
        None => port.port.to_string(),
    }
}

pub(crate) fn of(service: &Service) -> ObjectRef {
    let [namespace, name] =
        [&service.metadata.namespace, &service.metadata.name].map(|part| part.as_deref().unwrap_or_default());
    ObjectRef::new::<Service>(namespace, name)
}

fn carries(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}

pub(crate) fn joined(selector: &BTreeMap<String, String>) -> String {
    let labels: Vec<_> = selector
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    labels.join(",")
}

#[cfg(test)]
mod tests {
    use relay_shared::relay::RelayHost;

    use super::*;

    const HOST: &str = "enterprise-networking.gloo-mesh";

    /// A cluster in which all is well, for cases to bend.
    struct Case {
        gateway: Value,
        virtual_service: Value,
        /// Other Gateways.
        rivals: Vec<Value>,
        pods: Vec<Value>,
        services: Vec<Value>,
        relay: Option<Value>,
    }

    fn gateway(name: &str, hosts: &[&str]) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": { "name": name, "namespace": "gloo-mesh" },
            "spec": {
                "selector": { "istio": "ingressgateway" },
                "servers": [{ "port": { "number": 443 }, "tls": { "mode": "PASSTHROUGH" }, "hosts": hosts }],
            },
        })
    }

    fn pod(labels: Value, ready: &str) -> Value {
        json!({
            "metadata": { "name": "p", "namespace": "istio-system", "labels": labels },
            "status": { "conditions": [{ "type": "Ready", "status": ready }] },
        })
    }

    fn sound() -> Case {
        let destination = json!({
            "host": "enterprise-networking.gloo-mesh.svc.cluster.local",
            "port": { "number": 9900 },
        });
        let rule = json!({ "port": 443, "sniHosts": [HOST] });
        Case {
            gateway: gateway("ours", &[HOST]),
            virtual_service: json!({
                "apiVersion": "networking.istio.io/v1",
                "kind": "VirtualService",
                "metadata": { "name": "ours", "namespace": "gloo-mesh" },
                "spec": {
                    "gateways": ["gloo-mesh/ours"],
                    "tls": [{ "match": [rule], "route": [{ "destination": destination }] }],
                },
            }),
            rivals: Vec::new(),
            pods: vec![pod(json!({ "istio": "ingressgateway" }), "True")],
            services: vec![json!({
                "metadata": { "name": "ingress", "namespace": "istio-system" },
                "spec": {
                    "type": "LoadBalancer",
                    "selector": { "istio": "ingressgateway" },
                    "ports": [{ "name": "https", "port": 443, "targetPort": 8443 }],
                },
            })],
            relay: Some(json!({ "spec": { "ports": [{ "name": "grpc", "port": 9900 }] } })),
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("is an object of its kind")
    }

    /// What is found in a bent case: severity, object and message.
    #[track_caller]
    fn check(bend: impl FnOnce(&mut Case), want: &[&str]) {
        let mut case = sound();
        bend(&mut case);
        let routes = Route::all(&[case.gateway.clone()], &[case.virtual_service], HOST);
        let ingress = Ingress {
            gateways: [vec![case.gateway], case.rivals].concat(),
            pods: Some(case.pods.into_iter().map(parse).collect()),
            services: case.services.into_iter().map(parse).collect(),
        };
        let service: Option<Service> = case.relay.map(parse);
        let relay = Relay::new(
            RelayHost::new("enterprise-networking", "gloo-mesh"),
            service.as_ref(),
            None,
        );
        let found = routes
            .iter()
            .flat_map(|r| route(r, &relay, service.as_ref(), &ingress));
        let found: Vec<_> = found
            .map(|lint| format!("{:?} {} {}", lint.severity, lint.object, lint.message))
            .collect();
        assert_eq!(found, want);
    }

    #[test]
    fn a_sound_way_has_nothing_wrong() {
        check(|_| (), &[]);
        // The server listens at its own number where no port of the Service has it.
        check(
            |case| case.services[0]["spec"]["ports"] = json!([{ "port": 8443, "targetPort": 443 }]),
            &[],
        );
        check(
            |case| case.rivals = vec![gateway("other", &["other.gloo-mesh"])],
            &[],
        );
    }

    #[test]
    fn gateways_need_pods_and_ports() {
        let on = "Error gateway gloo-mesh/ours";
        check(
            |case| case.pods = vec![pod(json!({ "istio": "ingressgateway" }), "False")],
            &[&format!("{on} no pod with istio=ingressgateway is ready")],
        );
        check(
            |case| case.pods = vec![pod(json!({ "istio": "ingress" }), "True")],
            &[&format!("{on} no pod has istio=ingressgateway")],
        );
        check(
            |case| case.services.clear(),
            &[&format!(
                "{on} no Service leads to the pods with istio=ingressgateway"
            )],
        );
        check(
            |case| case.services[0]["metadata"]["namespace"] = json!("elsewhere"),
            &[&format!(
                "{on} no Service leads to the pods with istio=ingressgateway"
            )],
        );
        check(
            |case| {
                case.services[0]["spec"]["ports"] =
                    json!([{ "name": "http", "port": 80, "targetPort": 8080 }]);
            },
            &[
                "Error service istio-system/ingress it has no port that reaches 443 of the gateway: it has http (80)",
            ],
        );
        check(
            |case| case.services[0]["spec"]["type"] = json!("ClusterIP"),
            &[
                "Warning service istio-system/ingress its type is ClusterIP, which nothing outside the cluster can reach",
            ],
        );
        check(
            |case| case.gateway["spec"]["servers"][0]["tls"]["mode"] = json!("SIMPLE"),
            &[&format!(
                "{on} its server for {HOST} has TLS mode SIMPLE, so agents do not meet the relay server's certificate"
            )],
        );
    }

    #[test]
    fn the_labels_that_would_do_are_named() {
        #[track_caller]
        fn check(pods: &[Value], want: &str) {
            let ingress = Ingress {
                pods: Some(pods.iter().cloned().map(parse).collect()),
                ..Ingress::default()
            };
            let routes = Route::all(&[gateway("ours", &[HOST])], &[], HOST);
            assert_eq!(no_pod(&routes[0], &ingress).hint, want);
        }
        let install =
            "install an Istio ingress gateway, or say which labels its pods have with --gateway-selector";
        check(&[], install);
        check(&[pod(json!({ "istio": "pilot" }), "True")], install);
        check(&[pod(json!({ "istio": "ingress" }), "False")], install);
        let charts = pod(json!({ "istio": "ingress" }), "True");
        check(
            &[charts.clone(), charts],
            "--gateway-selector istio=ingress would find pods in istio-system",
        );
    }

    #[test]
    fn one_host_has_one_gateway() {
        let on = "gateway gloo-mesh/other";
        let taken =
            format!("it has {HOST} on port 443 of the same pods, too, and only one of the two counts");
        check(
            |case| case.rivals = vec![gateway("other", &[HOST])],
            &[&format!("Error {on} {taken}")],
        );
        check(
            |case| case.rivals = vec![gateway("other", &["*/enterprise-networking.gloo-mesh"])],
            &[&format!("Error {on} {taken}")],
        );
        for wildcard in ["*.gloo-mesh", "*"] {
            let want = format!(
                "Warning {on} its {wildcard} on port 443 of the same pods includes {HOST}; Istio prefers the exact name"
            );
            check(|case| case.rivals = vec![gateway("other", &[wildcard])], &[&want]);
        }
        let apart = |pointer: &str, value: Value| {
            let mut rival = gateway("other", &[HOST]);
            *rival.pointer_mut(pointer).expect("is there") = value;
            check(|case| case.rivals = vec![rival], &[]);
        };
        apart("/spec/servers/0/port/number", json!(8443));
        apart("/spec/selector/istio", json!("other"));
    }

    #[test]
    fn the_way_ends_at_the_relay_server() {
        let on = "Error virtualservice gloo-mesh/ours";
        let host = "enterprise-networking.gloo-mesh.svc.cluster.local";
        check(
            |case| case.virtual_service["spec"]["gateways"] = json!(["mesh"]),
            &[&format!(
                "Error gateway gloo-mesh/ours no VirtualService leads on from it for {HOST} on port 443"
            )],
        );
        check(
            |case| case.relay = None,
            &[&format!("{on} it leads to {host}, and there is no such service")],
        );
        check(
            |case| {
                case.relay =
                    Some(json!({ "spec": { "ports": [{ "name": "grpc", "port": 9977 }, { "port": 80 }] } }));
            },
            &[&format!(
                "{on} it leads to port 9900 of {host}, which has grpc (9977), 80"
            )],
        );
        let pointer = "/spec/tls/0/route/0/destination/host";
        check(
            |case| {
                *case.virtual_service.pointer_mut(pointer).expect("is there") =
                    json!("other.gloo-mesh.svc.cluster.local");
            },
            &[&format!(
                "{on} it leads to other.gloo-mesh.svc.cluster.local, not to the relay server at {host}"
            )],
        );
    }

    #[test]
    fn load_balancers_are_expected_in_clouds() {
        #[track_caller]
        fn check(service: Value, nodes: &[Value], others: &[Value], want: Option<&str>) {
            let nodes: Vec<Node> = nodes.iter().cloned().map(parse).collect();
            let others: Vec<Service> = others.iter().cloned().map(parse).collect();
            let found = load_balancer(&parse(service), &nodes, &others);
            let message = found.map(|lint| lint.message);
            let want = want.map(|why| format!("no load balancer is to be expected: {why}"));
            assert_eq!(message, want);
        }
        let node = |provider: &str| json!({ "spec": { "providerID": provider } });
        let balanced = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
        let kind = [node("kind://docker/kind/kind-control-plane")];
        let on_kind = Some("this is kind, which has none by default");
        let on_metal = Some("no node belongs to a cloud, and no Service has one");
        check(json!({}), &kind, &[], on_kind);
        check(json!({}), &kind, &[json!({})], on_kind);
        check(json!({}), &kind, std::slice::from_ref(&balanced), None);
        check(balanced, &kind, &[], None);
        check(json!({}), &[node("gce://p/z/n")], &[], None);
        check(json!({}), &[json!({}), json!({ "spec": {} })], &[], on_metal);
        check(json!({}), &[node("aws:///z/i"), json!({})], &[], None);
        check(json!({}), &[], &[], None);
    }
}
