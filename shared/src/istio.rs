//! Which Istio Gateways pass TLS through for a host, and which Services lead to
//! them: pure decisions about objects that were read before.
//!
//! Fields and their meaning are those of Istio's `networking/v1/gateway.proto`.

use std::{cmp::Reverse, collections::BTreeMap};

use k8s_openapi::api::core::v1::Service;
use kube::api::ApiResource;
use serde_json::Value;

use crate::{cluster::ObjectRef, pod::Pod};

/// The API group of Istio's objects about traffic.
pub const GROUP: &str = "networking.istio.io";

/// A server of a Gateway that passes TLS through for a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passage {
    /// The Gateway.
    pub gateway: ObjectRef,
    /// The labels of the pods that it configures; without any, of all.
    pub selector: BTreeMap<String, String>,
    /// The port that the server listens on.
    pub port: u16,
}

/// Every passage that Gateways of a kind offer to a host: those made for it before
/// those of a wildcard, which may lead elsewhere, and else in their order.
pub fn passages(kind: &ApiResource, gateways: &[Value], host: &str) -> Vec<Passage> {
    let passages = gateways.iter().flat_map(|gateway| {
        let object = ObjectRef::of(kind, gateway);
        servers(gateway).filter_map(move |server| {
            let exactness = passes_through(server, host)?;
            let passage = Passage {
                gateway: object.clone(),
                selector: labels(&gateway["spec"]["selector"]),
                port: u16::try_from(server["port"]["number"].as_u64()?).ok()?,
            };
            Some((exactness, passage))
        })
    });
    let mut passages: Vec<_> = passages.collect();
    passages.sort_by_key(|(exactness, _)| Reverse(*exactness));
    passages.into_iter().map(|(_, passage)| passage).collect()
}

/// Whether a name, exact or with a wildcard `*` for its first labels, is or includes
/// a host. An optional `NAMESPACE/` says who may route from it and not for whom it is.
pub fn matches_host(pattern: &str, host: &str) -> bool {
    let (name, host) = (name_of(pattern).to_ascii_lowercase(), host.to_ascii_lowercase());
    match name.strip_prefix('*') {
        Some("") => true,
        Some(rest) => {
            rest.starts_with('.')
                && host
                    .strip_suffix(rest)
                    .is_some_and(|labels| !labels.is_empty() && !labels.starts_with('.'))
        }
        None => name == host,
    }
}

/// A host without the `NAMESPACE/` that may be before it.
fn name_of(pattern: &str) -> &str {
    pattern.split_once('/').map_or(pattern, |(_, name)| name)
}

/// The Services that lead to any of the pods, in their order.
pub fn services_to<'s>(pods: &[Pod], services: &'s [Service]) -> Vec<&'s Service> {
    let leads =
        |service: &&Service| {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let Some(selector) = selector.filter(|selector| !selector.is_empty()) else {
                return false;
            };
            pods.iter().any(|pod| {
                pod.metadata.namespace == service.metadata.namespace
                    && pod.metadata.labels.as_ref().is_some_and(|labels| {
                        selector.iter().all(|(key, value)| labels.get(key) == Some(value))
                    })
            })
        };
    services.iter().filter(leads).collect()
}

fn servers(gateway: &Value) -> impl Iterator<Item = &Value> {
    gateway["spec"]["servers"].as_array().into_iter().flatten()
}

/// How much of a host a server that passes TLS through spells out, in bytes; `None` if
/// it does not do so for that host.
fn passes_through(server: &Value, host: &str) -> Option<usize> {
    let hosts = server["hosts"].as_array().into_iter().flatten();
    let hosts = hosts.filter(|_| server["tls"]["mode"] == "PASSTHROUGH");
    hosts
        .filter_map(Value::as_str)
        .filter(|pattern| matches_host(pattern, host))
        .map(|pattern| name_of(pattern).trim_start_matches('*').len())
        .max()
}

/// Labels of an object, such as those of a selector.
pub fn labels(value: &Value) -> BTreeMap<String, String> {
    let labels = value.as_object().into_iter().flatten();
    let labels = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    labels.collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const HOST: &str = "enterprise-networking.gloo-mesh";

    #[test]
    fn hosts_match_exactly_or_by_wildcard() {
        #[track_caller]
        fn check(pattern: &str, want: bool) {
            assert_eq!(matches_host(pattern, HOST), want, "{pattern:?}");
        }
        check("enterprise-networking.gloo-mesh", true);
        check("Enterprise-Networking.Gloo-Mesh", true);
        check("*.gloo-mesh", true);
        check("*", true);
        check("gloo-mesh/enterprise-networking.gloo-mesh", true);
        check("*/enterprise-networking.gloo-mesh", true);
        check("./*.gloo-mesh", true);
        check("*/*", true);
        check("other/*", true);
        check("gloo-mesh", false);
        check("*.enterprise-networking.gloo-mesh", false);
        check("*gloo-mesh", false);
        check("*.mesh", false);
        check("*.", false);
        check("", false);
        check("enterprise-networking.gloo-mesh.svc", false);
        check("enterprise-networking.*", false);
        assert!(matches_host("*.example.com", "a.b.example.com"));
        assert!(!matches_host("*.example.com", ".example.com"));
    }

    #[test]
    fn only_servers_that_pass_tls_through_are_passages() {
        #[track_caller]
        fn check(server: Value, want: Option<u16>) {
            let kind = ApiResource::from_gvk_with_plural(
                &kube::core::GroupVersionKind::gvk(GROUP, "v1", "Gateway"),
                "gateways",
            );
            let gateway = json!({
                "metadata": { "namespace": "edge", "name": "gw" },
                "spec": { "selector": { "istio": "ingress" }, "servers": [server] },
            });
            let odd = [
                json!({}),
                json!({ "spec": { "servers": [null, 7] } }),
                json!(null),
            ];
            let found = passages(&kind, &[&odd[..], &[gateway]].concat(), HOST);
            assert_eq!(found.iter().map(|p| p.port).next(), want);
            assert!(
                found
                    .iter()
                    .all(|p| p.selector["istio"] == "ingress" && p.gateway.namespace() == Some("edge"))
            );
        }
        let server = |mode: &str, hosts: &[&str], port: i64| json!({ "port": { "number": port }, "tls": { "mode": mode }, "hosts": hosts });
        check(server("PASSTHROUGH", &[HOST], 443), Some(443));
        check(
            server("PASSTHROUGH", &["other.example", "./*.gloo-mesh"], 15443),
            Some(15443),
        );
        check(server("SIMPLE", &[HOST], 443), None);
        check(server("AUTO_PASSTHROUGH", &[HOST], 443), None);
        check(server("PASSTHROUGH", &["other.example"], 443), None);
        check(server("PASSTHROUGH", &[], 443), None);
        check(server("PASSTHROUGH", &[HOST], 70_000), None);
        check(server("PASSTHROUGH", &[HOST], -1), None);
        check(json!({ "port": { "number": 80 }, "hosts": [HOST] }), None);
    }

    #[test]
    fn what_is_made_for_the_host_comes_before_what_is_for_many() {
        let kind = ApiResource::from_gvk_with_plural(
            &kube::core::GroupVersionKind::gvk(GROUP, "v1", "Gateway"),
            "gateways",
        );
        let gateway = |hosts: &[&str], port: u16| {
            let server =
                json!({ "port": { "number": port }, "tls": { "mode": "PASSTHROUGH" }, "hosts": hosts });
            json!({ "spec": { "servers": [server] } })
        };
        let gateways = [
            gateway(&["*"], 1),
            gateway(&["mesh/*.gloo-mesh"], 2),
            gateway(&["a-very-long-namespace-of-somebody/*"], 3),
            gateway(&["*.example.com", "*", "./enterprise-networking.gloo-mesh"], 4),
            gateway(&[HOST], 5),
        ];
        let found = passages(&kind, &gateways, HOST);
        let ports: Vec<_> = found.iter().map(|passage| passage.port).collect();
        assert_eq!(ports, [4, 5, 2, 1, 3]);
    }

    #[test]
    fn services_lead_to_pods_by_all_their_labels() {
        #[track_caller]
        fn check(namespace: &str, selector: Value, want: bool) {
            let pod =
                json!({ "metadata": { "namespace": "edge", "labels": { "app": "gw", "istio": "ingress" } } });
            let pod: Pod = serde_json::from_value(pod).expect("is a pod");
            let service = json!({ "metadata": { "namespace": namespace }, "spec": { "selector": selector } });
            let services: [Service; 1] = [serde_json::from_value(service).expect("is a service")];
            assert_eq!(services_to(&[pod], &services).len(), usize::from(want));
        }
        check("edge", json!({ "istio": "ingress" }), true);
        check("edge", json!({ "istio": "ingress", "app": "gw" }), true);
        check("edge", json!({ "istio": "ingress", "app": "other" }), false);
        check("edge", json!({}), false);
        check("edge", json!(null), false);
        check("elsewhere", json!({ "istio": "ingress" }), false);
    }
}
