//! The PKI directory: the page's six files, written so that neither a reader nor
//! a crash ever sees half of one.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use relay_shared::{Error, Result};
use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{
    certificate::Certificate,
    key::{PrivateKey, StoredKey},
    material::Material,
    secrets::Role,
};

/// The pairs of a PKI directory.
#[derive(Default)]
pub(crate) struct Pairs {
    pub(crate) root: Pair,
    pub(crate) server: Pair,
    pub(crate) signing: Pair,
}

/// A certificate and its key, or whichever of them there is.
#[derive(Default)]
pub(crate) struct Pair {
    pub(crate) certificate: Option<Certificate>,
    pub(crate) key: Option<PrivateKey>,
}

/// Reads a PKI directory; where there is none, it holds nothing.
///
/// # Errors
/// If a file is there and cannot be read, or is not what its name says.
pub(crate) fn read(directory: &Path) -> Result<Pairs> {
    Ok(Pairs {
        root: Pair::read(directory, Role::Root)?,
        server: Pair::read(directory, Role::Server)?,
        signing: Pair::read(directory, Role::Signing)?,
    })
}

/// Writes what was issued, and syncs it: every key before its certificate, so
/// that a run that is killed leaves a key the next run goes on with. No file is
/// ever overwritten.
///
/// # Errors
/// If a file cannot be written, or is there already.
pub(crate) fn write(directory: &Path, material: &Material) -> Result<()> {
    let failed = |path: &Path, e: io::Error| {
        Error::new(format!("cannot write {}: {e}", path.display()))
            .hint("nothing was written to any cluster; mend it or choose another --pki-dir, and run again")
    };
    let issued: Vec<_> = material.issued().collect();
    if issued.is_empty() {
        return Ok(());
    }
    create(directory).map_err(|e| failed(directory, e))?;
    for (role, certificate, key) in issued {
        let path = key_path(directory, role);
        if !path.exists() {
            write_new(&path, key.pem().as_bytes()).map_err(|e| failed(&path, e))?;
        }
        let path = certificate_path(directory, role);
        write_new(&path, certificate.pem().as_bytes()).map_err(|e| failed(&path, e))?;
    }
    sync(directory).map_err(|e| failed(directory, e))
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

impl Pair {
    fn read(directory: &Path, role: Role) -> Result<Self> {
        let path = certificate_path(directory, role);
        let certificate = match read_file(&path)? {
            None => None,
            Some(text) => match Certificate::all_from_pem(&text) {
                Ok(mut certificates) if certificates.len() == 1 => certificates.pop(),
                Ok(_) => return Err(not_as_expected(&path, "holds more than one certificate")),
                Err(defect) => return Err(not_as_expected(&path, &defect)),
            },
        };
        let path = key_path(directory, role);
        let key = match read_file(&path)? {
            None => None,
            Some(text) => {
                let key = StoredKey::plain(&text);
                Some(key.map_err(|defect| not_as_expected(&path, &defect))?)
            }
        };
        Ok(Self { certificate, key })
    }
}

fn read_file(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>> {
    match fs::read(path) {
        Ok(content) => Ok(Some(Zeroizing::new(content))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::new(format!("cannot read {}: {e}", path.display()))),
    }
}

fn not_as_expected(path: &Path, defect: &str) -> Error {
    Error::new(format!("{} {defect}", path.display()))
        .hint("mend it, move it away, or choose another --pki-dir")
}

/// Creates the directory for its owner alone, kept out of version control.
fn create(path: &Path) -> io::Result<()> {
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
fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    // Created with mode 0600, and under its own name only once it is whole.
    let mut file = NamedTempFile::new_in(directory)?;
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|e| e.error)?;
    Ok(())
}

/// Makes the names in a directory outlive a power cut.
fn sync(directory: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(directory)?.sync_all(),
        false => Ok(()),
    }
}
