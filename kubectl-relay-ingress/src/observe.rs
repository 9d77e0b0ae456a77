//! What a cluster says about its gateways. What the user may not read is left out,
//! and said.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::{join, try_join, try_join_all};
use k8s_openapi::api::core::v1::{Node, Service};
use kube::api::ApiResource;
use relay_shared::{
    Error, Result,
    candidate::Preferences,
    cluster::{Cluster, ObjectRef},
    gateways,
    observation::{Lookup, Via},
    pod::Pod,
    relay::PORT_NAME,
    service_address::PortRef,
    terminal,
    watch::Reading,
};
use serde_json::Value;

use crate::{
    gateway_api,
    ingress::Ingress,
    istio::{self, Kinds},
    istio_lint,
    lint::Lint,
    load_balancer,
    route::{Route, reference},
    target::Relay,
};

/// Istio, as a cluster that serves it knows it.
#[derive(Debug)]
pub(crate) struct Istio {
    pub(crate) kinds: Kinds,
    /// Whether all Gateways and VirtualServices could be read.
    pub(crate) is_whole: bool,
    /// Every VirtualService.
    pub(crate) virtual_services: Vec<Value>,
    pub(crate) ingress: Ingress,
}

impl Istio {
    /// Reads what is behind Gateways with any of these selectors: pods and Services.
    pub(crate) async fn with_backends(
        mut self,
        cluster: &Cluster,
        selectors: impl IntoIterator<Item = BTreeMap<String, String>>,
    ) -> Result<Self> {
        let backends = backends(cluster, &selectors.into_iter().collect()).await?;
        let (pods, services) = backends.unzip();
        self.ingress.pods = pods;
        self.ingress.services = services.unwrap_or_default();
        Ok(self)
    }

    /// An object as it is in the cluster.
    pub(crate) async fn live(&self, cluster: &Cluster, object: &ObjectRef) -> Result<Option<Value>> {
        if !self.is_whole {
            return cluster.get(object).await;
        }
        let mut known = self.ingress.gateways.iter().chain(&self.virtual_services);
        Ok(known.find(|known| reference(known) == *object).cloned())
    }

    /// Finds what is wrong with routes to a relay server's Service.
    pub(crate) async fn lint(
        &self,
        cluster: &Cluster,
        routes: &[Route],
        relay: &Relay,
        service: Option<&Service>,
    ) -> Result<Vec<Lint>> {
        let mut found = Vec::new();
        let mut waiting: Vec<&Service> = Vec::new();
        for route in routes {
            found.extend(istio_lint::lint_route(route, relay, service, &self.ingress));
            waiting.extend(self.ingress.services(&route.selector));
        }
        waiting.dedup();
        found.extend(load_balancers(cluster, &waiting).await?);
        Ok(found)
    }
}

/// Reads all Gateways and VirtualServices, or those beside the relay server, and nothing of
/// what is behind them; `None` where the cluster serves no Istio.
pub(crate) async fn istio(cluster: &Cluster, namespace: &str) -> Result<Option<Istio>> {
    let Some(kinds) = Kinds::among(&cluster.kinds(istio::GROUP).await?) else {
        return Ok(None);
    };
    let [gateways, virtual_services] =
        [&kinds.gateway, &kinds.virtual_service].map(|kind| list(cluster, kind, namespace, ""));
    let (gateways, virtual_services) = try_join(gateways, virtual_services).await?;
    Ok(Some(Istio {
        is_whole: gateways.is_whole() && virtual_services.is_whole(),
        kinds,
        virtual_services: virtual_services.objects,
        ingress: Ingress {
            context: cluster.context().to_owned(),
            gateways: gateways.objects,
            ..Ingress::default()
        },
    }))
}

/// Gateway API, as a cluster that serves it knows it.
#[derive(Debug)]
pub(crate) struct GatewayApi {
    /// Whether all of them could be read.
    pub(crate) is_whole: bool,
    /// Every Gateway.
    pub(crate) gateways: Vec<Value>,
    /// Every TLSRoute.
    pub(crate) routes: Vec<Value>,
}

/// Reads all Gateways and TLSRoutes, or those beside the relay server; `None` where the
/// cluster serves none.
pub(crate) async fn gateway_api(cluster: &Cluster, namespace: &str) -> Result<Option<GatewayApi>> {
    let Some(kinds) = gateway_api::Kinds::among(&cluster.kinds(gateway_api::GROUP).await?) else {
        return Ok(None);
    };
    let [gateways, routes] =
        [&kinds.gateway, &kinds.tls_route].map(|kind| list(cluster, kind, namespace, ""));
    let (gateways, routes) = try_join(gateways, routes).await?;
    Ok(Some(GatewayApi {
        is_whole: gateways.is_whole() && routes.is_whole(),
        gateways: gateways.objects,
        routes: routes.objects,
    }))
}

/// The objects of a kind, as far as they may be read.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) objects: Vec<Value>,
    pub(crate) reach: Reach,
}

/// Where objects may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reach {
    Everywhere,
    /// In the namespace of the relay server alone.
    Beside,
    Nowhere,
}

impl Listed {
    fn is_whole(&self) -> bool {
        self.reach == Reach::Everywhere
    }
}

/// The objects of a kind that carry the labels, wherever they are; who may not look
/// everywhere finds those beside the relay server, if they may look there, and is told.
pub(crate) async fn list(
    cluster: &Cluster,
    kind: &ApiResource,
    namespace: &str,
    labels: &str,
) -> Result<Listed> {
    let listed = |objects, reach| Ok(Listed { objects, reach });
    let refused = match cluster.list_dynamic(kind, None, labels).await {
        Err(refused) if refused.is_forbidden() => refused,
        found => return listed(found?, Reach::Everywhere),
    };
    match cluster.list_dynamic(kind, Some(namespace), labels).await {
        Err(error) if error.is_forbidden() => {
            not_checked(&format!("what there may be of {}", kind.plural), &error);
            listed(Vec::new(), Reach::Nowhere)
        }
        beside => {
            let elsewhere = format!("what there may be outside of namespace {namespace:?}");
            not_checked(&elsewhere, &refused);
            listed(beside?, Reach::Beside)
        }
    }
}

/// The pods with any of these labels, or where none is ready, with a label `istio`;
/// and the Services beside them.
async fn backends(
    cluster: &Cluster,
    selectors: &BTreeSet<BTreeMap<String, String>>,
) -> Result<Option<(Vec<Pod>, Vec<Service>)>> {
    let reading = Reading::new(cluster);
    let lists = selectors.iter().map(async |selector| {
        let mut pods = gateways::pods(&reading, selector).await?;
        if !pods.iter().any(Pod::is_ready) {
            pods.extend(cluster.list::<Pod>(None, "istio").await?);
        }
        Result::<_>::Ok(pods)
    });
    let Some(pods) = permitted(try_join_all(lists).await)? else {
        return Ok(None);
    };
    let pods: Vec<_> = pods.into_iter().flatten().collect();
    let services = permitted(gateways::services_beside(&reading, &pods).await)?;
    Ok(services.map(|services| (pods, services)))
}

/// Where a relay server's address may be: what relay-address looks for by default.
pub(crate) fn lookup(relay: &Relay) -> Lookup {
    Lookup {
        via: Via::Auto,
        everywhere: false,
        namespace: relay.service.namespace().to_owned(),
        service: Some(relay.service.service().to_owned()),
        port: PortRef::new(PORT_NAME),
        host: Some(relay.host.clone()),
        ingress: None,
        ingress_port: None,
        preferences: Preferences::default(),
    }
}

/// Whether load balancers are to be expected for Services that wait for one.
pub(crate) async fn load_balancers(cluster: &Cluster, waiting: &[&Service]) -> Result<Vec<Lint>> {
    let waiting: Vec<_> = waiting
        .iter()
        .filter(|service| load_balancer::is_waiting(service))
        .collect();
    if waiting.is_empty() {
        return Ok(Vec::new());
    }
    let (nodes, services) = join(cluster.list::<Node>(None, ""), cluster.list::<Service>(None, "")).await;
    let (Some(nodes), Some(services)) = (permitted(nodes)?, permitted(services)?) else {
        return Ok(Vec::new());
    };
    Ok(waiting
        .into_iter()
        .filter_map(|service| load_balancer::lint_expected(service, &nodes, &services))
        .collect())
}

/// What was read; `None`, after a word about it, where the user may not.
fn permitted<T>(read: Result<T>) -> Result<Option<T>> {
    match read {
        Err(error) if error.is_forbidden() => {
            not_checked("you may not read what it takes", &error);
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// Says what could not be found out, and why.
pub(crate) fn not_checked(what: &str, why: &Error) {
    let why = why.to_string().replace('\n', "\n  ");
    terminal::story(&format!("not checked: {what}\n  {why}"));
}
