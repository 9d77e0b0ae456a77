//! What is looked for to reach the relay server by, and what was found.

use crate::{
    address::Address,
    candidate::{self, Candidate, Preferences, Source},
    cluster::ObjectRef,
    error::{Error, Result},
    relay::RelayHost,
    service_address::PortRef,
};

/// Where to look for the relay server's address.
#[derive(Debug)]
pub struct Lookup {
    /// Which sources.
    pub via: Via,
    /// Whether to look in all of them, even after one has an address.
    pub everywhere: bool,
    /// The relay's namespace.
    pub namespace: String,
    /// The relay server's Service, if it is not one of [`SERVICES`](crate::relay::SERVICES).
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

impl Lookup {
    /// The name that agents ask for, where the relay server is this one.
    pub(crate) fn host(&self, relay: &RelayHost) -> String {
        self.host.clone().unwrap_or_else(|| relay.to_string())
    }
}

impl Via {
    pub(crate) fn sources(self) -> &'static [Source] {
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
    pub(crate) fn is_refused(&self) -> bool {
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
