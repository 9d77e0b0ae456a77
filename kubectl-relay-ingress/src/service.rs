//! What changes about the relay server's own Service, and how it is taken back.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Service, ServicePort};
use relay_shared::{Error, Result, cluster::ObjectRef, relay};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The annotation that keeps what we changed, and what it was before.
pub(crate) const CHANGED: &str = "kubectl-relay-ingress/changed";

/// What we changed about a Service.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Changed {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    type_: Option<Change>,
    /// Fields of `spec` that the API server drops together with the former type.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    dropped: BTreeMap<String, Value>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, Change>,
}

/// A value before and after; there may have been none.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    to: String,
}

impl Change {
    /// Goes on to another value. What it was before us stays, unless somebody else has
    /// changed it since: then it is theirs that comes back.
    fn record(known: Option<Self>, now: Option<&str>, to: &str) -> Self {
        let from = match known {
            Some(known) if now == Some(&known.to) => known.from,
            _ => now.map(str::to_owned),
        };
        Self {
            from,
            to: to.to_owned(),
        }
    }
}

/// The merge patch that gives a Service a type and annotations, or `None` where it
/// has them.
///
/// Server-side apply of these fields would conflict with whoever installed the
/// Service. The patch carries the version that was read instead, so that a
/// change in between is refused.
///
/// # Errors
/// If it is a Service of a kind that cannot be exposed, or our own annotation was
/// tampered with.
pub(crate) fn expose(
    service: &Service,
    type_: &str,
    annotations: &[(String, String)],
) -> Result<Option<Value>> {
    let current = type_of(service);
    if current == "ExternalName" {
        return Err(
            Error::new("its type is ExternalName, so there is no server behind it to expose")
                .hint("name the relay server's own Service with --service"),
        );
    }
    let mut changed = changed(service)?.unwrap_or_default();
    let mut patch = Patch::new(service);
    if current != type_ {
        let is_ours = changed.type_.as_ref().is_some_and(|known| known.to == current);
        if !is_ours {
            changed.dropped = bound_to_type(service);
        }
        changed.type_ = Some(Change::record(changed.type_.take(), Some(current), type_));
        patch.set_type(type_);
    }
    // Of an annotation that is given twice the last one counts, as in kubectl.
    let annotations: BTreeMap<_, _> = annotations.iter().map(|(key, value)| (key, value)).collect();
    for (key, value) in annotations {
        let now = annotation(service, key);
        if now != Some(value) {
            let known = changed.annotations.remove(key);
            let change = Change::record(known, now, value);
            changed.annotations.insert(key.clone(), change);
            patch.annotate(key, Some(value));
        }
    }
    if patch.is_empty() {
        return Ok(None);
    }
    let kept = serde_json::to_string(&changed).expect("text can always be written as JSON");
    patch.annotate(CHANGED, Some(&kept));
    Ok(Some(patch.0))
}

/// The merge patch that takes back what [`expose`] changed, or `None` where it
/// changed nothing. What somebody else has changed since stays.
///
/// # Errors
/// If our own annotation was tampered with.
pub(crate) fn restore(service: &Service) -> Result<Option<Value>> {
    let Some(changed) = changed(service)? else {
        return Ok(None);
    };
    let mut patch = Patch::new(service);
    if let Some(Change { from: Some(from), to }) = &changed.type_
        && type_of(service) == to
    {
        patch.set_type(from);
        for (field, value) in changed.dropped {
            patch.0["spec"][field] = value;
        }
    }
    for (key, Change { from, to }) in &changed.annotations {
        if annotation(service, key) == Some(to) {
            patch.annotate(key, from.as_deref());
        }
    }
    patch.annotate(CHANGED, None);
    Ok(Some(patch.0))
}

/// The fields of `spec` that only a LoadBalancer may have (Kubernetes'
/// `dropTypeDependentFields`, pkg/registry/core/service), as far as someone has chosen
/// them: by default node ports are allocated.
fn bound_to_type(service: &Service) -> BTreeMap<String, Value> {
    let spec = service.spec.as_ref();
    let class = spec.and_then(|spec| spec.load_balancer_class.as_deref());
    let allocates = spec.and_then(|spec| spec.allocate_load_balancer_node_ports);
    let class = class.map(|class| ("loadBalancerClass".to_owned(), json!(class)));
    let allocates = allocates.filter(|allocates| !allocates);
    let allocates = allocates.map(|no| ("allocateLoadBalancerNodePorts".to_owned(), json!(no)));
    class.into_iter().chain(allocates).collect()
}

struct Patch(Value);

impl Patch {
    fn new(service: &Service) -> Self {
        Self(json!({ "metadata": { "resourceVersion": service.metadata.resource_version } }))
    }

    fn set_type(&mut self, type_: &str) {
        self.0["spec"] = json!({ "type": type_ });
    }

    fn annotate(&mut self, key: &str, value: Option<&str>) {
        self.0["metadata"]["annotations"][key] = json!(value);
    }

    fn is_empty(&self) -> bool {
        self.0.get("spec").is_none() && self.0["metadata"].get("annotations").is_none()
    }
}

/// The type of a Service, which is `ClusterIP` where it says nothing.
pub(crate) fn type_of(service: &Service) -> &str {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.type_.as_deref()).unwrap_or("ClusterIP")
}

/// Whether nothing outside its cluster can reach a Service.
pub(crate) fn is_internal(service: &Service) -> bool {
    let spec = service.spec.as_ref();
    let has_external_ips = spec
        .and_then(|spec| spec.external_ips.as_ref())
        .is_some_and(|ips| !ips.is_empty());
    !has_external_ips && !matches!(type_of(service), "LoadBalancer" | "NodePort")
}

/// The ports of a Service.
pub(crate) fn ports(service: &Service) -> &[ServicePort] {
    let spec = service.spec.as_ref();
    spec.and_then(|spec| spec.ports.as_deref()).unwrap_or_default()
}

/// A port by name and number.
pub(crate) fn shown(port: &ServicePort) -> String {
    match &port.name {
        Some(name) => format!("{name} ({})", port.port),
        None => port.port.to_string(),
    }
}

/// Names a Service.
pub(crate) fn of(service: &Service) -> ObjectRef {
    let [namespace, name] =
        [&service.metadata.namespace, &service.metadata.name].map(|part| part.as_deref().unwrap_or_default());
    ObjectRef::new::<Service>(namespace, name)
}

fn annotation<'a>(service: &'a Service, key: &str) -> Option<&'a str> {
    let annotations = service.metadata.annotations.as_ref()?;
    annotations.get(key).map(String::as_str)
}

fn changed(service: &Service) -> Result<Option<Changed>> {
    let Some(text) = annotation(service, CHANGED) else {
        return Ok(None);
    };
    let parsed = serde_json::from_str(text).map(Some);
    parsed.map_err(|e| {
        Error::new(format!(
            "its annotation {CHANGED:?} is not what this tool wrote: {e}"
        ))
        .hint("set the type of the Service by hand, and remove that annotation")
    })
}

/// The Service as a patch makes it, the way kubectl shows objects.
pub(crate) fn patched(service: &Service, patch: Option<&Value>) -> Value {
    let mut service = service.clone();
    service.metadata.managed_fields = None;
    let mut document = serde_json::to_value(service).expect("a Service can always be written as JSON");
    if let Some(patch) = patch {
        merge(&mut document, patch);
    }
    document
}

/// Applies a merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.as_object_mut().expect("is one").remove(key);
            }
            value => merge(&mut target[key], value),
        }
    }
}

/// The Helm values that hold the Service's type, of the releases it may be from: 1.x
/// calls it `enterprise-networking`, and 2.3 renamed the value of 2.x.
pub(crate) fn helm_values(service: &str, version: Option<&str>) -> &'static [&'static str] {
    const V2: [&str; 2] = ["glooMeshMgmtServer.serviceType", "glooMgmtServer.serviceType"];
    if service == relay::SERVICES[0] {
        return &["enterprise-networking.enterpriseNetworking.serviceType"];
    }
    let mut numbers = version.unwrap_or_default().trim_start_matches('v').split('.');
    match (
        numbers.next(),
        numbers.next().and_then(|minor| minor.parse().ok()),
    ) {
        (Some("2"), Some(0..=2)) => &V2[..1],
        (Some("2"), Some(3_u32..)) => &V2[1..],
        _ => &V2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(type_: &str, annotations: Value) -> Service {
        let metadata = json!({ "resourceVersion": "7", "annotations": annotations });
        serde_json::from_value(json!({ "metadata": metadata, "spec": { "type": type_ } }))
            .expect("is a service")
    }

    /// The Service after a patch, its version and our annotation left out.
    #[track_caller]
    fn after(service: &Service, patch: Result<Option<Value>>) -> Option<(String, Value)> {
        let patch = patch.expect("can be changed")?;
        assert_eq!(patch["metadata"]["resourceVersion"], "7");
        let mut document = patched(service, Some(&patch));
        let annotations = document["metadata"]["annotations"].take();
        let others = annotations
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| *key != CHANGED);
        let type_ = document["spec"]["type"].as_str().unwrap_or_default().to_owned();
        Some((type_, others.map(|(k, v)| (k.clone(), v.clone())).collect()))
    }

    fn annotations(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        let owned = pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn what_is_there_is_left_alone() {
        #[track_caller]
        fn check(service: &Service, type_: &str, wanted: &[(&str, &str)], want: Option<(&str, Value)>) {
            let got = after(service, expose(service, type_, &annotations(wanted)));
            assert_eq!(
                got,
                want.map(|(type_, annotations)| (type_.to_owned(), annotations))
            );
        }
        let plain = service("ClusterIP", json!({ "a": "1" }));
        check(
            &plain,
            "LoadBalancer",
            &[],
            Some(("LoadBalancer", json!({ "a": "1" }))),
        );
        check(&plain, "ClusterIP", &[], None);
        check(&plain, "ClusterIP", &[("a", "1")], None);
        check(
            &plain,
            "ClusterIP",
            &[("a", "2")],
            Some(("ClusterIP", json!({ "a": "2" }))),
        );
        check(
            &plain,
            "NodePort",
            &[("b", "2")],
            Some(("NodePort", json!({ "a": "1", "b": "2" }))),
        );
        let twice = [("a", "1"), ("a", "2")];
        let two = service("ClusterIP", json!({ "a": "2" }));
        check(
            &plain,
            "ClusterIP",
            &twice,
            Some(("ClusterIP", json!({ "a": "2" }))),
        );
        check(&two, "ClusterIP", &twice, None);
        let error = expose(&service("ExternalName", json!({})), "NodePort", &[]).expect_err("is none");
        assert!(error.to_string().contains("ExternalName"), "{error}");
    }

    #[test]
    fn the_first_state_is_what_comes_back() {
        let start = service("ClusterIP", json!({ "a": "1" }));
        let step = |service: &Service, type_, wanted: &[(&str, &str)]| -> Service {
            let patch = expose(service, type_, &annotations(wanted)).expect("can be changed");
            let mut document = patched(service, patch.as_ref());
            document["metadata"]["resourceVersion"] = "7".into();
            serde_json::from_value(document).expect("is a service")
        };
        assert_eq!(restore(&start).expect("is sound"), None);
        let first = step(&start, "LoadBalancer", &[("a", "2"), ("b", "2")]);
        let second = step(&first, "NodePort", &[("b", "3")]);
        for exposed in [&first, &second] {
            let restored = after(exposed, restore(exposed));
            assert_eq!(restored, Some(("ClusterIP".to_owned(), json!({ "a": "1" }))));
        }

        // Somebody has chosen another type in between.
        let mut chosen = first.clone();
        chosen.spec.get_or_insert_default().type_ = Some("NodePort".to_owned());
        let third = step(&chosen, "LoadBalancer", &[]);
        let restored = after(&third, restore(&third));
        assert_eq!(restored, Some(("NodePort".to_owned(), json!({ "a": "1" }))));

        // Helm has put the type back, and a person an annotation.
        let mut reverted = second.clone();
        reverted.spec.get_or_insert_default().type_ = Some("LoadBalancer".to_owned());
        let by_hand = [("b".to_owned(), "4".to_owned())];
        reverted
            .metadata
            .annotations
            .get_or_insert_default()
            .extend(by_hand);
        let restored = after(&reverted, restore(&reverted));
        let want = ("LoadBalancer".to_owned(), json!({ "a": "1", "b": "4" }));
        assert_eq!(restored, Some(want));
        // What is dropped with the type comes back with it.
        let mut owned = service("LoadBalancer", json!({}));
        let spec = owned.spec.get_or_insert_default();
        spec.load_balancer_class = Some("example.com/internal".to_owned());
        spec.allocate_load_balancer_node_ports = Some(false);
        let mut dropped = step(&owned, "NodePort", &[]);
        let spec = dropped.spec.get_or_insert_default();
        spec.load_balancer_class = None;
        spec.allocate_load_balancer_node_ports = None;
        let other = step(&dropped, "ClusterIP", &[]);
        for changed in [&dropped, &other] {
            let patch = restore(changed).expect("is sound").expect("changes it");
            assert_eq!(patch["spec"], serde_json::to_value(&owned.spec).expect("is JSON"));
        }

        let tampered = service("NodePort", json!({ CHANGED: "{\"type\":1}" }));
        for result in [restore(&tampered), expose(&tampered, "LoadBalancer", &[])] {
            let error = result.expect_err("is none of ours").to_string();
            assert!(error.contains(CHANGED), "{error}");
        }
    }

    #[test]
    fn the_helm_value_is_the_releases() {
        #[track_caller]
        fn check(service: &str, version: Option<&str>, want: &[&str]) {
            assert_eq!(helm_values(service, version), want);
        }
        let v1 = ["enterprise-networking.enterpriseNetworking.serviceType"];
        check("enterprise-networking", None, &v1);
        check(
            "gloo-mesh-mgmt-server",
            Some("2.2.9"),
            &["glooMeshMgmtServer.serviceType"],
        );
        check(
            "gloo-mesh-mgmt-server",
            Some("v2.3.0-rc1"),
            &["glooMgmtServer.serviceType"],
        );
        check(
            "gloo-mesh-mgmt-server",
            Some("2.10.1"),
            &["glooMgmtServer.serviceType"],
        );
        let both = ["glooMeshMgmtServer.serviceType", "glooMgmtServer.serviceType"];
        check("gloo-mesh-mgmt-server", None, &both);
        check("gloo-mesh-mgmt-server", Some("latest"), &both);
    }
}
