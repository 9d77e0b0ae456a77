//! The Gateway and the VirtualService that lead agents through an Istio ingress
//! gateway to the relay server, TLS untouched: the page's two documents.

use kube::api::ApiResource;
use relay_shared::cluster::ObjectRef;
use serde_json::{Value, json};

use crate::target::Target;

/// What to do where the cluster does not know these objects.
pub(crate) const HINT: &str =
    "install Istio, or expose the relay server by `kubectl relay-ingress apply --via loadbalancer`";

const GROUP: &str = "networking.istio.io";
const VERSION: &str = "v1alpha3";

/// The two objects, in the order they are shown.
pub(crate) fn objects(target: &Target) -> [(ObjectRef, Value); 2] {
    let Target {
        host,
        port,
        namespace,
        ..
    } = target;
    let gateway = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "Gateway",
        "metadata": target.metadata(),
        "spec": {
            "selector": target.selector,
            "servers": [{
                "port": { "number": port, "name": "https", "protocol": "HTTPS" },
                "tls": { "mode": "PASSTHROUGH" },
                "hosts": [host],
            }],
        },
    });
    let destination = json!({
        "host": target.relay.cluster_local(),
        "port": { "number": target.relay_port },
    });
    let virtual_service = json!({
        "apiVersion": format!("{GROUP}/{VERSION}"),
        "kind": "VirtualService",
        "metadata": target.metadata(),
        "spec": {
            "hosts": [host],
            "gateways": [format!("{namespace}/{}", target.name)],
            "tls": [{
                "match": [{ "port": port, "sniHosts": [host] }],
                "route": [{ "destination": destination }],
            }],
        },
    });
    [
        (object("Gateway", "gateways", target), gateway),
        (
            object("VirtualService", "virtualservices", target),
            virtual_service,
        ),
    ]
}

fn object(kind: &str, plural: &str, target: &Target) -> ObjectRef {
    let resource = ApiResource {
        group: GROUP.to_owned(),
        version: VERSION.to_owned(),
        api_version: format!("{GROUP}/{VERSION}"),
        kind: kind.to_owned(),
        plural: plural.to_owned(),
    };
    ObjectRef::dynamic(resource, &target.namespace, &target.name)
}
