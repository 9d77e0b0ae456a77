//! Where each certificate comes from: what the clusters hold already, else the
//! user's files or the PKI directory, else it is issued. Decided once, before
//! anything is made.

use relay_shared::{
    Error, Result,
    certificate::{Certificate, fingerprints},
    chain::Chain,
    findings::Findings,
    path_validation,
    soundness::{self, Purpose},
};
use time::OffsetDateTime;

use crate::{
    choices::Choices,
    found::{Found, Pair, RootFiles, Trust},
    issue::{Authority, CertifiedKey},
    key::{Algorithm, EncryptedKey, PrivateKey, StoredKey},
    role::{Child, Role},
};

/// Where each certificate comes from.
pub(crate) struct Decision {
    pub(crate) choices: Choices,
    pub(crate) root: RootSource<NewKey>,
    pub(crate) server: Source<NewKey>,
    pub(crate) signing: Source<NewKey>,
    /// What the user should know about it, a sentence each.
    pub(crate) remarks: Vec<String>,
}

/// Where the root comes from; `K` is the key that it is issued to.
pub(crate) enum RootSource<K> {
    /// There is one; the authority to issue by it may be elsewhere.
    Known(Vec<Certificate>, Option<Authority>),
    /// It is issued.
    Issue(K),
}

/// Where another certificate comes from.
pub(crate) enum Source<K> {
    /// A cluster or a file holds it, and it is sound.
    Known(CertifiedKey),
    /// It is issued.
    Issue(K),
}

/// A key to issue a certificate to.
pub(crate) enum NewKey {
    /// An interrupted run left it.
    Left(PrivateKey),
    /// It has to be made.
    Make(Algorithm),
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
    let adopted = is_adopted(&root, &roots);
    if adopted {
        roots.push(Trust {
            place: root.place.clone(),
            certificates: root.certificates.clone(),
        });
    }
    let known = agreed(roots)?;
    let mut remarks = Vec::new();
    if let Some(trust) = &known {
        let findings = can_be_trusted(trust, adopted, &choices, now)?;
        remark(&mut remarks, &trust.place, &findings, adopted);
    }
    let trusted = known.as_ref().map_or(&[][..], |trust| &trust.certificates);

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

    let missing = [(Child::Server, &server), (Child::Signing, &signing)];
    let missing = missing.into_iter().filter(|(_, source)| source.is_issued());
    let missing: Vec<_> = missing.map(|(child, _)| child).collect();
    let root = match known {
        None => {
            let left = root.key.map(|key| key.open(|key| unlock(key, &root.key_place)));
            RootSource::Issue(NewKey::from(left.transpose()?, choices.algorithm(Role::Root)))
        }
        Some(trust) => {
            let authority = authority(root, &trust, &missing, &choices, now, unlock)?;
            RootSource::Known(trust.certificates, authority)
        }
    };
    let all = [
        (Role::Root, root.is_issued()),
        (Role::Server, server.is_issued()),
        (Role::Signing, signing.is_issued()),
    ];
    let kept = all.into_iter().filter(|(_, is_issued)| !is_issued);
    remarks.extend(kept.filter_map(|(role, _)| choices.unmet(role)));
    Ok(Decision {
        choices,
        root,
        server,
        signing,
        remarks,
    })
}

/// Whether the files name a root that no place trusts yet.
fn is_adopted(root: &RootFiles, roots: &[Trust]) -> bool {
    let is_contained = |trust: &Trust| {
        let mut certificates = root.certificates.iter();
        certificates.all(|certificate| trust.certificates.contains(certificate))
    };
    !root.certificates.is_empty() && !roots.iter().any(is_contained)
}

/// Makes sure that a root is sound, and as it was asked for. Returns what else is to be
/// said about it.
fn can_be_trusted(trust: &Trust, adopted: bool, choices: &Choices, now: OffsetDateTime) -> Result<Findings> {
    let Trust { place, certificates } = trust;
    let findings = soundness::of_trusted(certificates, now);
    if let Some(defect) = findings.error() {
        return Err(
            Error::new(format!("the root certificate of {place} {defect}")).hint(match adopted {
                true => "give another one, or move it away to have a new root made",
                false => "no agent can trust it; start over with a new root in all clusters",
            }),
        );
    }
    match contradiction(choices, certificates) {
        Some(what) => Err(contradicted(place, &what)),
        None => Ok(findings),
    }
}

/// What issues what is missing below a root that is known; `None` if nothing is.
fn authority(
    root: RootFiles,
    trust: &Trust,
    missing: &[Child],
    choices: &Choices,
    now: OffsetDateTime,
    unlock: Unlock<'_>,
) -> Result<Option<Authority>> {
    let place = &trust.place;
    let key = match (root.key, missing) {
        // Nobody is asked for a password without need.
        (Some(StoredKey::Encrypted(_)) | None, []) => return Ok(None),
        (Some(key), _) => key,
        (None, [first, ..]) => {
            let (stem, prints) = (first.role().stem(), fingerprints(&trust.certificates));
            let what = format!("{stem} has to be issued, and {} {prints}", root.without_key);
            // Only clusters know the root: whoever made it may not be done.
            let hint = match root.certificates.is_empty() {
                true => format!(
                    "{}; if somebody is making it at this moment,\nwait until that is done, and run the \
                     same command again",
                    root.hint
                ),
                false => root.hint.to_owned(),
            };
            return Err(Error::new(what).hint(hint));
        }
    };
    let key = key.open(|key| unlock(key, &root.key_place))?;
    let authority = Authority::new(&trust.certificates, key).map_err(|_| {
        Error::new(format!(
            "{} is not the key of the root certificate of {place}",
            root.key_place
        ))
        .hint(root.stranger_hint)
    })?;
    may_issue(&authority, missing, choices, place, now)?;
    Ok(Some(authority))
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
        let findings = path_validation::of_issuer(authority.certificates(), &names, purpose, now);
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

/// The certificates that all places name, as one of them does; `None` where no place
/// names any.
fn agreed(places: Vec<Trust>) -> Result<Option<Trust>> {
    let same = |pair: &[Trust]| pair[0].certificates == pair[1].certificates;
    if places.windows(2).all(same) {
        return Ok(places.into_iter().next());
    }
    let causes = places.iter().map(|trust| {
        let prints = fingerprints(&trust.certificates);
        Error::new(format!("{} has {prints}", trust.place))
    });
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
        path_validation::of_chain(
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

    /// The key, which is made if there is none.
    pub(crate) fn key(self) -> Result<PrivateKey, String> {
        match self {
            Self::Left(key) => Ok(key),
            Self::Make(algorithm) => PrivateKey::generate(algorithm),
        }
    }
}

impl Decision {
    /// Whether anything is issued.
    pub(crate) fn issues(&self) -> bool {
        self.issues_root() || self.server.is_issued() || self.signing.is_issued()
    }

    /// Whether there will be a new root, with a key to be kept.
    pub(crate) fn issues_root(&self) -> bool {
        self.root.is_issued()
    }
}

impl<K> RootSource<K> {
    fn is_issued(&self) -> bool {
        matches!(self, Self::Issue(_))
    }
}

impl<K> Source<K> {
    fn is_issued(&self) -> bool {
        matches!(self, Self::Issue(_))
    }
}

#[cfg(test)]
mod tests;
