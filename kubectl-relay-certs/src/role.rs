//! The relay's three certificates: the root, and the two that are issued below it.

use relay_shared::soundness::Purpose;

/// What a certificate is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Agents and server trust each other by it.
    Root,
    /// The relay server presents it.
    Server,
    /// The relay server issues the agents' certificates by it.
    Signing,
}

/// The roles that an authority issues certificates for, which come with their keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Child {
    /// As [`Role::Server`].
    Server,
    /// As [`Role::Signing`].
    Signing,
}

impl Role {
    /// The name of its files, without extension, as on the page.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::Root => "relay-root",
            Self::Server => "relay-server-tls",
            Self::Signing => "relay-tls-signing",
        }
    }

    /// The role as one that certificates are issued for; `None` for the root.
    pub(crate) fn child(self) -> Option<Child> {
        match self {
            Self::Root => None,
            Self::Server => Some(Child::Server),
            Self::Signing => Some(Child::Signing),
        }
    }
}

impl Child {
    /// Both of them.
    pub(crate) const BOTH: [Self; 2] = [Self::Server, Self::Signing];

    /// The role among all three.
    pub(crate) fn role(self) -> Role {
        match self {
            Self::Server => Role::Server,
            Self::Signing => Role::Signing,
        }
    }

    /// What its certificate is judged by, where agents call the server by a host name.
    pub(crate) fn purpose(self, host: &str) -> Purpose<'_> {
        match self {
            Self::Server => Purpose::Server { host },
            Self::Signing => Purpose::Signing,
        }
    }
}
