//! What a rotation has made, on disk: under a name of its own (`relay-root-next.crt`)
//! until it takes the place of what it replaces, which is kept (`relay-root-old.crt`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use relay_shared::{Error, Result, chain::Chain, soundness};
use time::OffsetDateTime;

use crate::{
    directory::{self, RootKey},
    issue::CertifiedKey,
    key::{PrivateKey, StoredKey},
    role::{Child, Role},
};

const HINT: &str = "mend it, move it away, or choose another --pki-dir";

/// A certificate that is to take a role's place, or what there is of it.
#[derive(Default)]
pub(crate) struct Successor {
    pub(crate) chain: Option<Chain>,
    pub(crate) key: Option<StoredKey>,
    /// The key's file's name.
    pub(crate) key_place: String,
}

/// What an interrupted run has left of a pair.
pub(crate) enum Left {
    /// All of it.
    Pair(CertifiedKey),
    /// Its key, to issue to; none if there was no such run.
    Key(Option<PrivateKey>),
}

impl Successor {
    /// Takes it as a pair, whose keys are never encrypted.
    ///
    /// # Errors
    /// If there is a certificate without its key, or a key that is encrypted.
    pub(crate) fn left(self) -> Result<Left> {
        let place = self.key_place;
        match (self.chain, self.key) {
            (_, Some(StoredKey::Encrypted(_))) => {
                Err(Error::new(format!("{place} is encrypted")).hint("move it away, and run again"))
            }
            (Some(_), None) => Err(Error::new(format!("{place} is not there"))
                .hint("an interrupted run has left its certificate: move that away, and run again")),
            (Some(chain), Some(StoredKey::Plain(key))) => Ok(Left::Pair(CertifiedKey { chain, key })),
            (None, Some(StoredKey::Plain(key))) => Ok(Left::Key(Some(key))),
            (None, None) => Ok(Left::Key(None)),
        }
    }

    /// Makes sure that a new root can be published: that it is one, and that its key is
    /// here. Nothing could be issued from another, and every cluster would trust it.
    ///
    /// # Errors
    /// If it is not sound, or without its key.
    pub(crate) fn can_be_published(&self, now: OffsetDateTime) -> Result<()> {
        let Some(root) = self.chain.as_ref().map(Chain::leaf) else {
            return Ok(());
        };
        let key = match &self.key {
            Some(StoredKey::Plain(key)) => Some(key.public_key()),
            Some(StoredKey::Encrypted(_)) | None => None,
        };
        let findings = soundness::of_bundle(std::slice::from_ref(root), key, now);
        let defect = match findings.error() {
            Some(defect) => defect,
            None if !root.is_root() => "is not signed by itself",
            None if self.key.is_none() => "is there and its key is not",
            None => return Ok(()),
        };
        let certificate = Path::new(&self.key_place).with_extension("crt");
        Err(Error::new(format!("{} {defect}", certificate.display()))
            .hint("mend it, or move what there is of relay-root-next away to have a new root made"))
    }
}

/// Reads a role's successor; where there is none, it holds nothing.
///
/// # Errors
/// If a file is there and cannot be read, or is not what its name says.
pub(crate) fn read(directory: &Path, role: Role) -> Result<Successor> {
    let key = path(directory, role, "next", "key");
    Ok(Successor {
        chain: directory::read_chain(&path(directory, role, "next", "crt"), HINT)?,
        key: directory::read_key(&key, HINT)?,
        key_place: key.display().to_string(),
    })
}

/// Writes a successor and syncs it, the key first. What an interrupted run left stays.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(
    directory: &Path,
    role: Role,
    pem: &str,
    key: &PrivateKey,
    root_key: &RootKey,
) -> Result<()> {
    let key_path = path(directory, role, "next", "key");
    let written = || {
        directory::create(directory)?;
        if !key_path.exists() {
            directory::write_key(&key_path, key, root_key)?;
        }
        let certificate = path(directory, role, "next", "crt");
        if !certificate.exists() {
            directory::write_new(&certificate, pem.as_bytes())?;
        }
        directory::sync(directory)
    };
    written().map_err(|e: io::Error| {
        Error::new(format!("cannot write {}: {e}", key_path.display()))
            .hint("nothing was written to any cluster; mend it or choose another --pki-dir, and run again")
    })
}

/// Writes a pair, likewise.
///
/// # Errors
/// As for [`write`].
pub(crate) fn write_pair(directory: &Path, child: Child, pair: &CertifiedKey) -> Result<()> {
    let CertifiedKey { chain, key } = pair;
    write(directory, child.role(), &chain.pem(), key, &RootKey::Plain)
}

/// Gives a role's successor the final names, and keeps what had them before. Can be
/// repeated after it was cut off. Returns the names that are old now.
///
/// # Errors
/// If a file cannot be renamed.
pub(crate) fn take_over(directory: &Path, role: Role) -> Result<Vec<PathBuf>> {
    let number = kept(directory, role);
    let mut old = Vec::new();
    // The certificate last: as long as its successor is there, this is not done.
    for kind in ["key", "crt"] {
        let next = path(directory, role, "next", kind);
        if !next.exists() {
            continue;
        }
        let current = directory.join(format!("{}.{kind}", role.stem()));
        let mut moved = || {
            if current.exists() {
                let aside = path(directory, role, &number, kind);
                if aside.exists() {
                    let taken = io::Error::new(io::ErrorKind::AlreadyExists, "the name is taken");
                    return Err((aside, taken));
                }
                fs::rename(&current, &aside).map_err(|e| (current.clone(), e))?;
                old.push(aside);
            }
            fs::rename(&next, &current).map_err(|e| (next.clone(), e))
        };
        moved().map_err(|(path, e)| {
            Error::new(format!("cannot rename {}: {e}", path.display()))
                .hint("the clusters are done; mend it and run the same command again")
        })?;
    }
    directory::sync(directory)
        .map_err(|e| Error::new(format!("cannot sync {}: {e}", directory.display())))?;
    Ok(old)
}

/// The first of `old`, `old-2`, … under which no certificate is kept.
fn kept(directory: &Path, role: Role) -> String {
    let name = |number: u32| match number {
        1 => "old".to_owned(),
        _ => format!("old-{number}"),
    };
    let free = |age: &String| !path(directory, role, age, "crt").exists();
    (1..).map(name).find(free).unwrap_or_default()
}

/// Where a directory keeps a file of a role: its successor's, or a former one.
fn path(directory: &Path, role: Role, age: &str, kind: &str) -> PathBuf {
    directory.join(format!("{}-{age}.{kind}", role.stem()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        issue::{Authority, LIFETIME},
        key::Algorithm,
        names::Names,
    };

    /// The files of a directory before and after, as `NAME=CONTENT`.
    #[track_caller]
    fn check(before: &str, after: &str) {
        let directory = tempfile::tempdir().expect("can be made");
        for (name, content) in before.split_whitespace().filter_map(|file| file.split_once('=')) {
            fs::write(directory.path().join(format!("relay-root{name}")), content).expect("is writable");
        }
        take_over(directory.path(), Role::Root).unwrap_or_else(|e| panic!("{e}"));
        let mut files: Vec<_> = fs::read_dir(directory.path())
            .expect("is there")
            .map(|entry| {
                let path = entry.expect("can be read").path();
                let name = path.file_name().expect("has one").to_string_lossy().into_owned();
                let content = fs::read_to_string(&path).expect("is text");
                format!("{}={content}", name.trim_start_matches("relay-root"))
            })
            .collect();
        files.sort();
        assert_eq!(files.join(" "), after);
    }

    #[test]
    fn what_is_left_is_a_pair_or_a_key_alone() {
        let key = || PrivateKey::generate(Algorithm::EcdsaP256).expect("is made");
        let names = Names::root("gloo-mesh");
        let root = Authority::root(key(), &names, LIFETIME, OffsetDateTime::now_utc()).expect("is issued");
        let chain = || Some(Chain::new(root.certificate().clone(), Vec::new()));
        let plain = || Some(StoredKey::Plain(key()));
        let encrypted = || {
            let pem = key().encrypted_pem(b"pass").expect("is encrypted");
            StoredKey::from_pem(pem.as_bytes()).ok()
        };
        let left = |chain, key| {
            let key_place = "a.key".to_owned();
            match (Successor {
                chain,
                key,
                key_place,
            })
            .left()
            {
                Ok(Left::Pair(_)) => "pair".to_owned(),
                Ok(Left::Key(key)) => key.map_or("nothing", |_| "key").to_owned(),
                Err(error) => error.to_string(),
            }
        };
        assert_eq!(left(None, None), "nothing");
        assert_eq!(left(None, plain()), "key");
        assert_eq!(left(chain(), plain()), "pair");
        assert!(left(chain(), None).contains("a.key is not there"));
        assert!(left(chain(), encrypted()).contains("a.key is encrypted"));
        assert!(left(None, encrypted()).contains("a.key is encrypted"));
    }

    #[test]
    fn a_successor_takes_over_wherever_it_was_cut_off() {
        let done = "-old.crt=a -old.key=ka .crt=b .key=kb";
        check(".crt=a .key=ka -next.crt=b -next.key=kb", done);
        check(".crt=a -old.key=ka -next.crt=b -next.key=kb", done);
        check(".crt=a .key=kb -old.key=ka -next.crt=b", done);
        check(".key=kb -old.key=ka -old.crt=a -next.crt=b", done);
        check(done, done);
        check(".crt=a -next.crt=b -next.key=kb", "-old.crt=a .crt=b .key=kb");
        check("-next.crt=b -next.key=kb", ".crt=b .key=kb");
        check(
            "-old.crt=a -old.key=ka .crt=b .key=kb -next.crt=c -next.key=kc",
            "-old-2.crt=b -old-2.key=kb -old.crt=a -old.key=ka .crt=c .key=kc",
        );
    }
}
