//! Where each certificate comes from: what the clusters hold already, else the
//! user's files or the PKI directory, else it is issued. Decided once, before
//! anything is made.

use std::thread;

use relay_shared::{
    Error, Result,
    certificate::{Certificate, fingerprints},
    chain::Chain,
    findings::Findings,
    soundness::{self, Purpose},
};
use time::OffsetDateTime;

use crate::{
    choices::Choices,
    directory::{Files, Pair},
    issue::{Authority, CertifiedKey},
    key::{Algorithm, EncryptedKey, PrivateKey, StoredKey},
    role::{Child, Role},
    secrets::Contents,
};

/// What the clusters and the files hold, before it is known to be of use.
pub(crate) struct Found {
    /// Every `ca.crt` in a cluster, with the place where it is.
    pub(crate) roots: Vec<(String, Vec<Certificate>)>,
    /// The management cluster's server certificate.
    pub(crate) server: Pair,
    /// The management cluster's signing certificate.
    pub(crate) signing: Pair,
    /// What the PKI directory, or the user, has.
    pub(crate) files: Files,
}

/// Where each certificate comes from.
pub(crate) struct Decision {
    choices: Choices,
    root: RootSource<NewKey>,
    server: Source<NewKey>,
    signing: Source<NewKey>,
    /// What the user should know about it, a sentence each.
    pub(crate) remarks: Vec<String>,
}

/// Where the root comes from; `K` is the key that it is issued to.
enum RootSource<K> {
    /// There is one; the authority to issue by it may be elsewhere.
    Known(Vec<Certificate>, Option<Authority>),
    /// It is issued.
    Issue(K),
}

/// Where another certificate comes from.
enum Source<K> {
    /// A cluster or a file holds it, and it is sound.
    Known(CertifiedKey),
    /// It is issued.
    Issue(K),
}

/// A key to issue a certificate to.
enum NewKey {
    /// An interrupted run left it.
    Left(PrivateKey),
    /// It has to be made.
    Make(Algorithm),
}

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

/// What opens an encrypted key: it is asked for the password of the file of that
/// name, and only if something has to be issued.
pub(crate) type Unlock<'a> = &'a mut dyn FnMut(&EncryptedKey, &str) -> Result<PrivateKey>;

/// Decides where each certificate comes from.
///
/// # Errors
/// If places disagree about the root, if a file is not sound or not as it was asked
/// for, or if something has to be issued and the key to issue by is not there.
pub(crate) fn decide(
    found: Found,
    choices: Choices,
    now: OffsetDateTime,
    unlock: Unlock<'_>,
) -> Result<Decision> {
    let Found {
        mut roots,
        server,
        signing,
        files,
    } = found;
    roots.extend(files.beside);
    let root = files.root;
    let contained = |(_, trusted): &(String, Vec<Certificate>)| {
        root.certificates
            .iter()
            .all(|certificate| trusted.contains(certificate))
    };
    let adopted = !root.certificates.is_empty() && !roots.iter().any(contained);
    // Only clusters know the root: whoever made it may not be done.
    let elsewhere = root.certificates.is_empty();
    if adopted {
        roots.push((root.place.clone(), root.certificates));
    }
    let mut remarks = Vec::new();
    let known = agreed(roots)?;
    if let Some((place, trusted)) = &known {
        let findings = soundness::of_trusted(trusted, now);
        if let Some(defect) = findings.error() {
            return Err(
                Error::new(format!("the root certificate of {place} {defect}")).hint(match adopted {
                    true => "give another one, or move it away to have a new root made",
                    false => "no agent can trust it; start over with a new root in all clusters",
                }),
            );
        }
        if let Some(what) = contradiction(&choices, trusted) {
            return Err(contradicted(place, &what));
        }
        remark(&mut remarks, place, &findings, adopted);
    }
    let trusted = known.as_ref().map_or(&[][..], |(_, trusted)| trusted);

    let host = choices.host.to_string();
    let mut choose = |child: Child, cluster, pair| {
        let judge = Judge {
            role: child.role(),
            choices: &choices,
            trusted,
            purpose: child.purpose(&host),
            now,
        };
        judge.choose(cluster, pair, &mut remarks)
    };
    let server = choose(Child::Server, server, files.server)?;
    let signing = choose(Child::Signing, signing, files.signing)?;
    if let (Source::Known(server), Source::Known(signing)) = (&server, &signing) {
        let twins = soundness::of_twins(server.chain.leaf(), signing.chain.leaf());
        remark(&mut remarks, Role::Server.stem(), &twins, adopted);
    }

    let missing = [(&server, Child::Server), (&signing, Child::Signing)];
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|(source, _)| matches!(source, Source::Issue(_)))
        .map(|(_, child)| child)
        .collect();
    let root = match known {
        None => {
            let left = root.key.map(|key| key.open(|key| unlock(key, &root.key_place)));
            RootSource::Issue(NewKey::from(left.transpose()?, choices.algorithm(Role::Root)))
        }
        Some((place, trusted)) => {
            let authority = match root.key {
                // Nobody is asked for a password without need.
                Some(StoredKey::Encrypted(_)) | None if missing.is_empty() => None,
                None => {
                    return Err(Error::new(format!(
                        "{} has to be issued, and {} {}",
                        missing[0].role().stem(),
                        root.without_key,
                        fingerprints(&trusted)
                    ))
                    .hint(match elsewhere {
                        true => format!(
                            "{}; if somebody is making it at this moment,\nwait until that is done, and run the \
                             same command again",
                            root.hint
                        ),
                        false => root.hint.to_owned(),
                    }));
                }
                Some(key) => {
                    let key = key.open(|key| unlock(key, &root.key_place))?;
                    let authority = Authority::new(&trusted, key).map_err(|_| {
                        Error::new(format!(
                            "{} is not the key of the root certificate of {place}",
                            root.key_place
                        ))
                        .hint(root.stranger_hint)
                    })?;
                    may_issue(&authority, &missing, &choices, &place, now)?;
                    Some(authority)
                }
            };
            RootSource::Known(trusted, authority)
        }
    };
    let kept = [
        (Role::Root, matches!(root, RootSource::Known(..))),
        (Role::Server, matches!(server, Source::Known(..))),
        (Role::Signing, matches!(signing, Source::Known(..))),
    ];
    let kept = kept.into_iter().filter(|(_, kept)| *kept);
    remarks.extend(kept.filter_map(|(role, _)| choices.unmet(role)));
    Ok(Decision {
        choices,
        root,
        server,
        signing,
        remarks,
    })
}

/// Whether an authority may issue what is missing: not every CA may have another
/// one below it.
fn may_issue(
    authority: &Authority,
    missing: &[Child],
    choices: &Choices,
    place: &str,
    now: OffsetDateTime,
) -> Result<()> {
    for child in missing {
        let role = child.role();
        let names = choices.names(role).dns();
        let host = choices.host.to_string();
        let purpose = child.purpose(&host);
        let findings = soundness::of_issuer(authority.certificates(), &names, purpose, now);
        if let Some(defect) = findings.error() {
            let stem = role.stem();
            return Err(
                Error::new(format!("{place} cannot issue {stem}: it {defect}")).hint(
                    "have server and signing certificate issued elsewhere, from the requests of \
                     kubectl relay-certs csr, and give them with --server-cert, --server-key, \
                     --signing-cert, --signing-key and --ca-cert",
                ),
            );
        }
    }
    Ok(())
}

/// Only roots that were made for the relay can be as they were asked for.
fn contradiction(choices: &Choices, certificates: &[Certificate]) -> Option<String> {
    let ours = |root: &&Certificate| root.organization().as_deref() == Some(Role::Root.stem());
    let mut roots = certificates.iter().filter(ours);
    roots.find_map(|root| choices.contradiction(Role::Root, root))
}

fn contradicted(place: &str, what: &str) -> Error {
    Error::new(format!("{place} {what}"))
        .hint("leave that choice out to keep what there is, or choose another --pki-dir to start over")
}

/// Passes on what the relay accepts and others do not, of what is adopted.
fn remark(remarks: &mut Vec<String>, place: &str, findings: &Findings, adopted: bool) {
    if adopted {
        remarks.extend(findings.warnings().map(|what| format!("warning: {place} {what}")));
    }
}

/// The certificates that all places name, with one of the places; `None` where no
/// place names any.
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
                        "give the --pki-dir of the root that is in use, or delete the secret of a cluster \
                         whose root nothing uses; to replace a root everywhere: \
                         kubectl relay-certs rotate root",
                    ),
            )
        }
    }
}

/// What decides about one role.
struct Judge<'a> {
    role: Role,
    choices: &'a Choices,
    trusted: &'a [Certificate],
    purpose: Purpose<'a>,
    now: OffsetDateTime,
}

impl Judge<'_> {
    fn findings(&self, chain: &Chain, key: &PrivateKey) -> Findings {
        soundness::of_chain(
            chain,
            Some(key.public_key()),
            Some(self.trusted),
            self.purpose,
            self.now,
        )
    }

    /// The management cluster's pair if it is sound, else that of the files.
    fn choose(&self, cluster: Pair, pair: Pair, remarks: &mut Vec<String>) -> Result<Source<NewKey>> {
        let (secret, place) = (cluster.place, pair.place);
        if let (Some(chain), Some(key)) = (cluster.chain, cluster.key) {
            match self.findings(&chain, &key).error() {
                Some(defect) => remarks.push(format!("the certificate of {secret} {defect}: it is replaced")),
                None => {
                    if pair.chain.is_some_and(|file| file != chain) {
                        remarks.push(format!("{place} is not what {secret} holds: the secret stays"));
                    }
                    return self.known(chain, key, &secret);
                }
            }
        }
        match (pair.chain, pair.key) {
            (None, key) => Ok(Source::Issue(NewKey::from(
                key,
                self.choices.algorithm(self.role),
            ))),
            (Some(_), None) => Err(Error::new(format!("{place} is there and its key is not"))
                .hint("put the key back, or move the certificate away to have a new one issued")),
            (Some(chain), Some(key)) => {
                let findings = self.findings(&chain, &key);
                if let Some(defect) = findings.error() {
                    return Err(Error::new(format!("{place} {defect}")).hint(pair.hint));
                }
                remark(remarks, &place, &findings, true);
                self.known(chain, key, &place)
            }
        }
    }

    fn known(&self, chain: Chain, key: PrivateKey, place: &str) -> Result<Source<NewKey>> {
        match self.choices.contradiction(self.role, chain.leaf()) {
            None => Ok(Source::Known(CertifiedKey { chain, key })),
            Some(what) => Err(contradicted(place, &what)),
        }
    }
}

impl NewKey {
    fn from(left: Option<PrivateKey>, algorithm: Algorithm) -> Self {
        left.map_or(Self::Make(algorithm), Self::Left)
    }

    fn key(self) -> Result<PrivateKey, String> {
        match self {
            Self::Left(key) => Ok(key),
            Self::Make(algorithm) => PrivateKey::generate(algorithm),
        }
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

impl Decision {
    /// Whether anything is issued.
    pub(crate) fn issues(&self) -> bool {
        self.issues_root()
            || matches!(self.server, Source::Issue(_))
            || matches!(self.signing, Source::Issue(_))
    }

    /// Whether there will be a new root, with a key to be kept.
    pub(crate) fn issues_root(&self) -> bool {
        matches!(self.root, RootSource::Issue(_))
    }

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

#[cfg(test)]
mod tests;
