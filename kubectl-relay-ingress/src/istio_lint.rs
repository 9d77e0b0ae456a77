//! What is wrong with a way through an Istio ingress gateway.

use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    istio::{labels, matches_host},
    services::joined,
    shell,
};
use serde_json::json;

use crate::{
    ingress::{Ingress, carries},
    lint::{self, Lint},
    route::{Route, reference, servers},
    service::{is_internal, of, ports, shown},
    target::Relay,
};

/// Finds what is wrong with a way through an Istio ingress gateway to a relay
/// server, whose Service is given if there is one.
pub(crate) fn lint_route(
    route: &Route,
    relay: &Relay,
    service: Option<&Service>,
    ingress: &Ingress,
) -> Vec<Lint> {
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
        let context = shell::word(&ingress.context);
        let [namespace, name] = [&entrance.metadata.namespace, &entrance.metadata.name]
            .map(|part| part.as_deref().unwrap_or_default());
        Lint::warning(
            object,
            "its type is ClusterIP, which nothing outside the cluster can reach",
            format!(
                "it is not ours to change: set `service.type` of Istio's gateway chart, or run\n\
                 kubectl --context {context} -n {namespace} patch service {name} --type merge -p '{}'",
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
            format!(
                "see `kubectl --context {} get pods --all-namespaces --selector {selector}`",
                shell::word(&ingress.context)
            ),
        );
    }
    let mut others: Vec<_> = ingress
        .pods
        .iter()
        .flatten()
        .filter(|pod| pod.is_ready())
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
                false => matches_host(pattern, host).then(|| Lint::warning(
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
    let wanted = relay.service.cluster_local();
    let mut destinations = route.destinations.iter();
    let Some(found) = destinations
        .find(|d| d.host == wanted)
        .or(route.destinations.first())
    else {
        return Some(Lint::error(
            &route.gateway,
            format!(
                "no VirtualService leads on from it for {} on port {}",
                relay.host, route.port
            ),
            "run `kubectl relay-ingress apply --via istio`",
        ));
    };
    match found.host == wanted {
        true => lint::end(&found.virtual_service, relay, found.port, service),
        false => Some(Lint::error(
            &found.virtual_service,
            format!("it leads to {}, not to the relay server at {wanted}", found.host),
            "name the relay server with --namespace and --service, or mend the route",
        )),
    }
}

#[cfg(test)]
mod tests {
    use relay_shared::relay::RelayHost;
    use serde_json::Value;

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
        let gateway = case.gateway;
        let ingress = Ingress {
            context: "mgmt".to_owned(),
            gateways: [vec![gateway.clone()], case.rivals].concat(),
            pods: Some(case.pods.into_iter().map(parse).collect()),
            services: case.services.into_iter().map(parse).collect(),
        };
        let service: Option<Service> = case.relay.map(parse);
        let relay = Relay::new(
            RelayHost::new("enterprise-networking", "gloo-mesh"),
            service.as_ref(),
            None,
        );
        let routes = Route::all(&[gateway], &[case.virtual_service], &relay);
        let found = routes
            .iter()
            .flat_map(|r| lint_route(r, &relay, service.as_ref(), &ingress));
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
            let relay = Relay::new(RelayHost::new("enterprise-networking", "gloo-mesh"), None, None);
            let routes = Route::all(&[gateway("ours", &[HOST])], &[], &relay);
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
}
