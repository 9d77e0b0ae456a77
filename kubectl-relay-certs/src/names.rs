//! Who a certificate is for: subjects and alternative names, as on the page.

use std::net::IpAddr;

use rcgen::{DistinguishedName, DnType, SanType};
use relay_shared::{
    certificate::Certificate,
    relay::{self, RelayHost},
};
use x509_parser::extensions::GeneralName;

use crate::role::Child;

/// Who a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Names {
    common_name: String,
    organization: String,
    alternatives: Vec<SanType>,
}

impl Names {
    /// Those of a root.
    pub(crate) fn root(namespace: &str) -> Self {
        Self::plain("relay-root", namespace)
    }

    /// Those of the signing certificate.
    pub(crate) fn signing(namespace: &str) -> Self {
        Self::plain("relay-tls-signing", namespace)
    }

    fn plain(name: &str, namespace: &str) -> Self {
        Self {
            common_name: relay::common_name(name, namespace),
            organization: name.to_owned(),
            alternatives: Vec::new(),
        }
    }

    /// Those of the server: every name that its host has, the page's wildcard if it
    /// is wanted, and more of the user's.
    pub(crate) fn server(host: &RelayHost, more: &[SanType], wildcard: bool) -> Self {
        let dns = |name: String| SanType::DnsName(name.try_into().expect("labels are ASCII"));
        let names = host.certificate_names().into_iter();
        let names = names.filter(|name| wildcard || !name.starts_with('*'));
        let mut alternatives: Vec<_> = names.map(dns).collect();
        for name in more {
            if !alternatives.contains(name) {
                alternatives.push(name.clone());
            }
        }
        Self {
            common_name: host.common_name(),
            organization: "relay-server-tls".to_owned(),
            alternatives,
        }
    }

    /// Those of a certificate that replaces another one: what it is called by, a server
    /// keeps.
    pub(crate) fn successor(child: Child, replaced: &Certificate, host: &RelayHost) -> Self {
        match child {
            Child::Server => Self::like(replaced, host),
            Child::Signing => Self::signing(host.namespace()),
        }
    }

    /// Those of a server's certificate that is replaced.
    fn like(server: &Certificate, host: &RelayHost) -> Self {
        let x509 = server.x509();
        let common_name = x509
            .subject()
            .iter_common_name()
            .find_map(|name| name.as_str().ok());
        Self {
            common_name: common_name.map_or_else(|| host.common_name(), str::to_owned),
            organization: "relay-server-tls".to_owned(),
            alternatives: alternatives(server),
        }
    }

    /// What the subject is called otherwise: the DNS names and addresses of a server.
    pub(crate) fn alternatives(&self) -> &[SanType] {
        &self.alternatives
    }

    /// The DNS names among the alternatives.
    pub(crate) fn dns(&self) -> Vec<String> {
        let names = self.alternatives.iter().filter_map(|name| match name {
            SanType::DnsName(name) => Some(name.as_str().to_owned()),
            _ => None,
        });
        names.collect()
    }

    /// As the subject.
    pub(crate) fn distinguished(&self) -> DistinguishedName {
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, self.common_name.as_str());
        name.push(DnType::OrganizationName, self.organization.as_str());
        name
    }
}

/// The DNS names and IP addresses of a certificate.
pub(crate) fn alternatives(certificate: &Certificate) -> Vec<SanType> {
    let x509 = certificate.x509();
    let names = x509.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|san| &san.value.general_names);
    let known = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(SanType::DnsName(name.to_string().try_into().ok()?)),
        GeneralName::IPAddress(address) => Some(SanType::IpAddress(ip_address(address)?)),
        _ => None,
    });
    known.collect()
}

fn ip_address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
    v4().or_else(|_| v6()).ok()
}

/// How a name is typed.
pub(crate) fn shown(name: &SanType) -> String {
    match name {
        SanType::DnsName(name) => name.as_str().to_owned(),
        SanType::IpAddress(address) => address.to_string(),
        other => format!("{other:?}"),
    }
}
