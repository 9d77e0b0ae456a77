//! Where each certificate comes from: what the clusters hold already, else the
//! PKI directory, else it is issued. Decided once, before anything is made.

use std::thread;

use relay_shared::{Error, Result, relay::RelayHost};
use time::OffsetDateTime;

use crate::{
    certificate::Certificate,
    directory::{Pair, Pairs},
    issue::{Root, Server, Signing},
    key::{Algorithm, Bits, PrivateKey},
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
    Make(Algorithm),
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
        None => RootSource::Issue(NewKey::from(pairs.root.key, Algorithm::Rsa(Bits::Rsa4096))),
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
        (None, key) => Ok(Source::Issue(NewKey::from(key, Algorithm::Rsa(Bits::Rsa2048)))),
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

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;
    use crate::key::StoredKey;

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

    /// A root and what is issued from it, to be put into places.
    struct Set {
        root: Root,
        server: Server,
        signing: Signing,
    }

    impl Set {
        fn new() -> Self {
            Self::of(&host())
        }

        fn of(host: &RelayHost) -> Self {
            let root = Root::new(key(), host.namespace(), NOW).expect("is issued");
            Self {
                server: root.server(key(), host, NOW).expect("is issued"),
                signing: root.signing(key(), host.namespace(), NOW).expect("is issued"),
                root,
            }
        }

        fn root(&self) -> Pair {
            pair(&self.root.certificate, &self.root.key)
        }

        fn server(&self) -> Pair {
            pair(&self.server.certificate, &self.server.key)
        }

        fn signing(&self) -> Pair {
            pair(&self.signing.certificate, &self.signing.key)
        }

        fn trusted(&self) -> Vec<(String, Vec<Certificate>)> {
            vec![("mgmt".to_owned(), vec![self.root.certificate.clone()])]
        }

        /// As it is once `init` is done.
        fn in_cluster(&self) -> Found {
            Found {
                roots: self.trusted(),
                server: self.server(),
                signing: self.signing(),
                ..nothing()
            }
        }

        fn in_directory(&self) -> Found {
            Found {
                pairs: Pairs {
                    root: self.root(),
                    server: self.server(),
                    signing: self.signing(),
                },
                ..nothing()
            }
        }
    }

    fn pair(certificate: &Certificate, key: &PrivateKey) -> Pair {
        Pair {
            certificate: Some(certificate.clone()),
            key: Some(copy(key)),
        }
    }

    fn nothing() -> Found {
        Found {
            roots: Vec::new(),
            server: Pair::default(),
            signing: Pair::default(),
            directory: "pki".to_owned(),
            pairs: Pairs::default(),
        }
    }

    /// What is issued, and what the user is told; or the error.
    fn outcome(found: Found, now: OffsetDateTime) -> String {
        match decide(found, &host(), now) {
            Err(error) => error.to_string(),
            Ok(decision) => {
                let remarks = decision.remarks.clone();
                let material = decision.issue(&host(), now).expect("is issued");
                let issued: Vec<_> = material
                    .issued()
                    .map(|(role, ..)| role.stem().to_owned())
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
        found.pairs.server = Pair::default();
        check(found, "relay-server-tls");
        let mut found = set.in_directory();
        found.pairs.signing.certificate = None;
        check(found, "relay-tls-signing");

        let mut found = set.in_cluster();
        found.server = Pair::default();
        found.pairs.root = set.root();
        check(found, "relay-server-tls");

        let mut found = set.in_cluster();
        found.pairs = Set::of(&host()).in_directory().pairs;
        found.pairs.root = set.root();
        let stays = "secret relay-server-tls-secret holds: the secret stays; \
                     pki/relay-tls-signing.crt is not what secret relay-tls-signing-secret holds: the secret stays";
        check(found, &format!("pki/relay-server-tls.crt is not what {stays}"));

        let mut found = set.in_cluster();
        found.server = Set::of(&RelayHost::new("relay", "elsewhere")).server();
        found.pairs.root = set.root();
        check(
            found,
            "relay-server-tls; the certificate of secret relay-server-tls-secret is not for \
             enterprise-networking.gloo-mesh: it is replaced",
        );

        let mut found = set.in_cluster();
        found.signing = set.server();
        found.pairs.root = set.root();
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
        let print = |set: &Set| set.root.certificate.fingerprint().to_string();

        let mut found = set.in_cluster();
        found.pairs = other.in_directory().pairs;
        check(found, NOW, &format!("mgmt has {}", print(&set)));
        let mut found = set.in_cluster();
        found.pairs = other.in_directory().pairs;
        check(found, NOW, &format!("pki/relay-root.crt has {}", print(&other)));

        let mut found = nothing();
        found.roots = set.trusted();
        check(
            found,
            NOW,
            &format!("pki has not the key of the root {}", print(&set)),
        );

        let mut found = set.in_directory();
        found.pairs.root.key = other.root().key;
        check(found, NOW, "pki/relay-root.key is not the key of the root");
        let mut found = set.in_directory();
        found.pairs.server.key = other.server().key;
        check(
            found,
            NOW,
            "pki/relay-server-tls.crt does not belong to the key beside it",
        );
        let mut found = set.in_directory();
        found.pairs.server.key = None;
        check(found, NOW, "pki/relay-server-tls.crt is there and its key is not");
        let mut found = set.in_directory();
        found.pairs.server = other.server();
        check(found, NOW, "pki/relay-server-tls.crt is not signed by the root");
        let mut found = set.in_directory();
        found.pairs.signing = set.server();
        check(
            found,
            NOW,
            "pki/relay-tls-signing.crt is not a certificate authority",
        );
        let mut found = set.in_directory();
        found.pairs.server = set.signing();
        check(found, NOW, "is a certificate authority, not a server's");

        check(set.in_cluster(), NOW + Duration::days(3651), "has expired");
        check(set.in_cluster(), NOW - Duration::days(1), "is not valid yet");
    }

    #[test]
    fn an_interrupted_runs_keys_are_used() {
        let left = key();
        let mut found = nothing();
        found.pairs.root.key = Some(copy(&left));
        let decision = decide(found, &host(), NOW).unwrap_or_else(|e| panic!("{e}"));
        let material = decision.issue(&host(), NOW).expect("is issued");
        let (_, root, _) = material.issued().next().expect("a root is issued");
        assert!(root.belongs_to(&left));
    }
}
