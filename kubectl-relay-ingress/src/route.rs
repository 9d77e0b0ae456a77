//! A way through an Istio ingress gateway, read from a Gateway and the
//! VirtualServices behind it: the same for those that live and those to come.

use std::collections::BTreeMap;

use kube::api::ApiResource;
use relay_shared::{
    cluster::ObjectRef,
    istio::{labels, matches_host},
};
use serde_json::Value;

use crate::target::Relay;

/// A server of a Gateway that takes connections for a host, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) gateway: ObjectRef,
    /// The labels of the pods that the Gateway configures; without any, of all.
    pub(crate) selector: BTreeMap<String, String>,
    /// The port of its server.
    pub(crate) port: u16,
    /// What it does with TLS; only `PASSTHROUGH` leaves it to the relay server.
    pub(crate) mode: String,
    /// Where the VirtualServices lead.
    pub(crate) destinations: Vec<Destination>,
}

/// Where a VirtualService leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Destination {
    pub(crate) virtual_service: ObjectRef,
    /// The host, in full.
    pub(crate) host: String,
    /// The port; without one, the only port of the host.
    pub(crate) port: Option<u16>,
}

impl Route {
    /// Every way that Gateways offer to a relay server: by its name, or, where none has
    /// that on the same port, by a wildcard from which a VirtualService leads on to it.
    pub(crate) fn all(gateways: &[Value], virtual_services: &[Value], relay: &Relay) -> Vec<Self> {
        let (host, wanted) = (&relay.host, relay.service.cluster_local());
        let offered = |is_named: bool| {
            let routes = gateways.iter().flat_map(move |gateway| {
                let servers = servers(gateway).filter(move |server| match is_named {
                    true => server.hosts().any(|served| served == host),
                    false => server.mode == "PASSTHROUGH" && server.serves(host),
                });
                servers.map(|server| Self {
                    gateway: reference(gateway),
                    selector: labels(&gateway["spec"]["selector"]),
                    port: server.port,
                    mode: server.mode.to_owned(),
                    destinations: destinations(gateway, virtual_services, host, server.port),
                })
            });
            routes.collect::<Vec<_>>()
        };
        let mut routes = offered(true);
        let mut others = offered(false);
        others.retain(|other| {
            let leads_on = other.destinations.iter().any(|d| d.host == wanted);
            leads_on && routes.iter().all(|route| route.port != other.port)
        });
        routes.extend(others);
        routes
    }
}

/// Whether a Gateway may offer a way to a host.
pub(crate) fn is_for(gateway: &Value, host: &str) -> bool {
    servers(gateway).any(|server| server.serves(host))
}

/// A server of a Gateway.
pub(crate) struct Server<'a> {
    pub(crate) port: u16,
    mode: &'a str,
    hosts: &'a Value,
}

impl<'a> Server<'a> {
    /// Its hosts, exact or with a wildcard, without the namespace that may use them.
    pub(crate) fn hosts(&self) -> impl Iterator<Item = &'a str> {
        let hosts = self
            .hosts
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str);
        hosts.map(|host| host.split_once('/').map_or(host, |(_, host)| host))
    }

    fn serves(&self, host: &str) -> bool {
        self.hosts().any(|pattern| matches_host(pattern, host))
    }
}

/// The servers of a Gateway; one whose port makes no sense is passed over.
pub(crate) fn servers(gateway: &Value) -> impl Iterator<Item = Server<'_>> {
    let servers = gateway["spec"]["servers"].as_array().into_iter().flatten();
    servers.filter_map(|server| {
        Some(Server {
            port: port(&server["port"]["number"])?,
            mode: server["tls"]["mode"].as_str().unwrap_or("none"),
            hosts: &server["hosts"],
        })
    })
}

/// Names the object that a document is of, as far as it says.
pub(crate) fn reference(document: &Value) -> ObjectRef {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let [api_version, kind] = ["apiVersion", "kind"].map(|key| text(&document[key]));
    let (group, version) = api_version.split_once('/').unwrap_or(("", &api_version));
    let resource = ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        // So it is for all kinds that lead to the relay server.
        plural: kind.to_lowercase() + "s",
        api_version,
        kind,
    };
    let [namespace, name] = ["namespace", "name"].map(|key| text(&document["metadata"][key]));
    ObjectRef::dynamic(resource, &namespace, &name)
}

fn destinations(
    gateway: &Value,
    virtual_services: &[Value],
    host: &str,
    port_number: u16,
) -> Vec<Destination> {
    let mut found = Vec::new();
    for virtual_service in virtual_services
        .iter()
        .filter(|service| is_bound(service, gateway))
    {
        let object = reference(virtual_service);
        for route in array(&virtual_service["spec"]["tls"]) {
            let matches = array(&route["match"]).any(|rule| {
                let on_port = rule
                    .get("port")
                    .is_none_or(|number| port(number) == Some(port_number));
                on_port
                    && is_for_gateway(rule, virtual_service, gateway)
                    && array(&rule["sniHosts"])
                        .any(|sni| sni.as_str().is_some_and(|sni| matches_host(sni, host)))
            });
            for target in array(&route["route"]).filter(|_| matches) {
                let target = &target["destination"];
                found.push(Destination {
                    host: in_full(
                        target["host"].as_str().unwrap_or_default(),
                        object.namespace().unwrap_or_default(),
                    ),
                    port: port(&target["port"]["number"]),
                    virtual_service: object.clone(),
                });
            }
        }
    }
    found
}

/// Whether a VirtualService names a Gateway.
fn is_bound(virtual_service: &Value, gateway: &Value) -> bool {
    names(&virtual_service["spec"]["gateways"], virtual_service, gateway)
}

/// Whether a rule of a VirtualService counts at a Gateway: one that names none counts
/// at all of its VirtualService's.
fn is_for_gateway(rule: &Value, virtual_service: &Value, gateway: &Value) -> bool {
    let named = &rule["gateways"];
    array(named).next().is_none() || names(named, virtual_service, gateway)
}

/// Whether a list in a VirtualService names a Gateway, by `NAMESPACE/NAME` or, in its
/// own namespace, by its name.
fn names(list: &Value, virtual_service: &Value, gateway: &Value) -> bool {
    let [gateway, own] = [gateway, virtual_service].map(|object| &object["metadata"]);
    array(list)
        .filter_map(Value::as_str)
        .any(|named| match named.split_once('/') {
            Some((namespace, name)) => namespace == gateway["namespace"] && name == gateway["name"],
            None => named == gateway["name"] && own["namespace"] == gateway["namespace"],
        })
}

/// Istio takes a name without dots to be a Service in the namespace of the rule.
fn in_full(host: &str, namespace: &str) -> String {
    match host.contains('.') {
        true => host.to_owned(),
        false => format!("{host}.{namespace}.svc.cluster.local"),
    }
}

/// The items of a list; none where there is no list.
pub(crate) fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A port's number.
pub(crate) fn port(value: &Value) -> Option<u16> {
    u16::try_from(value.as_u64()?).ok()
}

#[cfg(test)]
mod tests {
    use relay_shared::relay::RelayHost;
    use serde_json::json;

    use super::*;

    const HOST: &str = "relay.mesh";

    fn relay() -> Relay {
        Relay::new(RelayHost::new("relay", "mesh"), None, None)
    }

    fn gateway(name: &str, hosts: &[&str], mode: &str) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": { "name": name, "namespace": "edge" },
            "spec": {
                "selector": { "istio": "ingressgateway" },
                "servers": [{ "port": { "number": 443 }, "tls": { "mode": mode }, "hosts": hosts }],
            },
        })
    }

    fn virtual_service(namespace: &str, gateway: &str, rule: Value, host: &str) -> Value {
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": { "name": "v", "namespace": namespace },
            "spec": {
                "gateways": [gateway],
                "tls": [{ "match": [rule], "route": [{ "destination": { "host": host, "port": { "number": 9900 } } }] }],
            },
        })
    }

    #[test]
    fn gateways_offer_exact_hosts() {
        #[track_caller]
        fn check(hosts: &[&str], want: usize) {
            let routes = Route::all(&[gateway("g", hosts, "PASSTHROUGH")], &[], &relay());
            assert_eq!(routes.len(), want);
        }
        check(&[HOST], 1);
        check(&["other.mesh", "./relay.mesh"], 1);
        check(&["*/relay.mesh"], 1);
        check(&["*.mesh"], 0);
        check(&["*"], 0);
        check(&[], 0);
        assert_eq!(
            Route::all(
                &[json!({}), json!({ "spec": { "servers": [{}] } })],
                &[],
                &relay()
            ),
            []
        );
    }

    #[test]
    fn wildcards_count_where_they_lead_to_the_relay_server() {
        #[track_caller]
        fn check(gateways: &[(&str, &[&str], &str)], rule: Value, host: &str, want: &[&str]) {
            let gateways: Vec<_> = gateways
                .iter()
                .map(|(n, hosts, mode)| gateway(n, hosts, mode))
                .collect();
            let leads =
                |gateway: &str| virtual_service("mesh", &format!("edge/{gateway}"), rule.clone(), host);
            let routes = Route::all(&gateways, &[leads("wild"), leads("named")], &relay());
            let names: Vec<_> = routes.iter().map(|route| route.gateway.name()).collect();
            assert_eq!(names, want);
        }
        let sni = json!({ "sniHosts": [HOST] });
        let wild: (_, &[_], _) = ("wild", &["other.mesh", "*.mesh"], "PASSTHROUGH");
        check(&[wild], sni.clone(), "relay", &["wild"]);
        check(
            &[("wild", &["*"], "PASSTHROUGH")],
            sni.clone(),
            "relay",
            &["wild"],
        );
        check(&[wild], sni.clone(), "other", &[]);
        check(&[wild], json!({ "sniHosts": ["other.mesh"] }), "relay", &[]);
        check(&[("wild", &["*.mesh"], "SIMPLE")], sni.clone(), "relay", &[]);
        check(
            &[wild, ("named", &[HOST], "PASSTHROUGH")],
            sni,
            "relay",
            &["named"],
        );
    }

    #[test]
    fn virtual_services_lead_on() {
        #[track_caller]
        fn check(virtual_service: Value, want: Option<&str>) {
            let routes = Route::all(
                &[gateway("g", &[HOST], "PASSTHROUGH")],
                &[virtual_service],
                &relay(),
            );
            let hosts: Vec<_> = routes[0].destinations.iter().map(|d| d.host.as_str()).collect();
            assert_eq!(hosts, want.into_iter().collect::<Vec<_>>());
        }
        let sni = json!({ "sniHosts": [HOST] });
        let full = "relay.mesh.svc.cluster.local";
        check(virtual_service("mesh", "edge/g", sni.clone(), full), Some(full));
        check(virtual_service("edge", "g", sni.clone(), full), Some(full));
        check(
            virtual_service("mesh", "edge/g", sni.clone(), "relay"),
            Some(full),
        );
        check(virtual_service("mesh", "g", sni.clone(), full), None);
        check(virtual_service("mesh", "edge/h", sni, full), None);
        let rule = |port: u16, sni: &str| json!({ "port": port, "sniHosts": [sni] });
        check(
            virtual_service("mesh", "edge/g", rule(443, "*.mesh"), full),
            Some(full),
        );
        check(virtual_service("mesh", "edge/g", rule(8443, HOST), full), None);
        check(
            virtual_service("mesh", "edge/g", rule(443, "*.other"), full),
            None,
        );
        let at = |gateways: &[&str]| json!({ "sniHosts": [HOST], "gateways": gateways });
        for (gateways, want) in [
            (&["edge/g"][..], Some(full)),
            (&["mesh", "edge/g"], Some(full)),
            (&["edge/h"], None),
            (&["g"], None),
            (&[], Some(full)),
        ] {
            check(virtual_service("mesh", "edge/g", at(gateways), full), want);
        }
        check(json!({ "metadata": {} }), None);
    }
}
