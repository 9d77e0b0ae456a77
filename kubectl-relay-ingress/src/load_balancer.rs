//! Whether a Service that waits for a load balancer may expect one.

use k8s_openapi::api::core::v1::{Node, Service};

use crate::{
    lint::Lint,
    service::{of, type_of},
};

/// Whether a Service waits for a load balancer's address.
pub(crate) fn is_waiting(service: &Service) -> bool {
    type_of(service) == "LoadBalancer" && !has_address(service)
}

fn has_address(service: &Service) -> bool {
    let status = service
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    status.is_some_and(|status| status.ingress.as_ref().is_some_and(|ingress| !ingress.is_empty()))
}

/// Warns of a Service that waits for a load balancer where none is to be expected.
pub(crate) fn lint_expected(service: &Service, nodes: &[Node], services: &[Service]) -> Option<Lint> {
    if nodes.is_empty() || has_address(service) || services.iter().any(has_address) {
        return None;
    }
    let provider = |node: &Node| {
        node.spec
            .as_ref()
            .and_then(|spec| spec.provider_id.clone())
            .unwrap_or_default()
    };
    let why = match nodes.iter().map(provider).collect::<Vec<_>>().as_slice() {
        nodes if nodes.iter().all(|node| node.starts_with("kind://")) => {
            "this is kind, which has none by default"
        }
        nodes if nodes.iter().all(String::is_empty) => "no node belongs to a cloud, and no Service has one",
        _ => return None,
    };
    Some(Lint::warning(
        of(service),
        format!("no load balancer is to be expected: {why}"),
        "install one (MetalLB, cloud-provider-kind), or use node ports: `kubectl relay-ingress apply --via nodeport`",
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
        serde_json::from_value(value).expect("is an object of its kind")
    }

    #[test]
    fn load_balancers_are_expected_in_clouds() {
        #[track_caller]
        fn check(service: Value, nodes: &[Value], others: &[Value], want: Option<&str>) {
            let nodes: Vec<Node> = nodes.iter().cloned().map(parse).collect();
            let others: Vec<Service> = others.iter().cloned().map(parse).collect();
            let found = lint_expected(&parse(service), &nodes, &others);
            let message = found.map(|lint| lint.message);
            let want = want.map(|why| format!("no load balancer is to be expected: {why}"));
            assert_eq!(message, want);
        }
        let node = |provider: &str| json!({ "spec": { "providerID": provider } });
        let balanced = json!({ "status": { "loadBalancer": { "ingress": [{ "ip": "192.0.2.1" }] } } });
        let kind = [node("kind://docker/kind/kind-control-plane")];
        let on_kind = Some("this is kind, which has none by default");
        let on_metal = Some("no node belongs to a cloud, and no Service has one");
        check(json!({}), &kind, &[], on_kind);
        check(json!({}), &kind, &[json!({})], on_kind);
        check(json!({}), &kind, std::slice::from_ref(&balanced), None);
        check(balanced, &kind, &[], None);
        check(json!({}), &[node("gce://p/z/n")], &[], None);
        check(json!({}), &[json!({}), json!({ "spec": {} })], &[], on_metal);
        check(json!({}), &[node("aws:///z/i"), json!({})], &[], None);
        check(json!({}), &[], &[], None);
    }
}
