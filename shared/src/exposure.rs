//! Reads what exposes the relay server: its Service, and Istio's ingress gateway.

use k8s_openapi::api::core::v1::{Node, Pod, Service};

use crate::{
    address::{self, Address, Backends, Finding, PortRef, Reason},
    cluster::{Cluster, ObjectRef},
    error::{Error, Result},
    relay::{self, RelayHost},
};

/// Where to look for the relay server's address.
#[derive(Debug)]
pub struct Lookup {
    /// Which sources, and in which order.
    pub via: Via,
    /// The relay's namespace.
    pub namespace: String,
    /// The relay server's Service, if it is not one of [`relay::SERVICES`].
    pub service: Option<String>,
    /// Its gRPC port.
    pub port: PortRef,
    /// The Istio ingress gateway's Service.
    pub ingress: ObjectRef,
    /// Its port for TLS.
    pub ingress_port: PortRef,
}

/// A source of addresses, or all of them in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// The relay service, else the Istio ingress gateway
    Auto,
    /// The relay service itself
    Service,
    /// The Istio ingress gateway
    Istio,
}

/// Reads the relay server's Service: the one named, else the first there is of
/// [`relay::SERVICES`].
pub async fn relay_service(
    cluster: &Cluster,
    namespace: &str,
    named: Option<&str>,
) -> Result<Option<(ObjectRef, Service)>> {
    let names: &[&str] = match &named {
        Some(name) => std::slice::from_ref(name),
        None => &relay::SERVICES,
    };
    for name in names {
        let object = ObjectRef::new::<Service>(namespace, name);
        if let Some(service) = cluster.get(&object).await? {
            return Ok(Some((object, service)));
        }
    }
    Ok(None)
}

/// The host that agents ask for, given the Service that was found, if any.
pub fn relay_host(found: Option<&ObjectRef>, named: Option<&str>, namespace: &str) -> RelayHost {
    let service = found.map(ObjectRef::name).or(named).unwrap_or(relay::SERVICES[0]);
    RelayHost::new(service, namespace)
}

/// Looks in one source after the other until one has an address. The findings
/// of every source that was looked in are kept, in order.
pub async fn observe(cluster: &Cluster, lookup: &Lookup) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    if matches!(lookup.via, Via::Auto | Via::Service) {
        findings.extend(observe_relay_service(cluster, lookup).await?);
    }
    if lookup.via == Via::Istio || (lookup.via == Via::Auto && address::choose(&findings).is_none()) {
        findings.extend(observe_ingress(cluster, lookup).await?);
    }
    Ok(findings)
}

/// The address to dial and where it is from, or an error that says of every object
/// that was looked at in which state it is.
pub fn relay_address<'a>(findings: &'a [Finding], context: &str) -> Result<(&'a Address, &'a Finding)> {
    if let Some(found) = address::choose(findings) {
        return Ok(found);
    }
    let failures = findings
        .iter()
        .filter_map(|f| f.result.as_ref().err().map(|reason| (f, reason)));
    let mut causes: Vec<_> = failures
        .map(|(finding, reason)| {
            Error::new(format!("{} has no address: {}", finding.object, reason.state)).hint(&reason.hint)
        })
        .collect();
    Err(match causes.len() {
        1 => causes.remove(0),
        _ => Error::new("the relay server has no address yet").causes(causes),
    }
    .context(context))
}

async fn observe_relay_service(cluster: &Cluster, lookup: &Lookup) -> Result<Vec<Finding>> {
    let named = lookup.service.as_deref();
    match relay_service(cluster, &lookup.namespace, named).await? {
        Some((object, service)) => observe_service(cluster, object, &service, &lookup.port).await,
        None => {
            let object = ObjectRef::new::<Service>(&lookup.namespace, named.unwrap_or(relay::SERVICES[0]));
            let state = match named {
                Some(_) => "there is no such service".to_owned(),
                None => format!("neither it nor {} exists", relay::SERVICES[1]),
            };
            Ok(vec![absent(
                object,
                state,
                "install Gloo Mesh Enterprise, or say where it is with --namespace and --service",
            )])
        }
    }
}

async fn observe_ingress(cluster: &Cluster, lookup: &Lookup) -> Result<Vec<Finding>> {
    let object = lookup.ingress.clone();
    match cluster.get::<Service>(&object).await? {
        Some(service) => observe_service(cluster, object, &service, &lookup.ingress_port).await,
        None => Ok(vec![absent(
            object,
            "there is no such service".to_owned(),
            "install an Istio ingress gateway, or name yours with --ingress-namespace and --ingress-service",
        )]),
    }
}

async fn observe_service(
    cluster: &Cluster,
    object: ObjectRef,
    service: &Service,
    port: &PortRef,
) -> Result<Vec<Finding>> {
    let backends = match address::needs_backends(service) {
        true => backends(cluster, &object, service).await?,
        false => Backends::default(),
    };
    Ok(address::of_service(&object, service, port, &backends))
}

async fn backends(cluster: &Cluster, object: &ObjectRef, service: &Service) -> Result<Backends> {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels: Vec<_> = selector
        .into_iter()
        .flatten()
        .map(|(k, v)| format!("{k}={v}"))
        .collect();
    let labels = labels.join(",");
    let pods = async {
        match labels.is_empty() {
            // Without a selector a Service selects nothing, and a list everything.
            true => Ok(Vec::new()),
            false => cluster.list::<Pod>(object.namespace(), &labels).await,
        }
    };
    let (nodes, pods) = futures::future::try_join(cluster.list::<Node>(None, ""), pods).await?;
    Ok(Backends { nodes, pods })
}

fn absent(object: ObjectRef, state: String, hint: &str) -> Finding {
    Finding {
        object,
        field: "metadata.name".to_owned(),
        result: Err(Reason {
            state,
            hint: hint.to_owned(),
        }),
    }
}
