//! Where each certificate comes from: what the clusters hold already, else the
//! PKI directory, else it is issued. Decided once, before anything is made.

use std::thread;

use relay_shared::{Error, Result, relay::RelayHost};
use time::OffsetDateTime;

use crate::{
    directory::{Pair, Pairs},
    inspect::Certificate,
    pki::{Bits, PrivateKey, Root, Server, Signing},
    secrets::{Contents, Role},
};

/// What the clusters and the PKI directory hold, before it is known to be of use.
pub(crate) struct Found {
    /// Every root that a cluster trusts, with the place where it does.
    pub(crate) roots: Vec<(String, Vec<Certificate>)>,
    /// The management cluster's server certificate.
    pub(crate) server: Pair,
    /// The management cluster's signing certificate.
    pub(crate) signing: Pair,
    /// The PKI directory's name in messages.
    pub(crate) directory: String,
    /// What it holds.
    pub(crate) pairs: Pairs,
}

/// Where each certificate comes from.
pub(crate) struct Decision {
    root: RootSource<NewKey>,
    server: Source<NewKey>,
    signing: Source<NewKey>,
    /// What the user should know about it, a sentence each.
    pub(crate) remarks: Vec<String>,
}

/// Where the root comes from; `K` is the key that it is issued to.
enum RootSource<K> {
    /// There is one; its key may be elsewhere.
    Known(Vec<Certificate>, Option<PrivateKey>),
    /// It is issued.
    Issue(K),
}

/// Where another certificate comes from.
enum Source<K> {
    /// The cluster or the PKI directory holds it, and it is sound.
    Known(Certificate, PrivateKey),
    /// It is issued.
    Issue(K),
}

/// A key to issue a certificate to.
enum NewKey {
    /// An interrupted run left it.
    Left(PrivateKey),
    /// It has to be made.
    Make(Bits),
}

/// All that goes into the clusters, and what of it is new.
pub(crate) struct Material {
    roots: Vec<Certificate>,
    root: Option<Root>,
    server: Server,
    signing: Signing,
    issued: Vec<Role>,
}

/// Decides where each certificate comes from.
///
/// # Errors
/// If places disagree about the root, if a file is not sound, or if something
/// has to be issued and the root's key is not there.
pub(crate) fn decide(found: Found, host: &RelayHost, now: OffsetDateTime) -> Result<Decision> {
    let Found {
        mut roots,
        server,
        signing,
        directory,
        pairs,
    } = found;
    if let Some(root) = &pairs.root.certificate {
        let trusted = |(_, roots): &(String, Vec<Certificate>)| roots.contains(root);
        if !roots.iter().any(trusted) {
            roots.push((file(&directory, Role::Root), vec![root.clone()]));
        }
    }
    let root = match agreed(roots)? {
        None => RootSource::Issue(NewKey::from(pairs.root.key, Bits::Rsa4096)),
        Some((place, roots)) => {
            if let Some(defect) = roots.iter().find_map(|root| root.root_defect(now)) {
                return Err(Error::new(format!("the root certificate of {place} {defect}"))
                    .hint("no agent can trust it; start over with a new root in all clusters"));
            }
            let key = pairs.root.key;
            if key
                .as_ref()
                .is_some_and(|key| !roots.iter().any(|root| root.belongs_to(key)))
            {
                return Err(Error::new(format!(
                    "{directory}/{}.key is not the key of the root certificate of {place}",
                    Role::Root.stem()
                ))
                .hint("move it away, or choose another --pki-dir"));
            }
            RootSource::Known(roots, key)
        }
    };
    let known = match &root {
        RootSource::Known(roots, _) => roots.as_slice(),
        RootSource::Issue(_) => &[],
    };

    let mut remarks = Vec::new();
    let mut choose = |role, cluster, pair, defect: &dyn Fn(&Certificate) -> Option<String>| {
        let place = file(&directory, role);
        choose(role, cluster, pair, &place, defect, &mut remarks)
    };
    let server = choose(Role::Server, server, pairs.server, &|certificate| {
        certificate.server_defect(&host.to_string(), known, now)
    })?;
    let signing = choose(Role::Signing, signing, pairs.signing, &|certificate| {
        certificate.signing_defect(known, now)
    })?;

    if let RootSource::Known(roots, None) = &root {
        let missing = [(&server, Role::Server), (&signing, Role::Signing)];
        if let Some((_, role)) = missing
            .iter()
            .find(|(source, _)| matches!(source, Source::Issue(_)))
        {
            return Err(Error::new(format!(
                "{} has to be issued, and {directory} has not the key of the root {}",
                role.stem(),
                fingerprints(roots)
            ))
            .hint("give the --pki-dir that this root was made in"));
        }
    }
    Ok(Decision {
        root,
        server,
        signing,
        remarks,
    })
}

/// The root that all places name, with one of the places; `None` where no place
/// names any.
fn agreed(places: Vec<(String, Vec<Certificate>)>) -> Result<Option<(String, Vec<Certificate>)>> {
    let mut different: Vec<&(String, Vec<Certificate>)> = Vec::new();
    for place in &places {
        if !different.iter().any(|known| known.1 == place.1) {
            different.push(place);
        }
    }
    match different.as_slice() {
        [] | [_] => Ok(places.into_iter().next()),
        _ => {
            let causes = places
                .iter()
                .map(|(place, roots)| Error::new(format!("{place} has {}", fingerprints(roots))));
            Err(
                Error::new("there are different root certificates, and nothing was written")
                    .causes(causes)
                    .hint(
                        "give the --pki-dir of the root that is in use; \
                         where a cluster has one that nothing uses, delete its secret and run again",
                    ),
            )
        }
    }
}

/// The management cluster's pair if it is sound, else the directory's.
fn choose(
    role: Role,
    cluster: Pair,
    pair: Pair,
    place: &str,
    defect: &dyn Fn(&Certificate) -> Option<String>,
    remarks: &mut Vec<String>,
) -> Result<Source<NewKey>> {
    let secret = role.secret();
    if let (Some(certificate), Some(key)) = (cluster.certificate, cluster.key) {
        let defect = match certificate.belongs_to(&key) {
            true => defect(&certificate),
            false => Some("has another key".to_owned()),
        };
        match defect {
            Some(defect) => remarks.push(format!(
                "the certificate of secret {secret} {defect}: it is replaced"
            )),
            None => {
                if pair.certificate.is_some_and(|file| file != certificate) {
                    remarks.push(format!(
                        "{place} is not what secret {secret} holds: the secret stays"
                    ));
                }
                return Ok(Source::Known(certificate, key));
            }
        }
    }
    match (pair.certificate, pair.key) {
        (None, key) => Ok(Source::Issue(NewKey::from(key, Bits::Rsa2048))),
        (Some(_), None) => Err(Error::new(format!("{place} is there and its key is not"))
            .hint("put the key back, or move the certificate away to have a new one issued")),
        (Some(certificate), Some(key)) => {
            let defect = match certificate.belongs_to(&key) {
                true => defect(&certificate),
                false => Some("does not belong to the key beside it".to_owned()),
            };
            match defect {
                None => Ok(Source::Known(certificate, key)),
                Some(defect) => Err(Error::new(format!("{place} {defect}"))
                    .hint("move it and its key away to have a new one issued, or choose another --pki-dir")),
            }
        }
    }
}

impl NewKey {
    fn from(left: Option<PrivateKey>, bits: Bits) -> Self {
        left.map_or(Self::Make(bits), Self::Left)
    }

    fn key(self) -> Result<PrivateKey, String> {
        match self {
            Self::Left(key) => Ok(key),
            Self::Make(bits) => PrivateKey::generate(bits),
        }
    }
}

impl RootSource<NewKey> {
    fn with_key(self) -> Result<RootSource<PrivateKey>, String> {
        Ok(match self {
            Self::Known(certificates, key) => RootSource::Known(certificates, key),
            Self::Issue(key) => RootSource::Issue(key.key()?),
        })
    }
}

impl Source<NewKey> {
    fn with_key(self) -> Result<Source<PrivateKey>, String> {
        Ok(match self {
            Self::Known(certificate, key) => Source::Known(certificate, key),
            Self::Issue(key) => Source::Issue(key.key()?),
        })
    }
}

impl Decision {
    /// Whether anything is issued.
    pub(crate) fn issues(&self) -> bool {
        let Self {
            root,
            server,
            signing,
            remarks: _,
        } = self;
        matches!(root, RootSource::Issue(_))
            || matches!(server, Source::Issue(_))
            || matches!(signing, Source::Issue(_))
    }

    /// Makes what is missing, keys side by side. Nothing is written yet.
    ///
    /// # Errors
    /// If what was issued does not pass the checks that everything else passes.
    pub(crate) fn issue(self, host: &RelayHost, now: OffsetDateTime) -> Result<Material> {
        let Self {
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
        let mut issued = Vec::new();

        let (roots, root) = match keyed.0.map_err(failed(Role::Root))? {
            RootSource::Known(roots, key) => {
                let root = key.and_then(|key| {
                    let certificate = roots.iter().find(|root| root.belongs_to(&key))?.clone();
                    Some(Root { certificate, key })
                });
                (roots, root)
            }
            RootSource::Issue(key) => {
                issued.push(Role::Root);
                let root = Root::new(key, host.namespace(), now).map_err(failed(Role::Root))?;
                (vec![root.certificate.clone()], Some(root))
            }
        };
        let issuer = || {
            root.as_ref()
                .ok_or_else(|| "the root's key is not there".to_owned())
        };
        let server = match keyed.1.map_err(failed(Role::Server))? {
            Source::Known(certificate, key) => Server { certificate, key },
            Source::Issue(key) => {
                issued.push(Role::Server);
                let server = issuer().and_then(|root| root.server(key, host, now));
                server.map_err(failed(Role::Server))?
            }
        };
        let signing = match keyed.2.map_err(failed(Role::Signing))? {
            Source::Known(certificate, key) => Signing { certificate, key },
            Source::Issue(key) => {
                issued.push(Role::Signing);
                let signing = issuer().and_then(|root| root.signing(key, host.namespace(), now));
                signing.map_err(failed(Role::Signing))?
            }
        };
        Ok(Material {
            roots,
            root,
            server,
            signing,
            issued,
        })
    }
}

impl Material {
    /// What a role's Secret holds.
    pub(crate) fn contents(&self, role: Role) -> Contents<'_> {
        let pair = match role {
            Role::Root => None,
            Role::Server => Some((&self.server.certificate, &self.server.key)),
            Role::Signing => Some((&self.signing.certificate, &self.signing.key)),
        };
        Contents {
            roots: &self.roots,
            pair,
        }
    }

    /// What is new, the root first.
    pub(crate) fn issued(&self) -> impl Iterator<Item = (Role, &Certificate, &PrivateKey)> {
        let root = self.root.as_ref().map(|r| (Role::Root, &r.certificate, &r.key));
        let server = (Role::Server, &self.server.certificate, &self.server.key);
        let signing = (Role::Signing, &self.signing.certificate, &self.signing.key);
        let pairs = root.into_iter().chain([server, signing]);
        pairs.filter(|(role, ..)| self.issued.contains(role))
    }

    /// Every certificate, the roots first.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = (Role, &Certificate)> {
        let roots = self.roots.iter().map(|root| (Role::Root, root));
        roots.chain([
            (Role::Server, &self.server.certificate),
            (Role::Signing, &self.signing.certificate),
        ])
    }
}

fn file(directory: &str, role: Role) -> String {
    format!("{directory}/{}.crt", role.stem())
}

fn fingerprints(certificates: &[Certificate]) -> String {
    let all: Vec<_> = certificates.iter().map(|c| c.fingerprint().to_string()).collect();
    all.join(" and ")
}
