//! What clusters and files hold of the relay's certificates, before it is known to be
//! of use.

use relay_shared::{certificate::Certificate, chain::Chain};

use crate::key::{PrivateKey, StoredKey};

/// All that certificates can be taken from.
pub(crate) struct Found {
    /// Every `ca.crt` in a cluster.
    pub(crate) roots: Vec<Trust>,
    /// The management cluster's server certificate.
    pub(crate) server: Pair,
    /// The management cluster's signing certificate.
    pub(crate) signing: Pair,
    /// What the PKI directory, or the user, has.
    pub(crate) files: Files,
}

/// What there is to take certificates from: a PKI directory, or files of the user's.
pub(crate) struct Files {
    pub(crate) root: RootFiles,
    pub(crate) server: Pair,
    pub(crate) signing: Pair,
    /// What a PKI directory trusts that is not taken from.
    pub(crate) beside: Option<Trust>,
}

/// What agents and server are to trust, and the key to issue by.
pub(crate) struct RootFiles {
    /// None if there is no such file.
    pub(crate) certificates: Vec<Certificate>,
    /// The file's name.
    pub(crate) place: String,
    pub(crate) key: Option<StoredKey>,
    /// The key's file's name.
    pub(crate) key_place: String,
    /// What to say before a root's fingerprint where its key is not there.
    pub(crate) without_key: String,
    /// What to do then.
    pub(crate) hint: &'static str,
    /// What to do if the key is another one's.
    pub(crate) stranger_hint: &'static str,
}

/// A certificate and its key, or whichever of them there is.
#[derive(Default)]
pub(crate) struct Pair {
    /// What they are found in, as the beginning of a sentence.
    pub(crate) place: String,
    pub(crate) chain: Option<Chain>,
    pub(crate) key: Option<PrivateKey>,
    /// What to do if they are not sound.
    pub(crate) hint: &'static str,
}

/// One `ca.crt`, in a cluster or on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trust {
    /// The Secret that holds it and its context, or the file, for messages.
    pub(crate) place: String,
    /// Intermediates, then roots; while roots are being changed, the old one before the
    /// new one.
    pub(crate) certificates: Vec<Certificate>,
}
