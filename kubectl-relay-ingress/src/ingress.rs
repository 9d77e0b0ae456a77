//! What a cluster says about its Istio ingress gateways: their pods, and the Services
//! that lead to them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Service;
use relay_shared::{istio::services_to, pod::Pod, service_address::PortRef};
use serde_json::Value;

use crate::{
    route::Route,
    service::{is_internal, ports},
};

/// What a cluster says about its ingress gateways.
#[derive(Debug, Default)]
pub(crate) struct Ingress {
    /// The name of the context, for what there is to do by hand.
    pub(crate) context: String,
    /// Every Gateway.
    pub(crate) gateways: Vec<Value>,
    /// Every pod that carries the selector of a route, and where none is ready, every
    /// pod that has a label `istio`; `None` where they may not be read.
    pub(crate) pods: Option<Vec<Pod>>,
    /// The Services in the namespaces of these pods.
    pub(crate) services: Vec<Service>,
}

impl Ingress {
    /// The Services that lead to ready pods with these labels.
    pub(crate) fn services(&self, selector: &BTreeMap<String, String>) -> Vec<&Service> {
        let pods: Vec<_> = self.ready_pods(selector).cloned().collect();
        services_to(&pods, &self.services)
    }

    /// The Service through which a route is entered, rather one that the outside
    /// reaches, and its port.
    pub(crate) fn entrance(&self, route: &Route) -> Option<(&Service, i32)> {
        let services = self.services(&route.selector).into_iter();
        let wanted = PortRef::Server(route.port);
        let entrances = services.filter_map(|service| Some((service, wanted.find(ports(service))?.port)));
        entrances.min_by_key(|(service, _)| is_internal(service))
    }

    pub(crate) fn ready_pods<'a>(
        &'a self,
        selector: &'a BTreeMap<String, String>,
    ) -> impl Iterator<Item = &'a Pod> {
        let pods = self.pods.iter().flatten();
        pods.filter(move |pod| pod.is_ready() && carries(pod, selector))
    }

    /// Whether two selectors have a ready pod in common.
    pub(crate) fn overlap(&self, one: &BTreeMap<String, String>, other: &BTreeMap<String, String>) -> bool {
        match self.pods {
            Some(_) => self.ready_pods(one).any(|pod| carries(pod, other)),
            None => one == other || other.is_empty(),
        }
    }
}

/// Whether a pod has labels.
pub(crate) fn carries(pod: &Pod, selector: &BTreeMap<String, String>) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}
