//! The Gateway and the VirtualService that lead agents through an Istio ingress
//! gateway to the relay server, TLS untouched: the page's two documents.

use kube::{api::ApiResource, core::GroupVersionKind};
use relay_shared::{Error, cluster::ObjectRef, gateways};
use serde_json::{Value, json};

use crate::target::Target;

pub(crate) use relay_shared::istio::GROUP;

/// The kinds of object that are applied, in the version that the cluster serves.
#[derive(Debug, Clone)]
pub(crate) struct Kinds {
    pub(crate) gateway: ApiResource,
    pub(crate) virtual_service: ApiResource,
}

impl Kinds {
    /// The two among all kinds that a cluster serves of [`GROUP`].
    pub(crate) fn among(kinds: &[ApiResource]) -> Option<Self> {
        let named = |name: &str| gateways::named(kinds, name).cloned();
        Some(Self {
            gateway: named("Gateway")?,
            virtual_service: named("VirtualService")?,
        })
    }

    /// The page's version, which every Istio serves.
    pub(crate) fn of_the_page() -> Self {
        let kind = |kind: &str, plural: &str| {
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha3", kind), plural)
        };
        Self {
            gateway: kind("Gateway", "gateways"),
            virtual_service: kind("VirtualService", "virtualservices"),
        }
    }
}

/// A cluster without Istio.
pub(crate) fn not_served() -> Error {
    Error::new("the cluster does not serve Istio's Gateway and VirtualService")
        .object(format!("/apis/{GROUP}"))
        .hint("install Istio, or expose the relay server by `kubectl relay-ingress apply --via loadbalancer`")
}

/// The two objects, in the order they are shown.
pub(crate) fn objects(target: &Target, kinds: &Kinds) -> [(ObjectRef, Value); 2] {
    let Target {
        relay,
        port,
        namespace,
        name,
        ..
    } = target;
    let host = &relay.host;
    let Kinds {
        gateway,
        virtual_service,
    } = kinds;
    let destination = json!({
        "host": relay.service.cluster_local(),
        "port": { "number": relay.port },
    });
    let gateway_document = json!({
        "apiVersion": gateway.api_version,
        "kind": gateway.kind,
        "metadata": target.metadata(namespace),
        "spec": {
            "selector": target.selector,
            "servers": [{
                "port": { "number": port, "name": "https", "protocol": "HTTPS" },
                "tls": { "mode": "PASSTHROUGH" },
                "hosts": [host],
            }],
        },
    });
    let virtual_service_document = json!({
        "apiVersion": virtual_service.api_version,
        "kind": virtual_service.kind,
        "metadata": target.metadata(namespace),
        "spec": {
            "hosts": [host],
            "gateways": [format!("{namespace}/{name}")],
            "tls": [{
                "match": [{ "port": port, "sniHosts": [host] }],
                "route": [{ "destination": destination }],
            }],
        },
    });
    [
        (gateway, gateway_document),
        (virtual_service, virtual_service_document),
    ]
    .map(|(kind, document)| (ObjectRef::of(kind, &document), document))
}
