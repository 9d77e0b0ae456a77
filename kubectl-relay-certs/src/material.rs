//! Where each certificate comes from: what the clusters hold already, else the
//! user's files or the PKI directory, else it is issued. Decided once, before
//! anything is made.

use std::thread;

use relay_shared::{Error, Result};
use time::OffsetDateTime;

use crate::{
    certificate::{Certificate, fingerprints},
    chain::Chain,
    choices::Choices,
    directory::{Files, Pair},
    issue::{Authority, Server, Signing},
    key::{Algorithm, EncryptedKey, PrivateKey, StoredKey},
    secrets::{Contents, Role},
    soundness::{self, Findings, Purpose},
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
    Known(Chain, PrivateKey),
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
    server: Server,
    signing: Signing,
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
    if adopted {
        roots.push((root.place.clone(), root.certificates));
    }
    let mut remarks = Vec::new();
    let known = agreed(roots)?;
    if let Some((place, trusted)) = &known {
        let findings = soundness::of_trusted(trusted, now);
        if let Some(defect) = findings.error() {
            return Err(Error::new(format!("the root certificate of {place} {defect}"))
                .hint("no agent can trust it; start over with a new root in all clusters"));
        }
        if let Some(what) = contradiction(&choices, Role::Root, trusted) {
            return Err(contradicted(place, &what));
        }
        remark(&mut remarks, place, &findings, adopted);
    }
    let trusted = known.as_ref().map_or(&[][..], |(_, trusted)| trusted);

    let host = choices.host.to_string();
    let mut choose = |role, cluster, pair, purpose| {
        let judge = Judge {
            role,
            choices: &choices,
            trusted,
            purpose,
            now,
        };
        judge.choose(cluster, pair, &mut remarks)
    };
    let server = choose(
        Role::Server,
        server,
        files.server,
        Purpose::Server { host: &host },
    )?;
    let signing = choose(Role::Signing, signing, files.signing, Purpose::Signing)?;
    if let (Source::Known(server, _), Source::Known(signing, _)) = (&server, &signing) {
        let twins = soundness::of_twins(server.leaf(), signing.leaf());
        remark(&mut remarks, Role::Server.stem(), &twins, adopted);
    }

    let missing = [(&server, Role::Server), (&signing, Role::Signing)];
    let missing: Vec<_> = missing
        .into_iter()
        .filter(|(source, _)| matches!(source, Source::Issue(_)))
        .map(|(_, role)| role)
        .collect();
    let root = match known {
        None => {
            let left = root.key.map(|key| opened(key, &root.key_place, unlock));
            RootSource::Issue(NewKey::from(left.transpose()?, choices.algorithm(Role::Root)))
        }
        Some((place, trusted)) => {
            let authority = match root.key {
                // Nobody is asked for a password without need.
                Some(StoredKey::Encrypted(_)) | None if missing.is_empty() => None,
                None => {
                    return Err(Error::new(format!(
                        "{} has to be issued, and {} {}",
                        missing[0].stem(),
                        root.without_key,
                        fingerprints(&trusted)
                    ))
                    .hint(root.hint));
                }
                Some(key) => {
                    let key = opened(key, &root.key_place, unlock)?;
                    let authority = Authority::new(&trusted, key).map_err(|_| {
                        Error::new(format!(
                            "{} is not the key of the root certificate of {place}",
                            root.key_place
                        ))
                        .hint("move it away, or choose another --pki-dir")
                    })?;
                    may_issue(&authority, &missing, &choices, &place, now)?;
                    Some(authority)
                }
            };
            RootSource::Known(trusted, authority)
        }
    };
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
    missing: &[Role],
    choices: &Choices,
    place: &str,
    now: OffsetDateTime,
) -> Result<()> {
    for role in missing {
        let names = choices.names(*role).dns();
        let host = choices.host.to_string();
        let purpose = match role {
            Role::Server => Purpose::Server { host: &host },
            Role::Root | Role::Signing => Purpose::Signing,
        };
        let findings = soundness::of_issuer(authority.certificates(), &names, purpose, now);
        if let Some(defect) = findings.error() {
            let stem = role.stem();
            return Err(
                Error::new(format!("{place} cannot issue {stem}: it {defect}")).hint(
                    "have server and signing certificate issued elsewhere, from the requests of
                 kubectl relay-certs csr, and give them with --server-cert, --server-key,
                 --signing-cert, --signing-key and --ca-cert",
                ),
            );
        }
    }
    Ok(())
}

fn opened(key: StoredKey, place: &str, unlock: Unlock<'_>) -> Result<PrivateKey> {
    match key {
        StoredKey::Plain(key) => Ok(key),
        StoredKey::Encrypted(key) => unlock(&key, place),
    }
}

fn contradiction(choices: &Choices, role: Role, certificates: &[Certificate]) -> Option<String> {
    let mut roots = certificates.iter().filter(|certificate| certificate.is_root());
    roots.find_map(|root| choices.contradiction(role, root))
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
        soundness::of_chain(chain, Some(key), self.trusted, self.purpose, self.now)
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
            None => Ok(Source::Known(chain, key)),
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
            Self::Known(chain, key) => Source::Known(chain, key),
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
        let server = match keyed.1.map_err(failed(Role::Server))? {
            Source::Known(chain, key) => Server { chain, key },
            Source::Issue(key) => {
                issued.push(Role::Server);
                let (names, lifetime) = asked(Role::Server);
                let server = issuer().and_then(|issuer| issuer.server(key, &names, lifetime, now));
                server.map_err(failed(Role::Server))?
            }
        };
        let signing = match keyed.2.map_err(failed(Role::Signing))? {
            Source::Known(chain, key) => Signing { chain, key },
            Source::Issue(key) => {
                issued.push(Role::Signing);
                let (names, lifetime) = asked(Role::Signing);
                let signing = issuer().and_then(|issuer| issuer.signing(key, &names, lifetime, now));
                signing.map_err(failed(Role::Signing))?
            }
        };
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
            Role::Server => Some((&self.server.chain, &self.server.key)),
            Role::Signing => Some((&self.signing.chain, &self.signing.key)),
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
mod tests {
    use relay_shared::relay::RelayHost;
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::{choices::tests::choices_for, directory::RootFiles, issue::LIFETIME};

    const NOW: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);

    /// A fast key: what is decided does not depend on the algorithm.
    fn key() -> PrivateKey {
        PrivateKey::generate(Algorithm::EcdsaP256).expect("P-256 can be generated")
    }

    fn copy(key: &PrivateKey) -> PrivateKey {
        StoredKey::plain(key.pem().as_bytes()).expect("was read before")
    }

    fn host() -> RelayHost {
        RelayHost::new("enterprise-networking", "gloo-mesh")
    }

    fn choices(line: &str) -> Choices {
        choices_for(host(), line)
    }

    /// Nobody has to be asked for a password.
    fn unlock(_: &EncryptedKey, place: &str) -> Result<PrivateKey> {
        panic!("{place} is not encrypted")
    }

    /// A root and what is issued from it, to be put into places.
    struct Set {
        root: Authority,
        server: Server,
        signing: Signing,
    }

    impl Set {
        fn new() -> Self {
            Self::of(host())
        }

        fn of(host: RelayHost) -> Self {
            let choices = choices_for(host, "");
            let names = |role| choices.names(role);
            let root = Authority::root(key(), &names(Role::Root), LIFETIME, NOW).expect("is issued");
            let server = root.server(key(), &names(Role::Server), LIFETIME, NOW);
            let signing = root.signing(key(), &names(Role::Signing), LIFETIME, NOW);
            Self {
                server: server.expect("is issued"),
                signing: signing.expect("is issued"),
                root,
            }
        }

        fn root_key(&self) -> Option<StoredKey> {
            Some(StoredKey::Plain(copy(self.root.key())))
        }

        /// As files.
        fn server(&self) -> Pair {
            pair("pki/relay-server-tls.crt", &self.server.chain, &self.server.key)
        }

        /// As files.
        fn signing(&self) -> Pair {
            pair(
                "pki/relay-tls-signing.crt",
                &self.signing.chain,
                &self.signing.key,
            )
        }

        fn trusted(&self) -> Vec<(String, Vec<Certificate>)> {
            vec![("mgmt".to_owned(), self.root.certificates().to_vec())]
        }

        /// As it is once `init` is done.
        fn in_cluster(&self) -> Found {
            Found {
                roots: self.trusted(),
                server: secret("relay-server-tls-secret", self.server()),
                signing: secret("relay-tls-signing-secret", self.signing()),
                ..nothing()
            }
        }

        fn in_directory(&self) -> Found {
            let mut found = nothing();
            found.files.root.certificates = self.root.certificates().to_vec();
            found.files.root.key = self.root_key();
            found.files.server = self.server();
            found.files.signing = self.signing();
            found
        }
    }

    fn pair(place: &str, chain: &Chain, key: &PrivateKey) -> Pair {
        Pair {
            place: place.to_owned(),
            chain: Some(chain.clone()),
            key: Some(copy(key)),
            hint: "",
        }
    }

    fn secret(name: &str, pair: Pair) -> Pair {
        let place = format!("secret {name}");
        Pair { place, ..pair }
    }

    fn nothing() -> Found {
        Found {
            roots: Vec::new(),
            server: Pair::default(),
            signing: Pair::default(),
            files: Files {
                root: RootFiles {
                    certificates: Vec::new(),
                    place: "pki/relay-root.crt".to_owned(),
                    key: None,
                    key_place: "pki/relay-root.key".to_owned(),
                    without_key: "pki has not the key of the root".to_owned(),
                    hint: "",
                },
                server: Pair::default(),
                signing: Pair::default(),
                beside: None,
            },
        }
    }

    /// What is issued, and what the user is told; or the error.
    fn outcome(found: Found, now: OffsetDateTime) -> String {
        asked(found, "", now)
    }

    fn asked(found: Found, line: &str, now: OffsetDateTime) -> String {
        match decide(found, choices(line), now, &mut unlock) {
            Err(error) => error.to_string(),
            Ok(decision) => {
                let remarks = decision.remarks.clone();
                let material = decision.issue(now).expect("is issued");
                let issued: Vec<_> = material
                    .issued()
                    .map(|issued| issued.role.stem().to_owned())
                    .collect();
                [issued, remarks].concat().join("; ")
            }
        }
    }

    #[test]
    fn what_is_sound_stays_and_what_is_missing_is_issued() {
        #[track_caller]
        fn check(found: Found, want: &str) {
            assert_eq!(outcome(found, NOW), want);
        }
        let set = Set::new();
        check(set.in_cluster(), "");
        check(set.in_directory(), "");
        check(
            Found {
                server: set.server(),
                ..set.in_directory()
            },
            "",
        );

        let mut found = set.in_directory();
        found.files.server = Pair::default();
        check(found, "relay-server-tls");
        let mut found = set.in_directory();
        found.files.signing.chain = None;
        check(found, "relay-tls-signing");

        let mut found = set.in_cluster();
        found.server = Pair::default();
        found.files.root.key = set.root_key();
        check(found, "relay-server-tls");

        let mut found = set.in_cluster();
        found.files = Set::new().in_directory().files;
        found.files.root.certificates = set.root.certificates().to_vec();
        found.files.root.key = set.root_key();
        let stays = "secret relay-server-tls-secret holds: the secret stays; \
                     pki/relay-tls-signing.crt is not what secret relay-tls-signing-secret holds: the secret stays";
        check(found, &format!("pki/relay-server-tls.crt is not what {stays}"));

        let mut found = set.in_cluster();
        found.server = secret(
            "relay-server-tls-secret",
            Set::of(RelayHost::new("relay", "elsewhere")).server(),
        );
        found.files.root.key = set.root_key();
        check(
            found,
            "relay-server-tls; the certificate of secret relay-server-tls-secret is not for \
             enterprise-networking.gloo-mesh: it is replaced",
        );

        let mut found = set.in_cluster();
        found.signing = secret("relay-tls-signing-secret", set.server());
        found.files.root.key = set.root_key();
        check(
            found,
            "relay-tls-signing; the certificate of secret relay-tls-signing-secret is not a certificate \
             authority: it is replaced",
        );
    }

    #[test]
    fn what_is_not_sound_stops() {
        #[track_caller]
        fn check(found: Found, now: OffsetDateTime, want: &str) {
            let got = outcome(found, now);
            assert!(got.contains(want), "{got}");
        }
        let (set, other) = (Set::new(), Set::new());
        let print = |set: &Set| set.root.certificate().fingerprint().to_string();

        let mut found = set.in_cluster();
        found.files = other.in_directory().files;
        check(found, NOW, &format!("mgmt has {}", print(&set)));
        let mut found = set.in_cluster();
        found.files = other.in_directory().files;
        check(found, NOW, &format!("pki/relay-root.crt has {}", print(&other)));

        let mut found = nothing();
        found.roots = set.trusted();
        check(
            found,
            NOW,
            &format!("pki has not the key of the root {}", print(&set)),
        );

        let mut found = set.in_directory();
        found.files.root.key = other.root_key();
        check(found, NOW, "pki/relay-root.key is not the key of the root");
        let mut found = set.in_directory();
        found.files.server.key = other.server().key;
        check(found, NOW, "pki/relay-server-tls.crt does not belong to its key");
        let mut found = set.in_directory();
        found.files.server.key = None;
        check(found, NOW, "pki/relay-server-tls.crt is there and its key is not");
        let mut found = set.in_directory();
        found.files.server = other.server();
        check(
            found,
            NOW,
            "pki/relay-server-tls.crt is not signed by the root, but by another",
        );
        let mut found = set.in_directory();
        found.files.signing = pair("pki/relay-tls-signing.crt", &set.server.chain, &set.server.key);
        check(
            found,
            NOW,
            "pki/relay-tls-signing.crt is not a certificate authority",
        );
        let mut found = set.in_directory();
        found.files.server = set.signing();
        check(found, NOW, "is a certificate authority, not a server's");

        check(set.in_cluster(), NOW + Duration::days(3651), "has expired");
        check(set.in_cluster(), NOW - Duration::days(1), "is not valid yet");
    }

    #[test]
    fn an_interrupted_runs_keys_are_used() {
        let left = key();
        let mut found = nothing();
        found.files.root.key = Some(StoredKey::Plain(copy(&left)));
        let decision = decide(found, choices("--key-algorithm ecdsa-p256"), NOW, &mut unlock)
            .unwrap_or_else(|e| panic!("{e}"));
        let material = decision.issue(NOW).expect("is issued");
        let (_, root) = material.certificates().next().expect("a root is issued");
        assert!(root.belongs_to(&left));
    }
}
