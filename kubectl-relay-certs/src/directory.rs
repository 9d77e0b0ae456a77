//! The PKI directory: the page's six files, written so that neither a reader nor
//! a crash ever sees half of one.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use relay_shared::{Error, Result, certificate::Certificate, chain::Chain};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{
    found::{Files, Pair, RootFiles},
    key::{PrivateKey, StoredKey},
    material::{Issued, Material},
    role::Role,
};

/// What becomes of a new root's key.
pub(crate) enum RootKey {
    /// It is kept as it is.
    Plain,
    /// It is kept behind a password.
    Encrypted(Zeroizing<Vec<u8>>),
    /// It is forgotten: nothing more is ever issued by that root.
    Discarded,
}

/// Reads a PKI directory; where there is none, it holds nothing.
///
/// # Errors
/// If a file is there and cannot be read, or is not what its name says.
pub(crate) fn read(directory: &Path) -> Result<Files> {
    let certificates = certificate_path(directory, Role::Root);
    let key = key_path(directory, Role::Root);
    let directory_name = directory.display();
    Ok(Files {
        root: RootFiles {
            certificates: read_certificates(&certificates, HINT)?.unwrap_or_default(),
            place: certificates.display().to_string(),
            key: read_key(&key, HINT)?,
            key_place: key.display().to_string(),
            without_key: format!("{directory_name} has not the key of the root"),
            hint: "give the --pki-dir that this root was made in",
            stranger_hint: "move it away, or choose another --pki-dir",
        },
        server: read_pair(directory, Role::Server)?,
        signing: read_pair(directory, Role::Signing)?,
        beside: None,
    })
}

/// Writes what was issued, and syncs it: every key before its certificate, so
/// that a run that is killed leaves a key the next run goes on with. No file is
/// ever overwritten. Returns the names of the files that are new.
///
/// # Errors
/// If a file cannot be written, or is there already.
pub(crate) fn write(directory: &Path, material: &Material, root_key: &RootKey) -> Result<Vec<PathBuf>> {
    let failed = |path: &Path, e: io::Error| {
        Error::new(format!("cannot write {}: {e}", path.display()))
            .hint("nothing was written to any cluster; mend it or choose another --pki-dir, and run again")
    };
    let mut written = Vec::new();
    let issued: Vec<_> = material.issued().collect();
    if issued.is_empty() {
        return Ok(written);
    }
    create(directory).map_err(|e| failed(directory, e))?;
    let trusted = certificate_path(directory, Role::Root);
    if !trusted.exists() && !issued.iter().any(|issued| issued.role == Role::Root) {
        write_new(&trusted, material.trusted().as_bytes()).map_err(|e| failed(&trusted, e))?;
        written.push(trusted);
    }
    for Issued { role, pem, key } in issued {
        let path = key_path(directory, role);
        if !path.exists() {
            let kept = match role {
                Role::Root => root_key,
                Role::Server | Role::Signing => &RootKey::Plain,
            };
            if write_key(&path, key, kept).map_err(|e| failed(&path, e))? {
                written.push(path);
            }
        }
        let path = certificate_path(directory, role);
        write_new(&path, pem.as_bytes()).map_err(|e| failed(&path, e))?;
        written.push(path);
    }
    sync(directory).map_err(|e| failed(directory, e))?;
    Ok(written)
}

/// A request to an outside CA, and the key that it is for.
pub(crate) struct Request {
    pub(crate) role: Role,
    pub(crate) key: PrivateKey,
    pub(crate) pem: String,
}

/// Writes requests and their keys, as [`write`] does.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write_requests(directory: &Path, requests: &[Request]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for Request { role, key, pem } in requests {
        files.push((key_path(directory, *role), key.pem().clone()));
        files.push((request_path(directory, *role), Zeroizing::new(pem.clone())));
    }
    files.retain(|(path, _)| !path.exists());
    write_whole(directory, &files)
}

/// Writes files that nobody else may read into a directory; one that holds the same
/// already is left alone. Returns the names of those that are new.
///
/// # Errors
/// If a file cannot be written, or holds something else.
pub(crate) fn write_whole(directory: &Path, files: &[(PathBuf, Zeroizing<String>)]) -> Result<Vec<PathBuf>> {
    let failed = |path: &Path, e: io::Error| Error::new(format!("cannot write {}: {e}", path.display()));
    let mut new = Vec::new();
    for (path, content) in files {
        match fs::read(path).map(Zeroizing::new) {
            Ok(there) if *there == content.as_bytes() => {}
            Ok(_) => {
                return Err(
                    Error::new(format!("{} is there and holds something else", path.display()))
                        .hint("no file is ever overwritten, and nothing was written; move it away"),
                );
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => new.push((path, content)),
            Err(e) => return Err(failed(path, e)),
        }
    }
    if new.is_empty() {
        return Ok(Vec::new());
    }
    create(directory).map_err(|e| failed(directory, e))?;
    for (path, content) in &new {
        write_new(path, content.as_bytes()).map_err(|e| failed(path, e))?;
    }
    sync(directory).map_err(|e| failed(directory, e))?;
    Ok(new.into_iter().map(|(path, _)| path.clone()).collect())
}

/// What became of a file, as reports show it, given the names of those that are new.
pub(crate) fn became(written: &[PathBuf], path: &Path) -> &'static str {
    match written.iter().any(|new| new == path) {
        true => "created",
        false => "unchanged",
    }
}

/// Reads a request; `None` where there is no such file.
///
/// # Errors
/// If it cannot be read.
pub(crate) fn read_request(path: &Path) -> Result<Option<Vec<u8>>> {
    read_as(path, HINT, |text| Ok(text.to_vec()))
}

/// Where a directory keeps a role's request to an outside CA.
pub(crate) fn request_path(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("{}.csr", role.stem()))
}

/// Writes a private key as it is to be kept, or tells that it is to be forgotten.
///
/// # Errors
/// If it cannot be written, or is there already.
pub(crate) fn write_key(path: &Path, key: &PrivateKey, kept: &RootKey) -> io::Result<bool> {
    match kept {
        RootKey::Plain => write_new(path, key.pem().as_bytes())?,
        RootKey::Encrypted(password) => {
            let encrypted = key.encrypted_pem(password).map_err(io::Error::other)?;
            write_new(path, encrypted.as_bytes())?;
        }
        RootKey::Discarded => return Ok(false),
    }
    Ok(true)
}

/// Reads the certificates of a file; `None` where there is no such file.
///
/// # Errors
/// If it cannot be read, or holds something else; `hint` says what to do.
pub(crate) fn read_certificates(path: &Path, hint: &'static str) -> Result<Option<Vec<Certificate>>> {
    read_as(path, hint, Certificate::all_from_pem)
}

/// Reads a certificate and the intermediates above it, likewise.
///
/// # Errors
/// As for [`read_certificates`].
pub(crate) fn read_chain(path: &Path, hint: &'static str) -> Result<Option<Chain>> {
    read_as(path, hint, Chain::from_pem)
}

/// Reads a private key, likewise.
///
/// # Errors
/// As for [`read_certificates`].
pub(crate) fn read_key(path: &Path, hint: &'static str) -> Result<Option<StoredKey>> {
    read_as(path, hint, StoredKey::from_pem)
}

/// Reads a private key that is not encrypted, likewise.
///
/// # Errors
/// As for [`read_certificates`].
pub(crate) fn read_plain_key(path: &Path, hint: &'static str) -> Result<Option<PrivateKey>> {
    read_as(path, hint, StoredKey::plain)
}

/// Where a directory keeps a role's certificate.
pub(crate) fn certificate_path(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("{}.crt", role.stem()))
}

/// Where a directory keeps a role's private key.
pub(crate) fn key_path(directory: &Path, role: Role) -> PathBuf {
    directory.join(format!("{}.key", role.stem()))
}

/// Whether anybody but its owner can read a key of a directory.
pub(crate) fn is_readable_by_others(directory: &Path) -> bool {
    #[cfg(unix)]
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::metadata(path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0)
    };
    #[cfg(not(unix))]
    let open = |_: &Path| false;
    let keys = [Role::Root, Role::Server, Role::Signing].map(|role| key_path(directory, role));
    open(directory) && keys.iter().any(|key| open(key))
}

const HINT: &str = "mend it, move it away, or choose another --pki-dir";

fn read_pair(directory: &Path, role: Role) -> Result<Pair> {
    let path = certificate_path(directory, role);
    Ok(Pair {
        chain: read_chain(&path, HINT)?,
        key: read_plain_key(&key_path(directory, role), HINT)?,
        place: path.display().to_string(),
        hint: "move it and its key away to have a new one issued, or choose another --pki-dir",
    })
}

fn read_as<T>(
    path: &Path,
    hint: &'static str,
    parse: impl FnOnce(&[u8]) -> Result<T, String>,
) -> Result<Option<T>> {
    match fs::read(path).map(Zeroizing::new) {
        Ok(content) => match parse(&content) {
            Ok(value) => Ok(Some(value)),
            Err(defect) => Err(Error::new(format!("{} {defect}", path.display())).hint(hint)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::new(format!("cannot read {}: {e}", path.display()))),
    }
}

/// Creates the directory for its owner alone, kept out of version control.
pub(crate) fn create(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
    }
    let ignore = path.join(".gitignore");
    match ignore.exists() {
        true => Ok(()),
        false => write_new(&ignore, b"*\n"),
    }
}

/// Writes a file that is not there yet, readable by its owner alone.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // Created with mode 0600, and under its own name only once it is whole.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(())
}

/// Makes the names in a directory outlive a power cut.
pub(crate) fn sync(directory: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(directory)?.sync_all(),
        false => Ok(()),
    }
}
