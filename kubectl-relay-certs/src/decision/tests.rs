//! The cases of [`super`].

use relay_shared::relay::RelayHost;
use time::{Duration, macros::datetime};

use super::*;
use crate::{
    choices::tests::choices_for,
    found::{Files, RootFiles},
    issue::LIFETIME,
};

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
    server: CertifiedKey,
    signing: CertifiedKey,
}

impl Set {
    fn new() -> Self {
        Self::of(host())
    }

    fn of(host: RelayHost) -> Self {
        let choices = choices_for(host, "");
        let names = |role| choices.names(role);
        let root = Authority::root(key(), &names(Role::Root), LIFETIME, NOW).expect("is issued");
        let issue = |child: Child| {
            let issued = root.issue(child, key(), &names(child.role()), LIFETIME, NOW);
            issued.expect("is issued")
        };
        Self {
            server: issue(Child::Server),
            signing: issue(Child::Signing),
            root,
        }
    }

    fn root_key(&self) -> Option<StoredKey> {
        Some(StoredKey::Plain(copy(self.root.key())))
    }

    /// As files.
    fn server(&self) -> Pair {
        pair("pki/relay-server-tls.crt", &self.server)
    }

    /// As files.
    fn signing(&self) -> Pair {
        pair("pki/relay-tls-signing.crt", &self.signing)
    }

    fn trusted(&self) -> Vec<Trust> {
        vec![trust("mgmt", self)]
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

fn trust(place: &str, set: &Set) -> Trust {
    Trust {
        place: place.to_owned(),
        certificates: set.root.certificates().to_vec(),
    }
}

fn pair(place: &str, pair: &CertifiedKey) -> Pair {
    Pair {
        place: place.to_owned(),
        chain: Some(pair.chain.clone()),
        key: Some(copy(&pair.key)),
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
                stranger_hint: "",
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
    found.files.signing = pair("pki/relay-tls-signing.crt", &set.server);
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
    assert!(root.is_for(left.public_key()));
}
