//! The new root of a rotation: how it is made, found again, and issued from.

use std::path::Path;

use relay_shared::{
    Error, Result, certificate::Certificate, chain::Chain, relay::RelayHost, runtime, terminal::Progress,
};
use time::OffsetDateTime;

use crate::{
    directory,
    issue::{Authority, CertifiedKey},
    key::{Algorithm, PrivateKey, StoredKey},
    names::Names,
    role::{Child, Role},
    rotate_args::RootArgs,
    successors::{self, Left, Successor},
};

/// Makes the root that follows the old one, with the key that an interrupted run has
/// left.
///
/// # Errors
/// If there is such a key and it cannot be opened.
pub(crate) async fn make(
    args: &RootArgs,
    left: Successor,
    old: &Certificate,
    namespace: &str,
) -> Result<Authority> {
    let place = left.key_place;
    let left = left
        .key
        .map(|key| key.open(|key| args.password.unlock(key, &place)));
    let left = left.transpose()?;
    let (names, lifetime) = (Names::root(namespace), args.common.lifetime);
    let algorithm = Algorithm::like(old.key_kind());
    let _spinner = Progress::spinner("making the new root");
    let made = runtime::compute(move || {
        let key = left.map_or_else(|| PrivateKey::generate(algorithm), Ok)?;
        Authority::root(key, &names, lifetime, OffsetDateTime::now_utc())
    });
    made.await
        .map_err(|e| Error::new(format!("cannot issue the new root: {e}")))
}

/// Keeps a root that was made beside the old one, behind a password if that one is.
///
/// # Errors
/// If there is no password, or a file cannot be written.
pub(crate) fn keep(args: &RootArgs, root: &Authority) -> Result<()> {
    let directory = &args.common.pki_dir;
    let encrypts = args.encrypt_root_key || is_encrypted(directory);
    let kept = args.password.kept(encrypts)?;
    successors::write(
        directory,
        Role::Root,
        &root.certificate().pem(),
        root.key(),
        &kept,
    )
}

/// Whether the key of the root in use is behind a password.
fn is_encrypted(directory: &Path) -> bool {
    let key = directory::read_key(&directory::key_path(directory, Role::Root), "");
    matches!(key, Ok(Some(StoredKey::Encrypted(_))))
}

/// Issues what takes the place of certificates in use. What an interrupted run has left
/// stays.
///
/// # Errors
/// If the root's key is not there, or what was left is not from this root.
pub(crate) async fn issue(
    args: &RootArgs,
    next: Successor,
    root: &Certificate,
    replaced: Vec<(Child, Chain)>,
    host: &RelayHost,
) -> Result<Vec<(Child, CertifiedKey)>> {
    let authority = authority(args, next, root)?;
    let lifetime = args.common.lifetime;
    let (mut issued, mut missing) = (Vec::new(), Vec::new());
    for (child, replaced) in replaced {
        match left(&args.common.pki_dir, child, root)? {
            Left::Pair(pair) => issued.push((child, pair)),
            Left::Key(key) => missing.push((child, key, replaced)),
        }
    }
    let host = host.clone();
    let _spinner = Progress::spinner("making keys and certificates");
    let made = runtime::compute(move || {
        let issue = |(child, left, replaced): (Child, Option<PrivateKey>, Chain)| {
            let replaced = replaced.leaf();
            let algorithm = Algorithm::like(replaced.key_kind());
            let key = left.map_or_else(|| PrivateKey::generate(algorithm), Ok)?;
            let names = Names::successor(child, replaced, &host);
            let pair = authority.issue(child, key, &names, lifetime, OffsetDateTime::now_utc())?;
            Ok((child, pair))
        };
        missing.into_iter().map(issue).collect::<Result<Vec<_>, String>>()
    });
    let made = made.await;
    issued.extend(made.map_err(|e| Error::new(format!("cannot issue from the new root: {e}")))?);
    Ok(issued)
}

/// What an interrupted run has left of a pair, which has to be from the new root.
fn left(directory: &Path, child: Child, root: &Certificate) -> Result<Left> {
    let successor = successors::read(directory, child.role())?;
    let place = successor.key_place.clone();
    let left = successor.left()?;
    let ours = match &left {
        Left::Pair(CertifiedKey { chain, key }) => {
            chain.leaf().is_for(key.public_key()) && chain.leaf().is_signed_by(root)
        }
        Left::Key(_) => true,
    };
    match ours {
        true => Ok(left),
        false => Err(
            Error::new(format!("what is beside {place} is not from the new root"))
                .hint("another rotation has left it: move both away, and run again"),
        ),
    }
}

/// The new root with its key.
fn authority(args: &RootArgs, next: Successor, root: &Certificate) -> Result<Authority> {
    let (directory, place) = (args.common.pki_dir.display(), &next.key_place);
    let print = root.fingerprint();
    let hint = "give the --pki-dir that it was published from";
    let Some(key) = next.key else {
        return Err(Error::new(format!("{directory} has not the key of the new root {print}")).hint(hint));
    };
    let key = key.open(|key| args.password.unlock(key, place))?;
    Authority::new(std::slice::from_ref(root), key)
        .map_err(|_| Error::new(format!("{place} is not the key of the new root {print}")).hint(hint))
}
