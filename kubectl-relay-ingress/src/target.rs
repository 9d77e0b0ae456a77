//! What is to be exposed and under which names: everything that is applied follows
//! from it.

use k8s_openapi::api::core::v1::Service;
use relay_shared::relay::{self, RelayHost};
use serde_json::{Value, json};

use crate::cli::{GatewayArgs, Labels};

/// Our name in `metadata.managedFields` and in the label that says who manages an
/// object.
pub(crate) const MANAGER: &str = "kubectl-relay-ingress";

/// The recommended label that says who manages an object.
pub(crate) const MANAGED_BY: &str = "app.kubernetes.io/managed-by";

/// What the page calls its objects, its gateway's port, and the label of its pods.
const NAME: &str = "gloo-mesh-ingress";
/// See [`NAME`].
const PORT: u16 = 443;
/// See [`NAME`].
const SELECTOR: [&str; 2] = ["istio", "ingressgateway"];

/// Labels that say which relay server an object of ours leads to: what is made for
/// one may live in any namespace.
const RELAY_NAMESPACE: &str = "kubectl-relay-ingress/relay-namespace";
const RELAY_SERVICE: &str = "kubectl-relay-ingress/relay-service";

/// Selects what was made for the relay servers of a namespace, or for one of them.
pub(crate) fn made_for(namespace: &str, service: Option<&str>) -> String {
    let labels = ours(namespace, service).map(|(key, value)| format!("{key}={value}"));
    labels.collect::<Vec<_>>().join(",")
}

/// Whether an object is one that [`made_for`] selects.
pub(crate) fn is_made_for(object: &Value, namespace: &str, service: Option<&str>) -> bool {
    ours(namespace, service).all(|(key, value)| object["metadata"]["labels"][key] == value)
}

fn ours<'a>(namespace: &'a str, service: Option<&'a str>) -> impl Iterator<Item = (&'static str, &'a str)> {
    let labels = [(MANAGED_BY, MANAGER), (RELAY_NAMESPACE, namespace)];
    let service = service.map(|service| (RELAY_SERVICE, service));
    labels.into_iter().chain(service)
}

/// A relay server, as agents see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Relay {
    /// Its Service.
    pub(crate) service: RelayHost,
    /// The gRPC port of that.
    pub(crate) port: u16,
    /// The name that agents ask for.
    pub(crate) host: String,
}

impl Relay {
    /// The relay server of a Service, if that was found, under a name of its own or
    /// the one that agents ask for by default.
    pub(crate) fn new(name: RelayHost, service: Option<&Service>, host: Option<&str>) -> Self {
        Self {
            port: grpc_port(service),
            host: host.map_or_else(|| name.to_string(), str::to_owned),
            service: name,
        }
    }
}

/// A relay server, and the way to it through a gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) relay: Relay,
    /// The port of the gateway that agents dial.
    pub(crate) port: u16,
    /// The name of the objects.
    pub(crate) name: String,
    /// The namespace of the Gateway.
    pub(crate) namespace: String,
    /// The labels of the gateway's pods.
    pub(crate) selector: Labels,
}

impl Target {
    /// The target that the flags describe.
    pub(crate) fn new(relay: Relay, flags: &GatewayArgs) -> Self {
        let namespace = flags.gateway_namespace.as_deref();
        Self {
            port: flags.port.unwrap_or(PORT),
            name: flags.name.as_deref().unwrap_or(NAME).to_owned(),
            namespace: namespace.unwrap_or(relay.service.namespace()).to_owned(),
            selector: match &flags.gateway_selector {
                Some(labels) => labels.clone(),
                None => Labels::from([SELECTOR.map(str::to_owned).into()]),
            },
            relay,
        }
    }

    /// The metadata of an object that leads to the relay server.
    pub(crate) fn metadata(&self, namespace: &str) -> Value {
        json!({
            "name": self.name,
            "namespace": namespace,
            "labels": {
                MANAGED_BY: MANAGER,
                RELAY_NAMESPACE: self.relay.service.namespace(),
                RELAY_SERVICE: self.relay.service.service(),
            },
        })
    }
}

/// The number of the relay server's gRPC port: the one named so, else the only
/// one, else the page's.
fn grpc_port(service: Option<&Service>) -> u16 {
    let ports = service
        .and_then(|service| service.spec.as_ref()?.ports.as_deref())
        .unwrap_or_default();
    let named = ports
        .iter()
        .find(|port| port.name.as_deref() == Some(relay::PORT_NAME));
    let port = named.or(match ports {
        [only] => Some(only),
        _ => None,
    });
    port.and_then(|port| u16::try_from(port.port).ok())
        .unwrap_or(relay::PORT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_the_services() {
        #[track_caller]
        fn check(ports: Value, want: u16) {
            let service =
                serde_json::from_value(json!({ "spec": { "ports": ports } })).expect("is a service");
            assert_eq!(grpc_port(Some(&service)), want);
        }
        check(
            json!([{ "name": "http", "port": 80 }, { "name": "grpc", "port": 9901 }]),
            9901,
        );
        check(json!([{ "port": 9902 }]), 9902);
        check(
            json!([{ "name": "a", "port": 1 }, { "name": "b", "port": 2 }]),
            9900,
        );
        assert_eq!(grpc_port(None), 9900);
    }
}
