//! Which Gateways of Gateway API lead to the relay server, and at which addresses:
//! pure decisions about objects that were read before.
//!
//! Fields and their meaning are those of `sigs.k8s.io/gateway-api`, `apis/v1`
//! (gateway_types.go, tlsroute_types.go, shared_types.go).

use kube::api::ApiResource;
use serde_json::Value;

use crate::{
    candidate::{Candidate, Found, Preferences, Reason, Source},
    cluster::ObjectRef,
    istio::matches_host,
};

/// The API group of Gateway API.
pub const GROUP: &str = "gateway.networking.k8s.io";

/// The relay server, as routes name it.
#[derive(Debug, Clone, Copy)]
pub struct Backend<'a> {
    /// The namespace of its Service.
    pub namespace: &'a str,
    /// The name of its Service.
    pub service: &'a str,
    /// The name that agents ask for.
    pub host: &'a str,
}

/// A listener of a Gateway that a TLSRoute leads on from to the relay server.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entrance {
    port: i32,
    /// Why it does not count, if the Gateway's controller says so.
    refusal: Option<Reason>,
}

/// Every address of every Gateway that has a TLSRoute to the relay server.
pub fn candidates(
    kind: &ApiResource,
    gateways: &[Value],
    routes: &[Value],
    backend: Backend<'_>,
    preferences: &Preferences,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for gateway in gateways {
        let candidate = |(field, result)| Candidate {
            source: Source::GatewayApi,
            object: ObjectRef::of(kind, gateway),
            field,
            result,
        };
        let mut ports = Vec::new();
        for Entrance { port, refusal } in entrances(gateway, routes, backend) {
            if let Some(reason) = refusal {
                found.push(candidate(("spec.listeners".to_owned(), Err(reason))));
            } else if !ports.contains(&port) {
                ports.push(port);
            }
        }
        for port in ports {
            found.extend(addresses(gateway, port, preferences).into_iter().map(candidate));
        }
    }
    found
}

fn addresses(gateway: &Value, port: i32, preferences: &Preferences) -> Vec<Found> {
    let mut found = Vec::new();
    for (i, address) in array(&gateway["status"]["addresses"]).enumerate() {
        // Without a type it is an IP; other types than these two are an implementation's own.
        let kind = address["type"].as_str().unwrap_or("IPAddress");
        let value = address["value"].as_str().filter(|value| !value.is_empty());
        if let (Some(host), "IPAddress" | "Hostname") = (value, kind) {
            let field = format!("status.addresses[{i}].value");
            found.push((field, preferences.address(host, port)));
        }
    }
    preferences.rank(&mut found);
    if found.is_empty() {
        let reason = Reason::pending(
            "it has no address yet",
            "wait for it with `kubectl relay-address --wait`; `kubectl describe gateway` shows what it waits for",
        );
        found.push(("status.addresses".to_owned(), Err(reason)));
    }
    found
}

/// The listeners of a Gateway that pass TLS through for the relay server, each with
/// what its Gateway's controller says of it and of the route.
fn entrances(gateway: &Value, routes: &[Value], backend: Backend<'_>) -> Vec<Entrance> {
    let mut found = Vec::new();
    for route in routes.iter().filter(|route| leads_to(route, backend)) {
        for parent in array(&route["spec"]["parentRefs"]).filter(|parent| refers_to(parent, route, gateway)) {
            for listener in array(&gateway["spec"]["listeners"]) {
                let port = &listener["port"];
                let meant = parent.get("sectionName").is_none_or(|s| *s == listener["name"])
                    && parent.get("port").is_none_or(|p| p == port);
                let host = listener["hostname"].as_str().unwrap_or_default();
                let serves = host.is_empty() || matches_host(host, backend.host);
                let passes = listener["protocol"] == "TLS" && listener["tls"]["mode"] == "Passthrough";
                if let (true, Some(port)) = (meant && serves && passes, port.as_i64()) {
                    found.push(Entrance {
                        port: i32::try_from(port).unwrap_or_default(),
                        refusal: of_route(route, parent).or_else(|| of_listener(gateway, listener)),
                    });
                }
            }
        }
    }
    found
}

/// Whether a TLSRoute takes the host to the relay server's Service.
fn leads_to(route: &Value, backend: Backend<'_>) -> bool {
    let hosts: Vec<_> = array(&route["spec"]["hostnames"])
        .filter_map(Value::as_str)
        .collect();
    let own = &route["metadata"]["namespace"];
    let mut backends = array(&route["spec"]["rules"]).flat_map(|rule| array(&rule["backendRefs"]));
    (hosts.is_empty() || hosts.iter().any(|host| matches_host(host, backend.host)))
        && backends.any(|to| {
            to["name"] == backend.service
                && *to.get("namespace").unwrap_or(own) == backend.namespace
                && to.get("kind").is_none_or(|kind| kind == "Service")
                && to.get("group").is_none_or(|group| group == "")
        })
}

/// Whether a route's parent is a Gateway; by default it is one, in the route's
/// namespace.
fn refers_to(parent: &Value, route: &Value, gateway: &Value) -> bool {
    let namespace = parent.get("namespace").unwrap_or(&route["metadata"]["namespace"]);
    parent["name"] == gateway["metadata"]["name"]
        && *namespace == gateway["metadata"]["namespace"]
        && parent.get("kind").is_none_or(|kind| kind == "Gateway")
        && parent.get("group").is_none_or(|group| group == GROUP)
}

/// Why a route does not count at a parent, if its controller says so.
fn of_route(route: &Value, parent: &Value) -> Option<Reason> {
    let same = |status: &&Value| {
        let of = &status["parentRef"];
        let key = |key: &str| of.get(key) == parent.get(key) || parent.get(key).is_none();
        key("name") && key("namespace") && key("sectionName") && key("port")
    };
    let parents = array(&route["status"]["parents"]).filter(same);
    let conditions: Vec<_> = parents.flat_map(|status| array(&status["conditions"])).collect();
    let reason = |state: String| Reason::new(state, "see `kubectl describe tlsroute`");
    let refused = said(&conditions, "Accepted", "False").map(|why| {
        reason(format!(
            "it does not accept the TLSRoute to the relay server: {why}"
        ))
    });
    refused.or_else(|| {
        said(&conditions, "ResolvedRefs", "False")
            .map(|why| reason(format!("the TLSRoute does not lead to the relay server: {why}")))
    })
}

/// Why a listener does not count, if its controller says so.
fn of_listener(gateway: &Value, listener: &Value) -> Option<Reason> {
    let statuses = array(&gateway["status"]["listeners"]).filter(|status| status["name"] == listener["name"]);
    let conditions: Vec<_> = statuses.flat_map(|status| array(&status["conditions"])).collect();
    let defects = [
        ("Accepted", "False"),
        ("Conflicted", "True"),
        ("ResolvedRefs", "False"),
    ];
    let mut found = defects.iter().filter_map(|(kind, status)| {
        let why = said(&conditions, kind, status)?;
        let name = listener["name"].as_str().unwrap_or_default();
        Some(Reason::new(
            format!("its listener {name:?} does not work ({kind} is {status}): {why}"),
            "see `kubectl describe gateway`",
        ))
    });
    found.next()
}

/// What is said of a condition that has a status, if one has.
fn said<'a>(conditions: &[&'a Value], kind: &str, status: &str) -> Option<&'a str> {
    let mut found = conditions
        .iter()
        .filter(|condition| condition["type"] == kind && condition["status"] == status);
    let condition = found.next()?;
    let said = ["message", "reason"].map(|key| condition[key].as_str().unwrap_or_default());
    let said = said.into_iter().find(|said| !said.is_empty());
    Some(said.unwrap_or("it does not say why"))
}

fn array(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use kube::core::GroupVersionKind;
    use serde_json::json;

    use super::*;

    fn gateway(listener: Value, addresses: Value) -> Value {
        json!({
            "metadata": { "namespace": "edge", "name": "gw" },
            "spec": { "listeners": [listener] },
            "status": { "addresses": addresses },
        })
    }

    fn listener() -> Value {
        json!({ "name": "tls", "port": 443, "protocol": "TLS", "tls": { "mode": "Passthrough" } })
    }

    fn route() -> Value {
        json!({
            "metadata": { "namespace": "mesh", "name": "relay" },
            "spec": {
                "hostnames": ["relay.mesh"],
                "parentRefs": [{ "namespace": "edge", "name": "gw" }],
                "rules": [{ "backendRefs": [{ "name": "relay", "port": 9900 }] }],
            },
        })
    }

    /// What is found: addresses, and reasons as they are.
    fn found(gateway: Value, route: Value) -> Vec<String> {
        let kind =
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", "Gateway"), "gateways");
        let backend = Backend {
            namespace: "mesh",
            service: "relay",
            host: "relay.mesh",
        };
        let odd = [json!({}), json!(null), json!({ "spec": { "listeners": [null] } })];
        let (gateways, routes) = ([&odd[..], &[gateway]].concat(), [&odd[..], &[route]].concat());
        let found = candidates(&kind, &gateways, &routes, backend, &Preferences::default());
        let shown = found.into_iter().map(|candidate| match candidate.result {
            Ok(address) => format!("{} {address}", candidate.field.replace("status.addresses", "")),
            Err(reason) => reason.state,
        });
        shown.collect()
    }

    #[test]
    fn addresses_are_read_in_the_order_listed() {
        #[track_caller]
        fn check(addresses: Value, want: &[&str]) {
            assert_eq!(found(gateway(listener(), addresses), route()), want);
        }
        check(
            json!([
                { "type": "Hostname", "value": "lb.example" },
                { "value": "192.0.2.1" },
                { "type": "NamedAddress", "value": "mine" },
                { "type": "IPAddress", "value": "2001:db8::1" },
            ]),
            &[
                "[0].value lb.example:443",
                "[1].value 192.0.2.1:443",
                "[3].value [2001:db8::1]:443",
            ],
        );
        check(json!([]), &["it has no address yet"]);
        check(json!(null), &["it has no address yet"]);
        check(json!([{ "value": "" }, 7, null]), &["it has no address yet"]);
        check(
            json!([{ "value": "$(reboot)" }]),
            &["\"$(reboot)\" with port 443 is not an address that can be dialled"],
        );
    }

    #[test]
    fn only_a_listener_with_a_route_to_the_relay_leads_to_it() {
        #[track_caller]
        fn check(change: impl FnOnce(&mut Value, &mut Value), want: bool) {
            let (mut listener, mut route) = (listener(), route());
            change(&mut listener, &mut route["spec"]);
            let gateway = gateway(listener, json!([{ "value": "192.0.2.1" }]));
            let want: &[&str] = if want { &["[0].value 192.0.2.1:443"] } else { &[] };
            assert_eq!(found(gateway, route), want);
        }
        check(|_, _| {}, true);
        check(|l, _| l["hostname"] = json!("*.mesh"), true);
        check(|l, _| l["hostname"] = json!("other.mesh"), false);
        check(|l, _| l["protocol"] = json!("HTTPS"), false);
        check(|l, _| l["tls"] = json!({ "mode": "Terminate" }), false);
        check(|l, _| l["tls"] = json!(null), false);
        check(|_, r| r["hostnames"] = json!([]), true);
        check(|_, r| r["hostnames"] = json!(["*.mesh"]), true);
        check(|_, r| r["hostnames"] = json!(["other.mesh"]), false);
        check(|_, r| r["parentRefs"][0]["sectionName"] = json!("tls"), true);
        check(|_, r| r["parentRefs"][0]["sectionName"] = json!("http"), false);
        check(|_, r| r["parentRefs"][0]["port"] = json!(443), true);
        check(|_, r| r["parentRefs"][0]["port"] = json!(444), false);
        check(|_, r| r["parentRefs"][0]["kind"] = json!("Service"), false);
        check(|_, r| r["parentRefs"] = json!([{ "name": "gw" }]), false);
        check(
            |_, r| r["rules"][0]["backendRefs"][0]["namespace"] = json!("mesh"),
            true,
        );
        check(
            |_, r| r["rules"][0]["backendRefs"][0]["namespace"] = json!("other"),
            false,
        );
        check(
            |_, r| r["rules"][0]["backendRefs"][0]["name"] = json!("other"),
            false,
        );
        check(|_, r| r["rules"] = json!(null), false);
    }

    #[test]
    fn what_a_controller_finds_wrong_counts() {
        #[track_caller]
        fn check(route_says: Value, listener_says: Value, want: &str) {
            let mut route = route();
            route["status"] = json!({
                "parents": [{
                    "parentRef": { "namespace": "edge", "name": "gw" },
                    "conditions": route_says,
                }],
            });
            let mut gateway = gateway(listener(), json!([{ "value": "192.0.2.1" }]));
            gateway["status"]["listeners"] = json!([
                { "name": "other", "conditions": [condition("Accepted", "False", "")] },
                { "name": "tls", "conditions": listener_says },
            ]);
            assert_eq!(found(gateway, route), [want]);
        }
        fn condition(kind: &str, status: &str, message: &str) -> Value {
            json!({ "type": kind, "status": status, "reason": "Because", "message": message })
        }
        let fine = json!([
            condition("Accepted", "True", ""),
            condition("ResolvedRefs", "True", "")
        ]);
        let unresolved = json!([
            condition("Accepted", "True", ""),
            condition("ResolvedRefs", "False", "no such service"),
        ]);
        check(fine.clone(), fine.clone(), "[0].value 192.0.2.1:443");
        check(
            unresolved.clone(),
            fine.clone(),
            "the TLSRoute does not lead to the relay server: no such service",
        );
        check(
            fine.clone(),
            unresolved.clone(),
            "its listener \"tls\" does not work (ResolvedRefs is False): no such service",
        );
        check(
            fine.clone(),
            json!([condition("Conflicted", "True", "")]),
            "its listener \"tls\" does not work (Conflicted is True): Because",
        );
        check(
            fine.clone(),
            json!([condition("Accepted", "False", "port is taken")]),
            "its listener \"tls\" does not work (Accepted is False): port is taken",
        );
        check(json!(null), json!([null, 7]), "[0].value 192.0.2.1:443");
    }

    #[test]
    fn a_refused_route_says_why() {
        let mut refused = route();
        refused["status"] = json!({
            "parents": [{
                "parentRef": { "namespace": "edge", "name": "gw" },
                "conditions": [{ "type": "Accepted", "status": "False", "reason": "NotAllowedByListeners", "message": "" }],
            }],
        });
        assert_eq!(
            found(gateway(listener(), json!([{ "value": "192.0.2.1" }])), refused),
            ["it does not accept the TLSRoute to the relay server: NotAllowedByListeners"]
        );
        let mut hostile = route();
        hostile["status"] = json!({
            "parents": [{
                "parentRef": { "name": "gw", "namespace": "edge" },
                "conditions": [{ "type": "Accepted", "status": "False", "message": "\u{1b}[2J" }],
            }],
        });
        assert_eq!(
            found(gateway(listener(), json!([])), hostile),
            ["it does not accept the TLSRoute to the relay server: \\u{1b}[2J"]
        );
    }
}
