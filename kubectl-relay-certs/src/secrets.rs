//! The page's three Secrets: what each holds, what is in a cluster, and what is
//! to be done about the difference.

use k8s_openapi::{api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use relay_shared::{
    Error, Result,
    cluster::ObjectRef,
    manifest::Manifest,
    owner::Owner,
    plan::{Action, Step},
    relay,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::{
    certificate::Certificate,
    chain::Chain,
    directory::Pair,
    key::{PrivateKey, StoredKey},
};

const CA: &str = "ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// kubectl's client-side apply keeps a copy of the whole object here, keys included.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

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

impl Role {
    /// The name of its files, without extension, as on the page.
    pub(crate) fn stem(self) -> &'static str {
        match self {
            Self::Root => "relay-root",
            Self::Server => "relay-server-tls",
            Self::Signing => "relay-tls-signing",
        }
    }

    /// The name of its Secret, as on the page.
    pub(crate) fn secret(self) -> &'static str {
        match self {
            Self::Root => relay::ROOT_SECRET,
            Self::Server => relay::SERVER_SECRET,
            Self::Signing => relay::SIGNING_SECRET,
        }
    }
}

/// A Secret as it is in a cluster. What cannot be read is as good as missing: the
/// relay cannot use it either.
pub(crate) struct Live {
    metadata: ObjectMeta,
    /// The certificates of `ca.crt`.
    pub(crate) roots: Option<Vec<Certificate>>,
    chain: Option<Chain>,
    key: Option<PrivateKey>,
    public_key: Option<Vec<u8>>,
}

/// What a Secret should hold.
#[derive(Clone, Copy)]
pub(crate) struct Contents<'a> {
    pub(crate) roots: &'a [Certificate],
    /// The Root's Secret holds no pair.
    pub(crate) pair: Option<(&'a Chain, &'a PrivateKey)>,
}

impl Live {
    /// Takes a Secret apart, and wipes the copy of its key that it was read into.
    pub(crate) fn new(secret: Secret) -> Self {
        let mut data = secret.data.unwrap_or_default();
        let roots = data.get(CA).and_then(|ca| Certificate::all_from_pem(&ca.0).ok());
        let chain = data.get(CERTIFICATE).and_then(|crt| Chain::from_pem(&crt.0).ok());
        let key = data
            .remove(KEY)
            .and_then(|key| StoredKey::plain(&Zeroizing::new(key.0)).ok());
        Self {
            metadata: secret.metadata,
            roots,
            chain,
            public_key: key.as_ref().map(|key| key.public_key().to_vec()),
            key,
        }
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

    fn holds(&self, wanted: &Contents<'_>) -> bool {
        let pair = wanted.pair.is_none_or(|(chain, key)| {
            self.chain.as_ref() == Some(chain) && self.public_key.as_deref() == Some(key.public_key())
        });
        self.roots.as_deref() == Some(wanted.roots) && pair
    }
}

/// What is to be done so that a Secret holds what it should.
///
/// # Errors
/// If it would have to be changed, and a program looks after it.
pub(crate) fn step(object: ObjectRef, live: Option<&Live>, wanted: &Contents<'_>) -> Result<Step> {
    let action = match live {
        None => Action::Create(create(&object, wanted)),
        Some(live) if live.holds(wanted) => Action::Unchanged,
        Some(live) => {
            if let Owner::Program(owner) = Owner::of(&live.metadata) {
                return Err(Error::new(format!(
                    "its {CA}, {CERTIFICATE} or {KEY} would have to change, and it belongs to {owner}"
                ))
                .object(object)
                .hint("change it where it is made, or delete it there and run again"));
            }
            Action::Merge(update(&live.metadata, wanted))
        }
    };
    Ok(Step { object, action })
}

fn create(object: &ObjectRef, wanted: &Contents<'_>) -> Manifest {
    with_contents(
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": object.name(), "namespace": object.namespace() },
            "type": "Opaque",
        }),
        wanted,
    )
}

/// The type, and keys that are not ours, stay as they are.
fn update(metadata: &ObjectMeta, wanted: &Contents<'_>) -> Manifest {
    let mut patch = json!({ "metadata": { "resourceVersion": metadata.resource_version } });
    let annotations = metadata.annotations.as_ref();
    if annotations.is_some_and(|annotations| annotations.contains_key(LAST_APPLIED)) {
        patch["metadata"]["annotations"] = json!({ LAST_APPLIED: null });
    }
    with_contents(patch, wanted)
}

fn with_contents(object: Value, wanted: &Contents<'_>) -> Manifest {
    let roots: String = wanted.roots.iter().map(Certificate::pem).collect();
    let mut manifest = Manifest::new(object).data(CA, roots.as_bytes());
    if let Some((chain, key)) = wanted.pair {
        manifest = manifest
            .data(CERTIFICATE, chain.pem().as_bytes())
            .private_data(KEY, Zeroizing::new(key.pem().as_bytes().to_vec()));
    }
    manifest
}
