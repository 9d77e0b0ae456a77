//! Reads what exposes the relay server: its Service, Istio's ingress gateways and
//! Gateway API's.

use std::time::{Duration, Instant};

use futures::future::try_join;
use k8s_openapi::api::core::v1::{Node, Service};

use crate::{
    address::Address,
    candidate::{self, Candidate, Preferences, Reason, Source},
    cluster::{Cluster, ObjectRef},
    error::{Error, Result},
    gateways,
    node_port::Backends,
    pod::Pod,
    relay::{self, RelayHost},
    service_address::{self, PortRef},
    terminal,
    watch::{Reading, Watches},
};

/// How long to wait before a server that did not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where to look for the relay server's address.
#[derive(Debug)]
pub struct Lookup {
    /// Which sources.
    pub via: Via,
    /// Whether to look in all of them, even after one has an address.
    pub everywhere: bool,
    /// The relay's namespace.
    pub namespace: String,
    /// The relay server's Service, if it is not one of [`relay::SERVICES`].
    pub service: Option<String>,
    /// Its gRPC port.
    pub port: PortRef,
    /// The name that agents ask for, if it is not the Service's.
    pub host: Option<String>,
    /// The Istio ingress gateway's Service; without one, those are found that serve
    /// the relay's host.
    pub ingress: Option<ObjectRef>,
    /// Its port for TLS; without one, the one that leads to the relay's host.
    pub ingress_port: Option<PortRef>,
    /// What is liked better than the usual order.
    pub preferences: Preferences,
}

/// A source of addresses, or all of them in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Via {
    /// The first of these that has an address
    Auto,
    /// The relay service itself
    Service,
    /// An Istio ingress gateway
    Istio,
    /// A Gateway of Gateway API
    GatewayApi,
}

impl Via {
    fn sources(self) -> &'static [Source] {
        match self {
            Self::Auto => &[Source::Service, Source::Istio, Source::GatewayApi],
            Self::Service => &[Source::Service],
            Self::Istio => &[Source::Istio],
            Self::GatewayApi => &[Source::GatewayApi],
        }
    }
}

/// What was found, and what could not be.
#[derive(Debug)]
pub struct Observation {
    /// The name that agents ask for.
    pub host: String,
    /// From every source that was looked in, best first.
    pub candidates: Vec<Candidate>,
    /// What is to be known about sources.
    pub notes: Vec<Note>,
}

/// Something about a source that is of no object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The source.
    pub source: Source,
    /// What there is to say.
    pub text: String,
    /// What kept the source from having an address, if something did.
    pub obstacle: Option<Error>,
}

impl Observation {
    /// The address to dial and where it is from, or an error that says of every object
    /// that was looked at in which state it is.
    pub fn address(&self, context: &str) -> Result<(&Address, &Candidate)> {
        if let Some(found) = candidate::choose(&self.candidates) {
            return Ok(found);
        }
        let mut causes: Vec<_> = self.obstacles().collect();
        Err(match causes.len() {
            1 => causes.remove(0),
            _ if self.is_refused() => {
                Error::new("nothing that may expose the relay server can be read").causes(causes)
            }
            _ => Error::new("the relay server has no address yet").causes(causes),
        }
        .context(context))
    }

    /// What keeps everything that was looked at from having an address.
    fn obstacles(&self) -> impl Iterator<Item = Error> {
        let candidates = self.candidates.iter().filter_map(Candidate::error);
        candidates.chain(self.notes.iter().filter_map(|note| note.obstacle.clone()))
    }

    /// Whether nothing may be read that may have an address.
    fn is_refused(&self) -> bool {
        self.obstacles().all(|obstacle| obstacle.is_forbidden())
    }

    pub(crate) fn extend(&mut self, mut candidates: Vec<Candidate>) {
        candidate::rank(&mut candidates);
        self.candidates.extend(candidates);
    }

    pub(crate) fn note(&mut self, source: Source, text: impl Into<String>, obstacle: Option<Error>) {
        let text = text.into();
        self.notes.push(Note {
            source,
            text,
            obstacle,
        });
    }
}

/// Reads the relay server's Service: the one named, else the first there is of
/// [`relay::SERVICES`].
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

/// The host that agents ask for, given the Service that was found, if any.
pub fn relay_host(found: Option<&ObjectRef>, named: Option<&str>, namespace: &str) -> RelayHost {
    let service = found.map(ObjectRef::name).or(named).unwrap_or(relay::SERVICES[0]);
    RelayHost::new(service, namespace)
}

/// Looks in one source after the other until one has an address, or in all of them.
///
/// # Errors
/// If the cluster cannot be reached. What may not be read leaves its source out, which is
/// noted.
pub async fn observe(cluster: &Cluster, lookup: &Lookup) -> Result<Observation> {
    observe_and_remember(&Reading::new(cluster), lookup).await
}

/// Looks again after every change of what was looked at, until there is an address or
/// the time is up, and then once more; what was found last is the result either way.
/// Meanwhile the story is why there is none. What may be read and not watched is looked
/// at again from time to time, and where nothing may be read there is nothing to wait for.
///
/// # Errors
/// As [`observe`] the first and the last time.
pub async fn wait(cluster: &Cluster, lookup: &Lookup, limit: Duration) -> Result<Observation> {
    let deadline = tokio::time::Instant::from_std(Instant::now() + limit);
    let mut watches = Watches::default();
    let progress = terminal::Progress::spinner("waiting for an address");
    let mut told = String::new();
    loop {
        let reading = Reading::new(cluster);
        let observation = match observe_and_remember(&reading, lookup).await {
            // The first look says what is wrong for good. Later a server may be restarted.
            Err(error) if !told.is_empty() && !error.is_forbidden() => {
                let message = error.message();
                terminal::story(&format!("looking again in 1 s: {message}"));
                let again = tokio::time::Instant::now() + AGAIN;
                tokio::time::sleep_until(again.min(deadline)).await;
                match again < deadline {
                    true => continue,
                    false => return Err(error),
                }
            }
            read => read?,
        };
        let Err(error) = observation.address(cluster.context()) else {
            return Ok(observation);
        };
        if told.is_empty() && observation.is_refused() {
            return Ok(observation);
        }
        let reason = waiting_for(&observation).unwrap_or_else(|| error.message().to_owned());
        if reason != told {
            progress.says(format!("waiting: {reason}"));
            told = reason;
        }
        let change = async {
            watches.add(reading).await;
            watches.changed().await;
        };
        // A watch that broke silently may have missed something.
        if tokio::time::timeout_at(deadline, change).await.is_err() {
            return observe(cluster, lookup).await;
        }
    }
}

/// The reason to wait, of the first source that gives one. The object comes last, as a
/// spinner's line is cut where the terminal ends.
fn waiting_for(observation: &Observation) -> Option<String> {
    observation.candidates.iter().find_map(|candidate| {
        let reason = candidate.result.as_ref().err()?;
        Some(format!("{} ({})", reason.state, candidate.object))
    })
}

async fn observe_and_remember(reading: &Reading<'_>, lookup: &Lookup) -> Result<Observation> {
    let named = lookup.service.as_deref();
    // Also a gateway that is named is asked for the relay's host, which the Service's name says.
    let is_needed = lookup.via != Via::Istio || lookup.host.is_none();
    let mut refused = None;
    let found = match is_needed {
        true => match read_relay_service(reading, &lookup.namespace, named).await {
            // What is lost is one source, and a name that it may have.
            Err(error) if error.is_forbidden() => {
                refused = Some(error);
                None
            }
            read => read?,
        },
        false => None,
    };
    let mut host = relay_host(found.as_ref().map(|(object, _)| object), named, &lookup.namespace);
    let mut observation = Observation {
        host: lookup.host.clone().unwrap_or_else(|| host.to_string()),
        candidates: Vec::new(),
        notes: Vec::new(),
    };
    if let Some(error) = refused.as_ref().filter(|_| lookup.via == Via::Istio) {
        let text = format!("the relay service cannot be read: {}", error.message());
        observation.note(Source::Istio, text, None);
    }
    for source in lookup.via.sources() {
        match source {
            Source::Service => {
                let candidates = match (&found, &refused) {
                    (Some((object, service)), _) => {
                        let mut candidates =
                            of_service(reading, *source, object, service, &lookup.port, lookup).await?;
                        let has_address = candidate::choose(&candidates).is_some();
                        if named.is_none() && (lookup.everywhere || !has_address) {
                            let newer = of_newer(reading, object, lookup).await?;
                            if !has_address && candidate::choose(&newer).is_some() {
                                host = RelayHost::new(relay::SERVICES[1], &lookup.namespace);
                                observation.host = lookup.host.clone().unwrap_or_else(|| host.to_string());
                            }
                            candidates.extend(newer);
                        }
                        candidates
                    }
                    (None, Some(refusal)) => {
                        let object = ObjectRef::new::<Service>(host.namespace(), host.service());
                        vec![unreadable(*source, object, refusal.clone())]
                    }
                    (None, None) => vec![no_relay_service(&host, named)],
                };
                observation.extend(candidates);
            }
            Source::Istio => gateways::observe_istio(reading, lookup, &mut observation).await?,
            Source::GatewayApi => {
                gateways::observe_gateway_api(reading, lookup, &host, &mut observation).await?;
            }
        }
        if !lookup.everywhere && candidate::choose(&observation.candidates).is_some() {
            break;
        }
    }
    Ok(observation)
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
        Err(error) if error.is_forbidden() => Ok(vec![unreadable(Source::Service, object, error)]),
        Err(error) => Err(error),
    }
}

fn no_relay_service(host: &RelayHost, named: Option<&str>) -> Candidate {
    let object = ObjectRef::new::<Service>(host.namespace(), host.service());
    let state = match named {
        Some(_) => "there is no such service".to_owned(),
        None => format!("neither it nor {} exists", relay::SERVICES[1]),
    };
    absent(
        Source::Service,
        object,
        state,
        "install Gloo Mesh Enterprise, or say where it is with --namespace and --service",
    )
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

/// A Service that may not be read.
pub(crate) fn unreadable(source: Source, object: ObjectRef, refusal: Error) -> Candidate {
    Candidate {
        source,
        object,
        field: "metadata.name".to_owned(),
        result: Err(Reason::refused("it cannot be read", refusal)),
    }
}

pub(crate) fn absent(source: Source, object: ObjectRef, state: String, hint: &str) -> Candidate {
    Candidate {
        source,
        object,
        field: "metadata.name".to_owned(),
        result: Err(Reason::new(state, hint)),
    }
}
