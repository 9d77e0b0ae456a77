//! What goes into the clusters: all that is decided on, once it is made.

use std::thread;

use relay_shared::{Error, Result, certificate::Certificate, runtime, terminal::Progress};
use time::OffsetDateTime;

use crate::{
    decision::{Decision, NewKey, RootSource, Source},
    issue::{Authority, CertifiedKey},
    key::PrivateKey,
    role::{Child, Role},
    secrets::Contents,
};

/// All that goes into the clusters, and what of it is new.
pub(crate) struct Material {
    trusted: Vec<Certificate>,
    authority: Option<Authority>,
    server: CertifiedKey,
    signing: CertifiedKey,
    issued: Vec<Role>,
}

/// A certificate that is new, for the PKI directory.
pub(crate) struct Issued<'a> {
    pub(crate) role: Role,
    /// With all that its file holds beside it.
    pub(crate) pem: String,
    pub(crate) key: &'a PrivateKey,
}

/// Makes what is missing, as [`Decision::issue`] does, and shows that it takes a while.
///
/// # Errors
/// As for [`Decision::issue`].
pub(crate) async fn make(decision: Decision, now: OffsetDateTime) -> Result<Material> {
    let _spinner = decision
        .issues()
        .then(|| Progress::spinner("making keys and certificates"));
    runtime::compute(move || decision.issue(now)).await
}

impl Decision {
    /// Makes what is missing, keys side by side. Nothing is written yet.
    ///
    /// # Errors
    /// If what was issued does not pass the checks that everything else passes.
    pub(crate) fn issue(self, now: OffsetDateTime) -> Result<Material> {
        let Self {
            choices,
            root,
            server,
            signing,
            remarks: _,
        } = self;
        let keyed = thread::scope(|scope| {
            let root = scope.spawn(|| root.with_key());
            let server = scope.spawn(|| server.with_key());
            let signing = signing.with_key();
            let joined = "making a key does not panic";
            (root.join().expect(joined), server.join().expect(joined), signing)
        });
        let failed = |role: Role| move |e| Error::new(format!("cannot issue {}: {e}", role.stem()));
        let asked = |role| (choices.names(role), choices.lifetime(role));
        let mut issued = Vec::new();

        let (trusted, authority) = match keyed.0.map_err(failed(Role::Root))? {
            RootSource::Known(trusted, authority) => (trusted, authority),
            RootSource::Issue(key) => {
                issued.push(Role::Root);
                let (names, lifetime) = asked(Role::Root);
                let root = Authority::root(key, &names, lifetime, now).map_err(failed(Role::Root))?;
                (vec![root.certificate().clone()], Some(root))
            }
        };
        let issuer = || {
            authority
                .as_ref()
                .ok_or_else(|| "the root's key is not there".to_owned())
        };
        let mut pair = |child: Child, source: Result<Source<PrivateKey>, String>| {
            let role = child.role();
            match source.map_err(failed(role))? {
                Source::Known(pair) => Ok(pair),
                Source::Issue(key) => {
                    issued.push(role);
                    let (names, lifetime) = asked(role);
                    let pair = issuer().and_then(|issuer| issuer.issue(child, key, &names, lifetime, now));
                    pair.map_err(failed(role))
                }
            }
        };
        let server = pair(Child::Server, keyed.1)?;
        let signing = pair(Child::Signing, keyed.2)?;
        Ok(Material {
            trusted,
            authority,
            server,
            signing,
            issued,
        })
    }
}

impl RootSource<NewKey> {
    fn with_key(self) -> Result<RootSource<PrivateKey>, String> {
        Ok(match self {
            Self::Known(certificates, authority) => RootSource::Known(certificates, authority),
            Self::Issue(key) => RootSource::Issue(key.key()?),
        })
    }
}

impl Source<NewKey> {
    fn with_key(self) -> Result<Source<PrivateKey>, String> {
        Ok(match self {
            Self::Known(pair) => Source::Known(pair),
            Self::Issue(key) => Source::Issue(key.key()?),
        })
    }
}

impl Material {
    /// What a role's Secret holds.
    pub(crate) fn contents(&self, role: Role) -> Contents<'_> {
        let pair = match role {
            Role::Root => None,
            Role::Server => Some(&self.server),
            Role::Signing => Some(&self.signing),
        };
        Contents {
            roots: &self.trusted,
            pair,
        }
    }

    /// What agents and server trust, as `ca.crt` holds it.
    pub(crate) fn trusted(&self) -> String {
        self.trusted.iter().map(Certificate::pem).collect()
    }

    /// What is new, the root first.
    pub(crate) fn issued(&self) -> impl Iterator<Item = Issued<'_>> {
        let root = self
            .authority
            .as_ref()
            .map(|authority| (Role::Root, self.trusted(), authority.key()));
        let server = (Role::Server, self.server.chain.pem(), &self.server.key);
        let signing = (Role::Signing, self.signing.chain.pem(), &self.signing.key);
        let all = root.into_iter().chain([server, signing]);
        let issued = all.filter(|(role, ..)| self.issued.contains(role));
        issued.map(|(role, pem, key)| Issued { role, pem, key })
    }

    /// Every certificate, the roots first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (Role, &Certificate)> {
        let roots = self.trusted.iter().map(|root| (Role::Root, root));
        roots.chain([
            (Role::Server, self.server.chain.leaf()),
            (Role::Signing, self.signing.chain.leaf()),
        ])
    }
}
