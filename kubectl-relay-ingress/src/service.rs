//! What changes about the relay server's own Service.

use k8s_openapi::api::core::v1::Service;
use relay_shared::relay;
use serde_json::{Value, json};

/// The merge patch that gives a Service a type, or `None` where it has that type.
///
/// Server-side apply of this one field would conflict with whoever installed the
/// Service. The patch carries the version that was read instead, so that a
/// change in between is refused.
pub(crate) fn retype(service: &Service, type_: &str) -> Option<Value> {
    let current = service.spec.as_ref().and_then(|spec| spec.type_.as_deref());
    (current != Some(type_)).then(|| {
        json!({
            "metadata": { "resourceVersion": service.metadata.resource_version },
            "spec": { "type": type_ },
        })
    })
}

/// The Service as it is once it has a type, the way kubectl shows objects.
pub(crate) fn with_type(mut service: Service, type_: &str) -> Value {
    service.metadata.managed_fields = None;
    service.spec.get_or_insert_default().type_ = Some(type_.to_owned());
    serde_json::to_value(service).expect("a Service can always be written as JSON")
}

/// The number of the relay server's gRPC port: the one named so, else the only
/// one, else the page's.
pub(crate) fn grpc_port(service: Option<&Service>) -> u16 {
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

    fn service(spec: Value) -> Service {
        serde_json::from_value(json!({ "metadata": { "resourceVersion": "7" }, "spec": spec }))
            .expect("is a service")
    }

    #[test]
    fn a_type_is_changed_once() {
        let patch = retype(&service(json!({ "type": "ClusterIP" })), "LoadBalancer");
        let want = json!({ "metadata": { "resourceVersion": "7" }, "spec": { "type": "LoadBalancer" } });
        assert_eq!(patch, Some(want));
        let already = service(json!({ "type": "LoadBalancer" }));
        assert_eq!(retype(&already, "LoadBalancer"), None);
    }

    #[test]
    fn the_port_is_the_services() {
        #[track_caller]
        fn check(ports: Value, want: u16) {
            assert_eq!(grpc_port(Some(&service(json!({ "ports": ports })))), want);
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
