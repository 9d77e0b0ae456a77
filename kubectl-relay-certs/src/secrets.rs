//! The page's three Secrets: what each holds, what is in a cluster, and what is
//! to be done about the difference.

use k8s_openapi::{
    api::core::v1::Secret,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use relay_shared::{
    Error, Result,
    certificate::{Certificate, fingerprints},
    chain::Chain,
    cluster::ObjectRef,
    findings::Findings,
    manifest::Manifest,
    owner::Owner,
    path_validation,
    plan::{Action, Change, Step},
    soundness,
};
use serde_json::json;
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    found::Pair,
    issue::CertifiedKey,
    key::{PrivateKey, StoredKey},
    restarts,
    role::Role,
};

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// kubectl's client-side apply keeps a copy of the whole object here, keys included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A Secret as it is in a cluster. What cannot be read is as good as missing: the
/// relay cannot use it either.
pub(crate) struct Live {
    metadata: ObjectMeta,
    /// The certificates of `ca.crt`.
    pub(crate) roots: Option<Vec<Certificate>>,
    chain: Option<Chain>,
    key: Option<PrivateKey>,
    public_key: Option<Vec<u8>>,
    has_key: bool,
    /// What is missing or cannot be read: the field, and the end of a sentence about
    /// the Secret.
    flaws: Vec<(&'static str, String)>,
}

/// What a Secret should hold.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) roots: &'a [Certificate],
    /// The root's Secret holds no pair.
    pub(crate) pair: Option<&'a CertifiedKey>,
}

impl Live {
    /// Takes a Secret apart, and wipes the copy of its key that it was read into.
    pub(crate) fn new(secret: Secret) -> Self {
        let mut data = secret.data.unwrap_or_default();
        let mut flaws = Vec::new();
        let has_key = data.contains_key(KEY);
        let key = data.remove(KEY).map(|key| Zeroizing::new(key.0));
        let bytes = |field| data.get(field).map(|value| value.0.as_slice());
        let roots = parsed(CA, bytes(CA), Certificate::all_from_pem, &mut flaws);
        let chain = parsed(CERTIFICATE, bytes(CERTIFICATE), Chain::from_pem, &mut flaws);
        let key = parsed(
            KEY,
            key.as_ref().map(|key| key.as_slice()),
            StoredKey::plain,
            &mut flaws,
        );
        Self {
            metadata: secret.metadata,
            roots,
            chain,
            public_key: key.as_ref().map(|key| key.public_key().to_vec()),
            key,
            has_key,
            flaws,
        }
    }

    /// Who looks after it.
    pub(crate) fn owner(&self) -> Owner {
        Owner::of(&self.metadata)
    }

    /// The certificate that it is there for, if it can be read.
    pub(crate) fn chain(&self) -> Option<&Chain> {
        self.chain.as_ref()
    }

    /// What is to be said about it as the Secret of a role, under the roots that the
    /// management cluster trusts, where those are known.
    pub(crate) fn findings(
        &self,
        role: Role,
        trusted: Option<&[Certificate]>,
        host: &str,
        now: OffsetDateTime,
    ) -> Findings {
        let mut findings = Findings::default();
        let needed: &[&str] = match role {
            Role::Root => &[CA],
            Role::Server | Role::Signing => &[CA, CERTIFICATE, KEY],
        };
        for (field, flaw) in &self.flaws {
            findings.error_if(needed.contains(field), flaw);
        }
        if let (Some(roots), Some(trusted)) = (&self.roots, trusted) {
            findings.error_if(
                roots != trusted,
                format!(
                    "trusts the root {}, and the management cluster {}",
                    fingerprints(roots),
                    fingerprints(trusted)
                ),
            );
        }
        let roots = self.roots.as_deref();
        let purpose = role.child().map(|child| child.purpose(host));
        if let (None, Some(roots)) = (purpose, roots) {
            findings.extend(soundness::of_trusted(roots, now));
        }
        if let (Some(purpose), Some(chain)) = (purpose, &self.chain) {
            let trusted = Some(trusted.or(roots).unwrap_or_default());
            let key = self.key.as_ref().map(PrivateKey::public_key);
            findings.extend(path_validation::of_chain(chain, key, trusted, purpose, now));
        }
        findings.extend(leak(&self.metadata, KEY));
        findings
    }

    /// `tls.crt` and `tls.key`; the key can be taken once.
    pub(crate) fn take_pair(&mut self) -> Pair {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        Pair {
            place: format!("secret {name}"),
            chain: self.chain.clone(),
            key: self.key.take(),
            hint: "",
        }
    }

    /// When `ca.crt` was written last, if that is known.
    pub(crate) fn roots_written(&self) -> Option<Time> {
        restarts::written(&self.metadata, CA)
    }

    /// Whether it holds a private key, readable or not.
    pub(crate) fn has_key(&self) -> bool {
        self.has_key
    }

    /// What has to change so that it holds what it should.
    fn changes(&self, wanted: &Contents<'_>) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut change = |field: &str, from: String, to: String| {
            changes.push(Change {
                field: field.to_owned(),
                from,
                to,
            });
        };
        if self.roots.as_deref() != Some(wanted.roots) {
            let from = self.roots.as_deref().map(fingerprints);
            change(CA, from.unwrap_or_default(), fingerprints(wanted.roots));
        }
        if let Some(CertifiedKey { chain, key }) = wanted.pair {
            if self.chain.as_ref() != Some(chain) {
                let from = self.chain.as_ref().map(Chain::fingerprints);
                change(CERTIFICATE, from.unwrap_or_default(), chain.fingerprints());
            }
            if self.public_key.as_deref() != Some(key.public_key()) {
                let from = match self.has_key {
                    true => "another key",
                    false => "",
                };
                change(KEY, from.to_owned(), format!("key of this {CERTIFICATE}"));
            }
        }
        changes
    }
}

/// Reads a field; what is missing or cannot be read is a flaw.
fn parsed<T>(
    field: &'static str,
    bytes: Option<&[u8]>,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
    flaws: &mut Vec<(&'static str, String)>,
) -> Option<T> {
    let flaw = match bytes.map(parse) {
        Some(Ok(value)) => return Some(value),
        Some(Err(flaw)) => format!("has a {field} that {flaw}"),
        None => format!("has no {field}"),
    };
    flaws.push((field, flaw));
    None
}

/// What is to be said if kubectl's copy of the object holds a field that is private.
pub(crate) fn leak(metadata: &ObjectMeta, field: &str) -> Findings {
    let mut findings = Findings::default();
    findings.warn_if(
        leaks(metadata, field),
        format!("has a copy of its {field} in the annotation {LAST_APPLIED}"),
    );
    findings
}

/// Whether kubectl's copy of the object holds a field.
pub(crate) fn leaks(metadata: &ObjectMeta, field: &str) -> bool {
    let annotations = metadata.annotations.as_ref();
    let applied = annotations.and_then(|annotations| annotations.get(LAST_APPLIED));
    applied.is_some_and(|applied| applied.contains(&format!("{field:?}:")))
}

/// What is to be done so that a Secret holds what it should. Objects of a program
/// are changed only where the user takes them over.
///
/// # Errors
/// If it would have to be changed, and a program looks after it.
pub(crate) fn step(
    object: ObjectRef,
    live: Option<&Live>,
    wanted: &Contents<'_>,
    take_over: bool,
) -> Result<Step> {
    let fill = |manifest| filled(manifest, wanted);
    match live {
        None => Ok(create(object, fill)),
        Some(live) => match live.changes(wanted) {
            none if none.is_empty() => Ok(Step::unchanged(object)),
            changes => update(object, &live.metadata, changes, take_over, fill),
        },
    }
}

/// Makes a Secret that is not there.
pub(crate) fn create(object: ObjectRef, fill: impl FnOnce(Manifest) -> Manifest) -> Step {
    let secret = fill(empty(&object));
    Step::new(object, Action::Create(secret))
}

/// A whole Secret.
pub(crate) fn manifest(object: &ObjectRef, wanted: &Contents<'_>) -> Manifest {
    filled(empty(object), wanted)
}

fn empty(object: &ObjectRef) -> Manifest {
    Manifest::new(json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": { "name": object.name(), "namespace": object.namespace() },
        "type": "Opaque",
    }))
}

/// Changes a Secret that is there. Its type, and keys that are not ours, stay as they
/// are.
///
/// # Errors
/// As for [`step`].
pub(crate) fn update(
    object: ObjectRef,
    metadata: &ObjectMeta,
    mut changes: Vec<Change>,
    take_over: bool,
    fill: impl FnOnce(Manifest) -> Manifest,
) -> Result<Step> {
    if let Owner::Program(owner) = Owner::of(metadata) {
        if !take_over {
            let fields: Vec<_> = changes.iter().map(|change| change.field.as_str()).collect();
            return Err(Error::new(format!(
                "its {} would have to change, and it belongs to {owner}",
                fields.join(", ")
            ))
            .object(object)
            .hint(
                "change it where it is made, or delete it there and run again; \
                 --take-over changes it here, and its owner may change it back",
            ));
        }
        changes.push(Change {
            field: "owner".to_owned(),
            from: owner,
            to: "kubectl-relay-certs".to_owned(),
        });
    }
    let mut patch = json!({ "metadata": { "resourceVersion": metadata.resource_version } });
    let annotations = metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(LAST_APPLIED)) {
        patch["metadata"]["annotations"] = json!({ LAST_APPLIED: null });
    }
    Ok(Step {
        object,
        action: Action::Merge(fill(Manifest::new(patch))),
        changes,
    })
}

fn filled(manifest: Manifest, wanted: &Contents<'_>) -> Manifest {
    let roots: String = wanted.roots.iter().map(Certificate::pem).collect();
    let manifest = manifest.data(CA, roots.as_bytes());
    match wanted.pair {
        None => manifest,
        Some(CertifiedKey { chain, key }) => manifest
            .data(CERTIFICATE, chain.pem().as_bytes())
            .private_data(KEY, Zeroizing::new(key.pem().as_bytes().to_vec())),
    }
}
