//! The Gateway and the VirtualService that lead agents through an Istio ingress
//! gateway to the relay server, TLS untouched: the page's two documents.

use kube::api::ApiResource;
use relay_shared::{cluster::ObjectRef, relay::RelayHost};
use serde_json::{Value, json};

/// The name of both objects.
const NAME: &str = "gloo-mesh-ingress";

/// The port of the ingress gateway that serves TLS.
const TLS_PORT: u16 = 443;

/// What to do where the cluster does not know these objects.
pub(crate) const HINT: &str =
    "install Istio, or expose the relay server by `kubectl relay-ingress apply --via loadbalancer`";

const GROUP: &str = "networking.istio.io";
const VERSION: &str = "v1alpha3";

/// The two objects, in the order they are shown, that lead to a port of a relay
/// server.
pub(crate) fn objects(host: &RelayHost, port: u16) -> [(ObjectRef, Value); 2] {
    let namespace = host.namespace();
    let metadata = json!({ "name": NAME, "namespace": namespace });
    let gateway = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Gateway",
        "metadata": metadata,
        "spec": {
            "selector": { "istio": "ingressgateway" },
            "servers": [{
                "port": { "number": TLS_PORT, "name": "https", "protocol": "HTTPS" },
                "tls": { "mode": "PASSTHROUGH" },
                "hosts": [host.to_string()],
            }],
        },
    });
    let virtual_service = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "VirtualService",
        "metadata": metadata,
        "spec": {
            "hosts": [host.to_string()],
            "gateways": [format!("{namespace}/{NAME}")],
            "tls": [{
                "match": [{ "port": TLS_PORT, "sniHosts": [host.to_string()] }],
                "route": [{
                    "destination": { "host": host.cluster_local(), "port": { "number": port } },
                }],
            }],
        },
    });
    [
        (object("Gateway", "gateways", namespace), gateway),
        (
            object("VirtualService", "virtualservices", namespace),
            virtual_service,
        ),
    ]
}

fn object(kind: &str, plural: &str, namespace: &str) -> ObjectRef {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    ObjectRef::dynamic(resource, namespace, NAME)
}

/// Whether everything we would apply is there already. What the object has
/// beyond it is someone else's.
pub(crate) fn holds(live: &Value, wanted: &Value) -> bool {
    match (live, wanted) {
        (Value::Object(live), Value::Object(wanted)) => wanted
            .iter()
            .all(|(key, value)| live.get(key).is_some_and(|found| holds(found, value))),
        // A list without keys has one owner: it is ours as a whole, or not.
        (Value::Array(live), Value::Array(wanted)) => {
            live.len() == wanted.len() && live.iter().zip(wanted).all(|(l, w)| holds(l, w))
        }
        _ => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_holds_what_is_applied() {
        #[track_caller]
        fn check(live: Value, wanted: Value, want: bool) {
            assert_eq!(holds(&live, &wanted), want);
        }
        check(json!({"a": 1, "b": 2}), json!({"a": 1}), true);
        check(json!({"a": 1}), json!({"a": 2}), false);
        check(json!({"a": 1}), json!({"a": 1, "b": 2}), false);
        check(json!({"a": [{"x": 1, "y": 2}]}), json!({"a": [{"x": 1}]}), true);
        check(json!({"a": [1, 2]}), json!({"a": [1]}), false);
        check(json!({"a": {}}), json!({"a": []}), false);
    }
}
