//! Reads Services that lead to the relay server: its own, and the nodes and pods
//! behind any.

use futures::future::try_join;
use k8s_openapi::api::core::v1::{Node, Service};

use crate::{
    candidate::{self, Candidate, Source},
    cluster::{Cluster, ObjectRef},
    error::{Error, Result},
    node_port::Backends,
    observation::{Lookup, Observation, Via},
    pod::Pod,
    relay::{self, RelayHost},
    service_address::{self, PortRef},
    watch::Reading,
};

/// The relay server, as far as its Service is known.
pub(crate) struct Relay {
    /// Its Service, which may be none that exists.
    pub(crate) host: RelayHost,
    found: Option<(ObjectRef, Service)>,
    refusal: Option<Error>,
}

/// Reads the relay server's Service: the one named, else the first there is of
/// [`relay::SERVICES`].
///
/// # Errors
/// If it may not be read, or the cluster cannot be reached.
pub async fn relay_service(
    cluster: &Cluster,
    namespace: &str,
    named: Option<&str>,
) -> Result<Option<(ObjectRef, Service)>> {
    read_relay_service(&Reading::new(cluster), namespace, named).await
}

async fn read_relay_service(
    reading: &Reading<'_>,
    namespace: &str,
    named: Option<&str>,
) -> Result<Option<(ObjectRef, Service)>> {
    let names: &[&str] = match &named {
        Some(name) => std::slice::from_ref(name),
        None => &relay::SERVICES,
    };
    for name in names {
        let object = ObjectRef::new::<Service>(namespace, name);
        if let Some(service) = reading.get(&object).await? {
            return Ok(Some((object, service)));
        }
    }
    Ok(None)
}

impl Relay {
    /// Reads its Service where that is needed.
    ///
    /// # Errors
    /// If the cluster cannot be reached.
    pub(crate) async fn find(reading: &Reading<'_>, lookup: &Lookup) -> Result<Self> {
        let named = lookup.service.as_deref();
        // Also a gateway that is named is asked for the relay's host, which the Service's name says.
        let is_needed = lookup.via != Via::Istio || lookup.host.is_none();
        let read = match is_needed {
            true => read_relay_service(reading, &lookup.namespace, named).await,
            false => Ok(None),
        };
        let (found, refusal) = match read {
            Ok(found) => (found, None),
            // What is lost is one source, and a name that it may have.
            Err(error) if error.is_forbidden() => (None, Some(error)),
            Err(error) => return Err(error),
        };
        let name = found.as_ref().map(|(object, _)| object.name()).or(named);
        Ok(Self {
            host: RelayHost::of(name, &lookup.namespace),
            found,
            refusal,
        })
    }

    /// Why its Service may not be read, if so.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        self.refusal.as_ref()
    }

    /// What its Service says, and where that has no address, the one of Gloo Mesh 2.x.
    pub(crate) async fn observe(
        &mut self,
        reading: &Reading<'_>,
        lookup: &Lookup,
        observation: &mut Observation,
    ) -> Result<()> {
        let source = Source::Service;
        let Some((object, service)) = &self.found else {
            let object = ObjectRef::new::<Service>(self.host.namespace(), self.host.service());
            observation.extend(vec![match &self.refusal {
                Some(refusal) => Candidate::unreadable(source, object, refusal.clone()),
                None => missing(object, lookup.service.is_some()),
            }]);
            return Ok(());
        };
        let mut candidates = of_service(reading, source, object, service, &lookup.port, lookup).await?;
        let has_address = candidate::choose(&candidates).is_some();
        if lookup.service.is_none() && (lookup.everywhere || !has_address) {
            let newer = of_newer(reading, object, lookup).await?;
            if !has_address && candidate::choose(&newer).is_some() {
                self.host = RelayHost::new(relay::SERVICES[1], &lookup.namespace);
                observation.host = lookup.host(&self.host);
            }
            candidates.extend(newer);
        }
        observation.extend(candidates);
        Ok(())
    }
}

/// What the relay service of Gloo Mesh 2.x says beside one that was found before: after
/// an upgrade that of 1.x may be left over.
async fn of_newer(reading: &Reading<'_>, found: &ObjectRef, lookup: &Lookup) -> Result<Vec<Candidate>> {
    let object = ObjectRef::new::<Service>(&lookup.namespace, relay::SERVICES[1]);
    if object == *found {
        return Ok(Vec::new());
    }
    match reading.get(&object).await {
        Ok(Some(service)) => {
            of_service(reading, Source::Service, &object, &service, &lookup.port, lookup).await
        }
        Ok(None) => Ok(Vec::new()),
        Err(error) if error.is_forbidden() => Ok(vec![Candidate::unreadable(Source::Service, object, error)]),
        Err(error) => Err(error),
    }
}

fn missing(object: ObjectRef, is_named: bool) -> Candidate {
    let state = match is_named {
        true => "there is no such service".to_owned(),
        false => format!("neither it nor {} exists", relay::SERVICES[1]),
    };
    let hint = "install Gloo Mesh Enterprise, or say where it is with --namespace and --service";
    Candidate::absent(Source::Service, object, state, hint)
}

/// What a Service says, with the nodes and pods behind it where they count.
pub(crate) async fn of_service(
    reading: &Reading<'_>,
    source: Source,
    object: &ObjectRef,
    service: &Service,
    port: &PortRef,
    lookup: &Lookup,
) -> Result<Vec<Candidate>> {
    let preferences = &lookup.preferences;
    let backends = match service_address::needs_backends(service, preferences) {
        true => backends(reading, object, service).await?,
        false => Backends::default(),
    };
    Ok(service_address::of_service(
        source,
        object,
        service,
        port,
        &backends,
        preferences,
    ))
}

async fn backends(reading: &Reading<'_>, object: &ObjectRef, service: &Service) -> Result<Backends> {
    let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    let labels = selector.map(joined).unwrap_or_default();
    let pods = async {
        match labels.is_empty() {
            // Without a selector a Service selects nothing, and a list everything.
            true => Ok(Vec::new()),
            false => reading.list::<Pod>(object.namespace(), &labels).await,
        }
    };
    match try_join(reading.list::<Node>(None, ""), pods).await {
        Ok((nodes, pods)) => Ok(Backends {
            nodes,
            pods,
            unread: None,
        }),
        Err(error) if error.is_forbidden() => Ok(Backends {
            unread: Some(error),
            ..Backends::default()
        }),
        Err(error) => Err(error),
    }
}

/// Labels as a selector.
pub fn joined<'l>(labels: impl IntoIterator<Item = (&'l String, &'l String)>) -> String {
    let labels: Vec<_> = labels.into_iter().map(|(k, v)| format!("{k}={v}")).collect();
    labels.join(",")
}
