//! What was found of the relay server's address: ranked [`Candidate`]s, each an
//! address or the reason why there is none. The first address wins; if there is no
//! address, the reasons are the error.

use crate::{
    address::{Address, Family, HostKind, NodeAddressType},
    cluster::ObjectRef,
    error::Error,
    escape,
};

/// What one field of one object says about where the relay server can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// What kind of exposure it is.
    pub source: Source,
    /// The object.
    pub object: ObjectRef,
    /// The field, as `kubectl get -o jsonpath` would name it.
    pub field: String,
    /// The address in it, or why there is none.
    pub result: Result<Address, Reason>,
}

/// Where an address can come from, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// The relay server's own Service.
    Service,
    /// A Service of an Istio ingress gateway.
    Istio,
    /// A Gateway of Gateway API.
    GatewayApi,
}

/// Why there is no address, as the end of a sentence about the object, and what
/// can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Such as `its load balancer has no address yet`.
    pub state: String,
    /// Such as "wait for it".
    pub hint: String,
    /// The server's refusal, if that is the reason.
    pub refusal: Option<Error>,
    /// Whether somebody is to make an address by now, who only has to be waited for.
    pub is_pending: bool,
}

/// What the caller likes better than the usual order.
#[derive(Debug, Clone, Default)]
pub struct Preferences {
    /// What comes first among the addresses of one load balancer.
    pub kind: Option<HostKind>,
    /// The family that an IP has to be of. A DNS name may be of any.
    pub family: Option<Family>,
    /// Whether node ports come first, also those of a Service that has, or waits
    /// for, a load balancer.
    pub node_port: bool,
    /// The types of a node's addresses that count, the best first; the usual ones
    /// if empty.
    pub node_address_types: Vec<NodeAddressType>,
}

/// The first address among candidates, and the candidate it is from.
pub fn choose(candidates: &[Candidate]) -> Option<(&Address, &Candidate)> {
    let mut found = candidates
        .iter()
        .filter_map(|candidate| Some((candidate.result.as_ref().ok()?, candidate)));
    found.next()
}

/// Puts the candidates of one source in order: external IPs, deprecated since
/// Kubernetes 1.37, come last.
pub(crate) fn rank(candidates: &mut [Candidate]) {
    candidates.sort_by_key(|candidate| candidate.field.starts_with("spec.externalIPs"));
}

/// A host as a field has it, in the order of the fields.
pub(crate) type Found = (String, Result<Address, Reason>);

impl Preferences {
    /// A host and a port as an address, if they are one that is asked for.
    pub(crate) fn address(&self, host: &str, port: i32) -> Result<Address, Reason> {
        let address = Address::new(host, port).ok_or_else(|| unusable(host, port))?;
        match (self.family, address.ip()) {
            (Some(family), Some(ip)) if !family.has(ip) => Err(Reason::new(
                format!("{} is not an {family} address", address.host()),
                "see --ip-family",
            )),
            _ => Ok(address),
        }
    }

    /// Puts the addresses of one load balancer in order: as listed, unless one kind
    /// comes first.
    pub(crate) fn rank(&self, found: &mut [Found]) {
        if let Some(kind) = self.kind {
            found.sort_by_key(|(_, result)| result.as_ref().is_ok_and(|address| address.kind() != kind));
        }
    }
}

impl Candidate {
    /// An object that may not be read.
    pub(crate) fn unreadable(source: Source, object: ObjectRef, refusal: Error) -> Self {
        Self::of_object(source, object, Reason::refused("it cannot be read", refusal))
    }

    /// An object that does not exist.
    pub(crate) fn absent(source: Source, object: ObjectRef, state: String, hint: &str) -> Self {
        Self::of_object(source, object, Reason::new(state, hint))
    }

    fn of_object(source: Source, object: ObjectRef, reason: Reason) -> Self {
        Self {
            source,
            object,
            field: "metadata.name".to_owned(),
            result: Err(reason),
        }
    }

    /// Its reason as an error, if it is no address.
    pub fn error(&self) -> Option<Error> {
        let reason = self.result.as_ref().err()?;
        let error = Error::new(format!("{} has no address: {}", self.object, reason.state));
        Some(reason.refusal.clone().unwrap_or_else(|| error.hint(&reason.hint)))
    }
}

impl Reason {
    /// A state and a hint. What a status says goes into templates as it is, so that
    /// what a terminal would obey is shown from the start.
    pub fn new(state: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            state: escape::printable(&state.into()).into_owned(),
            hint: hint.into(),
            refusal: None,
            is_pending: false,
        }
    }

    /// That somebody is to make an address by now.
    pub(crate) fn pending(state: &str, hint: &str) -> Self {
        Self {
            is_pending: true,
            ..Self::new(state, hint)
        }
    }

    /// What the server refused, as what could not be done for it.
    pub(crate) fn refused(what: &str, refusal: Error) -> Self {
        let state = format!("{what}: {}", refusal.message());
        let reason = Self::new(state, "ask for the right to read it");
        Self {
            refusal: Some(refusal),
            ..reason
        }
    }
}

impl Source {
    /// Its name in flags and documents.
    pub fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Istio => "istio",
            Self::GatewayApi => "gateway-api",
        }
    }
}

fn unusable(host: &str, port: i32) -> Reason {
    /// Longer than any DNS name, shorter than what hides the sentence around it.
    const SHOWN: usize = 260;
    let cut = host.char_indices().nth(SHOWN).map_or("", |_| "…");
    let host: String = host.chars().take(SHOWN).collect();
    Reason::new(
        format!("{host:?}{cut} with port {port} is not an address that can be dialled"),
        "see what writes this status",
    )
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Service;

    use super::*;

    fn candidate(field: &str, host: &str) -> Candidate {
        Candidate {
            source: Source::Service,
            object: ObjectRef::new::<Service>("ns", "name"),
            field: field.to_owned(),
            result: Preferences::default().address(host, 1),
        }
    }

    #[test]
    fn the_first_address_is_chosen() {
        let candidates = ["", "a", "b"].map(|host| candidate("status", host));
        assert_eq!(choose(&candidates).map(|(address, _)| address.host()), Some("a"));
        assert_eq!(choose(&candidates[..1]), None);
        assert_eq!(choose(&[]), None);
    }

    #[test]
    fn external_ips_come_last() {
        let mut candidates = [
            candidate("spec.externalIPs[0]", "a"),
            candidate("status.loadBalancer.ingress[0].ip", "b"),
            candidate("spec.externalIPs[1]", "c"),
            candidate("node n", "d"),
        ];
        rank(&mut candidates);
        let hosts: Vec<_> = candidates
            .iter()
            .flat_map(|candidate| &candidate.result)
            .map(Address::host)
            .collect();
        assert_eq!(hosts, ["b", "d", "a", "c"]);
    }

    #[test]
    fn preferences_put_one_kind_first_and_one_family_only() {
        #[track_caller]
        fn check(kind: Option<HostKind>, family: Option<Family>, want: &[&str]) {
            let preferences = Preferences {
                kind,
                family,
                ..Preferences::default()
            };
            let hosts = ["a.example", "192.0.2.1", "b.example", "2001:db8::1"];
            let mut found = hosts.map(|host| (String::new(), preferences.address(host, 443)));
            preferences.rank(&mut found);
            let got: Vec<_> = found
                .iter()
                .flat_map(|(_, result)| result)
                .map(Address::host)
                .collect();
            assert_eq!(got, want);
        }
        check(
            None,
            None,
            &["a.example", "192.0.2.1", "b.example", "2001:db8::1"],
        );
        check(
            Some(HostKind::Ip),
            None,
            &["192.0.2.1", "2001:db8::1", "a.example", "b.example"],
        );
        check(
            Some(HostKind::Hostname),
            None,
            &["a.example", "b.example", "192.0.2.1", "2001:db8::1"],
        );
        check(None, Some(Family::V4), &["a.example", "192.0.2.1", "b.example"]);
        check(
            Some(HostKind::Ip),
            Some(Family::V6),
            &["2001:db8::1", "a.example", "b.example"],
        );
    }

    #[test]
    fn what_cannot_be_dialled_is_quoted_and_cut() {
        let huge = "\u{1b}".repeat(100_000);
        let reason = Preferences::default().address(&huge, 443).unwrap_err();
        assert!(reason.state.len() < 3_000 && !reason.state.contains('\u{1b}'));
    }
}
