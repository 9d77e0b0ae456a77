//! The Gateway and the TLSRoute that lead agents through a gateway of Gateway API's,
//! TLS untouched. A Gateway is a gateway of its own, which its class brings up.
//!
//! The route lives beside the relay server, so that it needs no ReferenceGrant to lead
//! to its Service; a Gateway elsewhere takes routes from there.

use std::collections::BTreeSet;

use kube::{api::ApiResource, core::GroupVersionKind};
use relay_shared::{Error, Result, cluster::ObjectRef, gateways, shell};
use serde_json::{Value, json};

use crate::{route::array, target::Target};

pub(crate) use relay_shared::gateway_api::GROUP;

/// The name of the listener.
const LISTENER: &str = "relay";

/// The kinds of object, in the versions that the cluster serves.
#[derive(Debug, Clone)]
pub(crate) struct Kinds {
    pub(crate) class: ApiResource,
    pub(crate) gateway: ApiResource,
    pub(crate) tls_route: ApiResource,
}

impl Kinds {
    /// The three among all kinds that a cluster serves of [`GROUP`].
    pub(crate) fn among(kinds: &[ApiResource]) -> Option<Self> {
        let named = |name: &str| gateways::named(kinds, name).cloned();
        Some(Self {
            class: named("GatewayClass")?,
            gateway: named("Gateway")?,
            tls_route: named("TLSRoute")?,
        })
    }

    /// The versions of the newest release.
    pub(crate) fn newest() -> Self {
        let kind = |kind: &str, plural: &str| {
            ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1", kind), plural)
        };
        Self {
            class: kind("GatewayClass", "gatewayclasses"),
            gateway: kind("Gateway", "gateways"),
            tls_route: kind("TLSRoute", "tlsroutes"),
        }
    }
}

/// A cluster without Gateway API, or one whose TLSRoute is not installed.
pub(crate) fn not_served() -> Error {
    let error = Error::new("the cluster does not serve Gateway API's Gateway and TLSRoute");
    error.object(format!("/apis/{GROUP}")).hint(
        "install Gateway API 1.5, or the experimental channel of an older one, or expose the relay server \
         by `kubectl relay-ingress apply --via loadbalancer`",
    )
}

/// The class that is asked for, or else the only one there is.
///
/// # Errors
/// If it does not exist, or none was named and there is not exactly one.
pub(crate) fn class(named: Option<&str>, classes: &[Value]) -> Result<String> {
    let names: Vec<_> = classes
        .iter()
        .filter_map(|class| class["metadata"]["name"].as_str())
        .collect();
    let listed = names.join(", ");
    match (named, names.as_slice()) {
        (Some(named), names) if names.contains(&named) => Ok(named.to_owned()),
        (None, [only]) => Ok((*only).to_owned()),
        (_, []) => Err(
            Error::new("there is no GatewayClass, so nothing would bring a Gateway up")
                .hint("install an implementation of Gateway API, such as Istio"),
        ),
        (Some(named), _) => Err(Error::usage(format!("there is no GatewayClass {named:?}"))
            .hint(format!("choose with --gateway-class: {listed}"))),
        (None, _) => Err(Error::usage("there is more than one GatewayClass")
            .hint(format!("choose with --gateway-class: {listed}"))),
    }
}

/// The two objects, in the order they are shown.
pub(crate) fn objects(target: &Target, class: &str, kinds: &Kinds) -> [(ObjectRef, Value); 2] {
    let Target {
        relay,
        port,
        namespace,
        name,
        ..
    } = target;
    let (host, relay_namespace) = (&relay.host, relay.service.namespace());
    let from = match namespace == relay_namespace {
        true => json!({ "from": "Same" }),
        false => json!({
            "from": "Selector",
            "selector": { "matchLabels": { "kubernetes.io/metadata.name": relay_namespace } },
        }),
    };
    let gateway = json!({
        "apiVersion": kinds.gateway.api_version,
        "kind": kinds.gateway.kind,
        "metadata": target.metadata(namespace),
        "spec": {
            "gatewayClassName": class,
            "listeners": [{
                "name": LISTENER,
                "port": port,
                "protocol": "TLS",
                "hostname": host,
                "tls": { "mode": "Passthrough" },
                "allowedRoutes": { "namespaces": from, "kinds": [{ "kind": kinds.tls_route.kind }] },
            }],
        },
    });
    let tls_route = json!({
        "apiVersion": kinds.tls_route.api_version,
        "kind": kinds.tls_route.kind,
        "metadata": target.metadata(relay_namespace),
        "spec": {
            "parentRefs": [{ "name": name, "namespace": namespace, "sectionName": LISTENER }],
            "hostnames": [host],
            "rules": [{ "backendRefs": [{ "name": relay.service.service(), "port": relay.port }] }],
        },
    });
    [(&kinds.gateway, gateway), (&kinds.tls_route, tls_route)]
        .map(|(kind, document)| (ObjectRef::of(kind, &document), document))
}

/// Says which Gateways a route led on from, and will no more: where another namespace is
/// asked for, the route moves to another Gateway, and the former stays up.
pub(crate) fn left_behind(live: &Value, wanted: &Value, context: &str) -> Option<String> {
    let parents = |route: &Value| {
        let own = route["metadata"]["namespace"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let parents = array(&route["spec"]["parentRefs"]).map(move |parent| {
            let text = |key: &str| parent[key].as_str().map(str::to_owned);
            (
                text("namespace").unwrap_or_else(|| own.clone()),
                text("name").unwrap_or_default(),
            )
        });
        parents.collect::<BTreeSet<_>>()
    };
    let context = shell::word(context);
    let left = &parents(live) - &parents(wanted);
    let notes = left.iter().map(|(namespace, name)| {
        format!(
            "note: gateway {namespace}/{name} stays, and this route leads on from it no more\n  \
             hint: if nothing else needs it, run\n  \
             kubectl --context {context} -n {namespace} delete gateways.{GROUP} {name}"
        )
    });
    let notes: Vec<_> = notes.collect();
    (!notes.is_empty()).then(|| notes.join("\n"))
}

#[cfg(test)]
mod tests {
    use relay_shared::ExitCode;

    use super::*;

    #[test]
    fn gateways_that_are_left_behind_are_named() {
        #[track_caller]
        fn check(live: Value, want: &[&str]) {
            let route = |parents: Value| json!({ "metadata": { "namespace": "mesh" }, "spec": { "parentRefs": parents } });
            let wanted = route(json!([{ "name": "g", "namespace": "edge" }]));
            let note = left_behind(&route(live), &wanted, "my mgmt").unwrap_or_default();
            let named: Vec<_> = note
                .lines()
                .filter_map(|line| line.strip_prefix("note: gateway "))
                .collect();
            let want: Vec<_> = want
                .iter()
                .map(|name| format!("{name} stays, and this route leads on from it no more"))
                .collect();
            assert_eq!(named, want);
        }
        check(json!(null), &[]);
        check(
            json!([{ "name": "g", "namespace": "edge", "sectionName": "relay" }]),
            &[],
        );
        check(json!([{ "name": "g" }]), &["mesh/g"]);
        check(
            json!([{ "name": "h", "namespace": "edge" }, { "name": "g" }]),
            &["edge/h", "mesh/g"],
        );
    }

    #[test]
    fn a_class_is_chosen_where_there_is_a_choice() {
        #[track_caller]
        fn check(named: Option<&str>, classes: &[&str], want: Result<&str, ExitCode>) {
            let classes: Vec<_> = classes
                .iter()
                .map(|name| json!({ "metadata": { "name": name } }))
                .collect();
            let got = class(named, &classes).map_err(|error| error.exit_code());
            assert_eq!(got, want.map(str::to_owned));
        }
        check(None, &["istio"], Ok("istio"));
        check(Some("istio"), &["eg", "istio"], Ok("istio"));
        check(None, &["eg", "istio"], Err(ExitCode::Usage));
        check(Some("other"), &["eg"], Err(ExitCode::Usage));
        check(None, &[], Err(ExitCode::Failed));
        check(Some("istio"), &[], Err(ExitCode::Failed));
    }
}
