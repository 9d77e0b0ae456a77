//! Reads the gateways that lead to the relay server: Istio's and Gateway API's.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use futures::future::{try_join, try_join_all};
use k8s_openapi::api::core::v1::Service;
use kube::api::ApiResource;
use serde_json::Value;

use crate::{
    candidate::{Candidate, Reason, Source},
    cluster::ObjectRef,
    error::{Error, Result},
    gateway_api::{self, Backend},
    istio,
    observation::{Lookup, Observation, Via},
    pod::Pod,
    relay::{self, RelayHost},
    service_address::PortRef,
    services::{joined, of_service},
    watch::Reading,
};

/// The ingress gateway that is named, else those that pass TLS through for the relay's
/// host, else the page's.
pub(crate) async fn observe_istio(
    reading: &Reading<'_>,
    lookup: &Lookup,
    observation: &mut Observation,
) -> Result<()> {
    if lookup.ingress.is_none() {
        match discover(reading, lookup, &observation.host).await {
            Ok(candidates) => {
                let who = match candidates.is_empty() {
                    true => "no Istio Gateway passes",
                    false => "nothing listens for the Istio Gateways that pass",
                };
                // A Gateway itself is only told of for want of its pods or their Service.
                let is_found = candidates
                    .iter()
                    .any(|candidate| candidate.object.resource().kind == "Service");
                observation.extend(candidates);
                if is_found {
                    return Ok(());
                }
                let text = format!(
                    "{who} TLS through for {}; the ingress gateway is the usual one",
                    observation.host
                );
                observation.note(Source::Istio, text, None);
            }
            Err(error) if error.is_forbidden() => {
                let text = format!(
                    "Istio's gateways cannot be found, the ingress gateway is the usual one: {}",
                    error.message()
                );
                observation.note(Source::Istio, text, Some(error));
            }
            Err(error) => return Err(error),
        }
    }
    let usual = || ObjectRef::new::<Service>(relay::INGRESS_NAMESPACE, relay::INGRESS_SERVICE);
    let object = lookup.ingress.clone().unwrap_or_else(usual);
    let port = lookup.ingress_port.clone();
    let port = port.unwrap_or_else(|| PortRef::new(relay::INGRESS_PORT_NAME));
    let candidates = match reading.get::<Service>(&object).await {
        Ok(Some(service)) => of_service(reading, Source::Istio, &object, &service, &port, lookup).await?,
        Ok(None) => vec![Candidate::absent(
            Source::Istio,
            object,
            "there is no such service".to_owned(),
            "install an Istio ingress gateway, or name yours with --ingress-namespace and --ingress-service",
        )],
        Err(error) if error.is_forbidden() => vec![Candidate::unreadable(Source::Istio, object, error)],
        Err(error) => return Err(error),
    };
    observation.extend(candidates);
    Ok(())
}

/// What the Services say that lead to the pods of Gateways that pass TLS through for a
/// host, and what these Gateways lack.
async fn discover(reading: &Reading<'_>, lookup: &Lookup, host: &str) -> Result<Vec<Candidate>> {
    let kinds = reading.cluster().kinds(istio::GROUP).await?;
    let Some(kind) = named(&kinds, "Gateway") else {
        reading.misses(istio::GROUP, "gateways");
        return Ok(Vec::new());
    };
    let gateways = reading.list_dynamic(kind).await?;
    let mut passages = istio::passages(kind, &gateways, host);
    // What several servers of the same gateways share is read once.
    let mut known = HashSet::new();
    passages.retain(|passage| known.insert((passage.selector.clone(), passage.port)));
    let found = passages
        .iter()
        .map(|passage| services_of(reading, lookup, passage));
    let mut candidates: Vec<Candidate> = try_join_all(found).await?.into_iter().flatten().collect();
    let mut known = HashSet::new();
    candidates.retain(|candidate| {
        let result = candidate.result.clone().map_err(|reason| reason.state);
        known.insert((candidate.object.to_string(), candidate.field.clone(), result))
    });
    Ok(candidates)
}

/// The pods that an Istio Gateway with a selector configures, in all namespaces: without
/// labels those of every ingress gateway.
///
/// # Errors
/// If pods may not be listed.
pub async fn pods(reading: &Reading<'_>, selector: &BTreeMap<String, String>) -> Result<Vec<Pod>> {
    reading.list(None, &pod_labels(selector)).await
}

fn pod_labels(selector: &BTreeMap<String, String>) -> String {
    match selector.is_empty() {
        true => "istio".to_owned(),
        false => joined(selector),
    }
}

/// The Services in the namespaces of pods.
///
/// # Errors
/// If those of any of the namespaces may not be listed.
pub async fn services_beside(reading: &Reading<'_>, pods: &[Pod]) -> Result<Vec<Service>> {
    let namespaces: BTreeSet<_> = pods
        .iter()
        .filter_map(|pod| pod.metadata.namespace.as_deref())
        .collect();
    let lists = namespaces
        .iter()
        .map(|namespace| reading.list::<Service>(Some(namespace), ""));
    Ok(try_join_all(lists).await?.into_iter().flatten().collect())
}

/// What the Services say that lead to the pods of a Gateway, or what it lacks.
async fn services_of(
    reading: &Reading<'_>,
    lookup: &Lookup,
    passage: &istio::Passage,
) -> Result<Vec<Candidate>> {
    let pods = pods(reading, &passage.selector).await?;
    let services = services_beside(reading, &pods).await?;
    let port = lookup.ingress_port.clone();
    let port = port.unwrap_or(PortRef::Server(passage.port));
    let found = istio::services_to(&pods, &services);
    if found.is_empty() {
        return Ok(vec![lacking(passage, !pods.is_empty())]);
    }
    let found = found.into_iter().map(async |service| {
        let name = |name: &Option<String>| name.clone().unwrap_or_default();
        let object =
            ObjectRef::new::<Service>(&name(&service.metadata.namespace), &name(&service.metadata.name));
        of_service(reading, Source::Istio, &object, service, &port, lookup).await
    });
    Ok(try_join_all(found).await?.into_iter().flatten().collect())
}

/// A Gateway that nothing listens for: it selects no pods, or no Service leads to them.
fn lacking(passage: &istio::Passage, has_pods: bool) -> Candidate {
    let labels = pod_labels(&passage.selector);
    let state = match has_pods {
        true => format!("no Service leads to the pods with the labels {labels}, which it selects"),
        false => format!("no pod has the labels {labels}, which it selects"),
    };
    let hint = format!("see `kubectl get pods,services --all-namespaces --selector {labels}`");
    Candidate {
        source: Source::Istio,
        object: passage.gateway.clone(),
        field: "spec.selector".to_owned(),
        result: Err(Reason::new(state, hint)),
    }
}

pub(crate) async fn observe_gateway_api(
    reading: &Reading<'_>,
    lookup: &Lookup,
    relay: &RelayHost,
    observation: &mut Observation,
) -> Result<()> {
    // Where it is one of several, its absence is nothing to be told of.
    let absent = |observation: &mut Observation, text: &str| {
        if lookup.via == Via::GatewayApi {
            let error = Error::new(text).hint("expose it with `kubectl relay-ingress apply`");
            observation.note(Source::GatewayApi, text, Some(error));
        }
    };
    match gateways_and_routes(reading).await {
        Ok(Some((kind, gateways, routes))) => {
            let backend = Backend {
                namespace: relay.namespace(),
                service: relay.service(),
                host: &observation.host,
            };
            let found = gateway_api::candidates(&kind, &gateways, &routes, backend, &lookup.preferences);
            if found.is_empty() {
                let text = format!("no Gateway of Gateway API has a TLSRoute to {relay}");
                absent(observation, &text);
            }
            observation.extend(found);
        }
        Ok(None) => {
            absent(
                observation,
                "the cluster serves no Gateway and TLSRoute of Gateway API",
            );
        }
        Err(error) if error.is_forbidden() => {
            let text = format!("Gateway API cannot be read: {}", error.message());
            observation.note(Source::GatewayApi, text, Some(error));
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Gateway API's kind of Gateway, all of these, and all TLSRoutes; `None` where they
/// are not served.
async fn gateways_and_routes(reading: &Reading<'_>) -> Result<Option<(ApiResource, Vec<Value>, Vec<Value>)>> {
    let kinds = reading.cluster().kinds(gateway_api::GROUP).await?;
    let (Some(gateway), Some(route)) = (named(&kinds, "Gateway"), named(&kinds, "TLSRoute")) else {
        for (kind, plural) in [("Gateway", "gateways"), ("TLSRoute", "tlsroutes")] {
            if named(&kinds, kind).is_none() {
                reading.misses(gateway_api::GROUP, plural);
            }
        }
        return Ok(None);
    };
    let lists = try_join(reading.list_dynamic(gateway), reading.list_dynamic(route)).await?;
    Ok(Some((gateway.clone(), lists.0, lists.1)))
}

/// The kind of this name.
pub fn named<'k>(kinds: &'k [ApiResource], name: &str) -> Option<&'k ApiResource> {
    kinds.iter().find(|kind| kind.kind == name)
}
