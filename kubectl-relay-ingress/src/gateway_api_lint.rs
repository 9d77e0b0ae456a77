//! A way through a gateway of Gateway API's, read from a Gateway and the TLSRoutes
//! behind it, and what is wrong with it.

use k8s_openapi::api::core::v1::Service;
use relay_shared::{cluster::ObjectRef, istio::matches_host};
use serde_json::Value;

use crate::{
    lint::{self, Lint},
    route::{array, port, reference},
    target::Relay,
};

/// A listener that takes connections for a host, and the routes behind it.
#[derive(Debug)]
pub(crate) struct Way<'a> {
    gateway: &'a Value,
    listener: &'a Value,
    routes: Vec<&'a Value>,
}

impl<'a> Way<'a> {
    /// Every way that Gateways offer to a host: where a listener has it by name, or a
    /// TLSRoute for it is attached.
    pub(crate) fn all(gateways: &'a [Value], routes: &'a [Value], host: &str) -> Vec<Self> {
        let mut found = Vec::new();
        for gateway in gateways {
            for listener in array(&gateway["spec"]["listeners"]).filter(|l| l["protocol"] == "TLS") {
                let hostname = listener["hostname"].as_str();
                if !hostname.is_none_or(|pattern| matches_host(pattern, host)) {
                    continue;
                }
                let is_behind = |route: &&Value| {
                    let names = array(&route["spec"]["hostnames"]).filter_map(Value::as_str);
                    is_attached(route, gateway, listener)
                        && names.into_iter().any(|name| matches_host(name, host))
                };
                let routes: Vec<_> = routes.iter().filter(is_behind).collect();
                if hostname == Some(host) || !routes.is_empty() {
                    found.push(Self {
                        gateway,
                        listener,
                        routes,
                    });
                }
            }
        }
        found
    }

    /// The Gateway.
    pub(crate) fn object(&self) -> ObjectRef {
        reference(self.gateway)
    }

    /// Finds what is wrong with the way to a relay server, whose Service is given if
    /// there is one. `is_live` tells whether a controller should have taken it up.
    pub(crate) fn lint(&self, relay: &Relay, service: Option<&Service>, is_live: bool) -> Vec<Lint> {
        let Self { listener, routes, .. } = self;
        let host = &relay.host;
        let mut found = Vec::new();
        // Where it says nothing, the mode is Terminate.
        if listener["tls"]["mode"] != "Passthrough" {
            found.push(Lint::error(
                self.object(),
                format!(
                    "its listener for {host} ends TLS, so agents do not meet the relay server's certificate"
                ),
                "set its mode to Passthrough, as `kubectl relay-ingress apply --via gateway-api` does",
            ));
        }
        if routes.is_empty() {
            found.push(Lint::error(
                self.object(),
                format!("no TLSRoute leads on from it for {host}"),
                "run `kubectl relay-ingress apply --via gateway-api`",
            ));
        }
        if is_live {
            found.extend(self.refused());
        }
        for route in routes {
            let backends = array(&route["spec"]["rules"]).flat_map(|rule| array(&rule["backendRefs"]));
            let to_relay = backends
                .filter(|backend| leads_to(backend, route, relay))
                .collect::<Vec<_>>();
            match to_relay.first() {
                Some(backend) => found.extend(lint::end(
                    &reference(route),
                    relay,
                    port(&backend["port"]),
                    service,
                )),
                None => found.push(Lint::error(
                    reference(route),
                    format!(
                        "it does not lead to the relay server at {}",
                        relay.service.cluster_local()
                    ),
                    "name the relay server with --namespace and --service, or mend the route",
                )),
            }
        }
        found
    }

    /// What the gateway's controller says against it.
    fn refused(&self) -> Vec<Lint> {
        let Self {
            gateway,
            listener,
            routes,
        } = self;
        let mut found = Vec::new();
        let own = array(&gateway["status"]["conditions"]);
        let listeners =
            array(&gateway["status"]["listeners"]).filter(|status| status["name"] == listener["name"]);
        let conditions = own.chain(listeners.flat_map(|status| array(&status["conditions"])));
        found.extend(conditions.filter_map(|condition| against(condition, self.object())));
        if !array(&gateway["status"]["conditions"])
            .any(|c| c["type"] == "Programmed" && c["status"] == "True")
            && found.is_empty()
        {
            found.push(Lint::error(
                self.object(),
                "no controller has brought it up yet",
                format!(
                    "see what the controller of class {} waits for",
                    gateway["spec"]["gatewayClassName"]
                ),
            ));
        }
        for route in routes {
            let parents = array(&route["status"]["parents"])
                .filter(|parent| refers(&parent["parentRef"], route, gateway));
            let conditions = parents.flat_map(|parent| array(&parent["conditions"]));
            found.extend(conditions.filter_map(|condition| against(condition, reference(route))));
        }
        found
    }
}

/// A condition that is not met, in the words of who wrote it.
fn against(condition: &Value, object: ObjectRef) -> Option<Lint> {
    let text = |key: &str| condition[key].as_str().unwrap_or_default();
    let matters = matches!(text("type"), "Accepted" | "Programmed" | "ResolvedRefs");
    (matters && text("status") == "False").then(|| {
        Lint::error(
            object,
            format!("it is not {}: {}", text("type"), text("message")),
            format!("its controller gives the reason {}", text("reason")),
        )
    })
}

fn is_attached(route: &Value, gateway: &Value, listener: &Value) -> bool {
    array(&route["spec"]["parentRefs"]).any(|parent| {
        let section = &parent["sectionName"];
        let on_port = parent
            .get("port")
            .is_none_or(|number| *number == listener["port"]);
        refers(parent, route, gateway) && on_port && (section.is_null() || *section == listener["name"])
    })
}

/// Whether a reference in a route is to a Gateway, in its own namespace by default.
fn refers(parent: &Value, route: &Value, gateway: &Value) -> bool {
    let namespace = parent.get("namespace").unwrap_or(&route["metadata"]["namespace"]);
    let kind = parent.get("kind").is_none_or(|kind| kind == "Gateway");
    kind && parent["name"] == gateway["metadata"]["name"] && *namespace == gateway["metadata"]["namespace"]
}

fn leads_to(backend: &Value, route: &Value, relay: &Relay) -> bool {
    let namespace = backend
        .get("namespace")
        .unwrap_or(&route["metadata"]["namespace"]);
    let kind = backend.get("kind").is_none_or(|kind| kind == "Service");
    kind && backend["name"] == relay.service.service() && namespace == relay.service.namespace()
}

#[cfg(test)]
mod tests {
    use relay_shared::relay::RelayHost;
    use serde_json::json;

    use super::*;

    const HOST: &str = "enterprise-networking.gloo-mesh";

    fn condition(type_: &str, status: &str) -> Value {
        json!({ "type": type_, "status": status, "reason": "Because", "message": "of this" })
    }

    fn gateway() -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": { "name": "g", "namespace": "edge" },
            "spec": {
                "gatewayClassName": "istio",
                "listeners": [{ "name": "relay", "port": 443, "protocol": "TLS", "hostname": HOST, "tls": { "mode": "Passthrough" } }],
            },
            "status": { "conditions": [condition("Programmed", "True")] },
        })
    }

    fn route() -> Value {
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "TLSRoute",
            "metadata": { "name": "r", "namespace": "gloo-mesh" },
            "spec": {
                "parentRefs": [{ "name": "g", "namespace": "edge", "sectionName": "relay" }],
                "hostnames": [HOST],
                "rules": [{ "backendRefs": [{ "name": "enterprise-networking", "port": 9900 }] }],
            },
        })
    }

    fn bent(mut object: Value, pointer: &str, value: Value) -> Value {
        *object
            .pointer_mut(pointer)
            .unwrap_or_else(|| panic!("no {pointer}")) = value;
        object
    }

    /// What is found, `None` where there is no way at all.
    #[track_caller]
    fn check(gateway: Value, route: Value, want: Option<&[&str]>) {
        let service =
            serde_json::from_value(json!({ "spec": { "ports": [{ "name": "grpc", "port": 9900 }] } }));
        let service: Service = service.expect("is a service");
        let relay = Relay::new(
            RelayHost::new("enterprise-networking", "gloo-mesh"),
            Some(&service),
            None,
        );
        let (gateways, routes) = ([gateway], [route]);
        let ways = Way::all(&gateways, &routes, HOST);
        let found = ways.first().map(|way| {
            let lints = way.lint(&relay, Some(&service), true).into_iter();
            lints
                .map(|lint| format!("{} {}", lint.object, lint.message))
                .collect::<Vec<_>>()
        });
        let want = want.map(|want| want.iter().map(|&text| text.to_owned()).collect());
        assert_eq!(found, want);
    }

    #[test]
    fn listeners_and_routes_make_a_way() {
        check(gateway(), route(), Some(&[]));
        let listener = "/spec/listeners/0";
        check(
            bent(gateway(), &format!("{listener}/protocol"), json!("HTTPS")),
            route(),
            None,
        );
        check(
            bent(gateway(), &format!("{listener}/hostname"), json!("*.gloo-mesh")),
            route(),
            Some(&[]),
        );
        check(
            bent(gateway(), &format!("{listener}/hostname"), json!("*.other")),
            route(),
            None,
        );
        let alone = "gateway edge/g no TLSRoute leads on from it for enterprise-networking.gloo-mesh";
        for (pointer, value) in [
            ("/spec/parentRefs/0/name", "other"),
            ("/spec/parentRefs/0/namespace", "gloo-mesh"),
            ("/spec/parentRefs/0/sectionName", "other"),
            ("/spec/hostnames/0", "other.gloo-mesh"),
        ] {
            check(gateway(), bent(route(), pointer, json!(value)), Some(&[alone]));
        }
        check(
            bent(gateway(), &format!("{listener}/tls/mode"), json!("Terminate")),
            route(),
            Some(&[
                "gateway edge/g its listener for enterprise-networking.gloo-mesh ends TLS, so agents do not \
                    meet the relay server's certificate",
            ]),
        );
    }

    #[test]
    fn controllers_are_heard() {
        let refused = |type_: &str| json!([condition(type_, "False")]);
        check(
            bent(gateway(), "/status/conditions", refused("Programmed")),
            route(),
            Some(&["gateway edge/g it is not Programmed: of this"]),
        );
        check(
            bent(gateway(), "/status", json!(null)),
            route(),
            Some(&["gateway edge/g no controller has brought it up yet"]),
        );
        let listeners = json!([{ "name": "relay", "conditions": refused("ResolvedRefs") }]);
        let mut conflicted = gateway();
        conflicted["status"]["listeners"] = listeners;
        check(
            conflicted,
            route(),
            Some(&["gateway edge/g it is not ResolvedRefs: of this"]),
        );
        let mut unaccepted = route();
        let parent =
            json!({ "parentRef": { "name": "g", "namespace": "edge" }, "conditions": refused("Accepted") });
        unaccepted["status"] = json!({ "parents": [parent] });
        check(
            gateway(),
            unaccepted,
            Some(&["tlsroute gloo-mesh/r it is not Accepted: of this"]),
        );
    }

    #[test]
    fn routes_end_at_the_relay_server() {
        let backend = "/spec/rules/0/backendRefs/0";
        let elsewhere = "tlsroute gloo-mesh/r it does not lead to the relay server at \
                         enterprise-networking.gloo-mesh.svc.cluster.local";
        check(
            gateway(),
            bent(route(), &format!("{backend}/name"), json!("other")),
            Some(&[elsewhere]),
        );
        check(
            gateway(),
            bent(route(), &format!("{backend}/port"), json!(9977)),
            Some(&["tlsroute gloo-mesh/r it leads to port 9977 of \
                    enterprise-networking.gloo-mesh.svc.cluster.local, which has grpc (9900)"]),
        );
    }
}
