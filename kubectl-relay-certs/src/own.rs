//! The user's own PKI: a CA to issue by, or certificates that another issued.

use std::path::{Path, PathBuf};

use clap::{Args, ValueHint};
use relay_shared::{Error, Result, certificate::Certificate, chain};

use crate::{
    directory,
    found::{Files, Pair, RootFiles, Trust},
};

/// The user's own CA to issue by, instead of a new root.
#[derive(Debug, Args)]
#[command(next_help_heading = "Your own PKI")]
pub(crate) struct CaArgs {
    /// File with your CA's certificate and those above it, up to the root
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    ca_cert: Option<PathBuf>,

    /// File with your CA's key: server and signing certificate are issued by it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "ca_cert")]
    ca_key: Option<PathBuf>,
}

/// The user's own certificates: nothing is issued.
#[derive(Debug, Args)]
#[command(next_help_heading = "Your own PKI")]
#[group(id = "brought", multiple = true, conflicts_with = "ca_key")]
pub(crate) struct BroughtArgs {
    /// File with a server certificate of yours, then the intermediates above it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          requires_all = ["ca_cert", "server_key", "signing_cert", "signing_key"])]
    server_cert: Option<PathBuf>,

    /// File with the key of that server certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "server_cert")]
    server_key: Option<PathBuf>,

    /// File with a signing certificate of yours, then the intermediates above it
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "server_cert")]
    signing_cert: Option<PathBuf>,

    /// File with the key of that signing certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "server_cert")]
    signing_key: Option<PathBuf>,
}

const HINT: &str = "give a PEM file that holds it";

/// What there is to take certificates from: the user's CA and what is issued by it,
/// else the PKI directory.
///
/// # Errors
/// If a file is not there, cannot be read, or is not what its flag says.
pub(crate) fn read(ca: &CaArgs, pki_dir: &Path) -> Result<Files> {
    let Some(path) = &ca.ca_cert else {
        return directory::read(pki_dir);
    };
    let mut root = read_root(path)?;
    if let Some(path) = &ca.ca_key {
        root.key = Some(there(path, "--ca-key", directory::read_key(path, HINT)?)?);
        root.key_place = path.display().to_string();
    }
    let in_directory = directory::read(pki_dir)?;
    let beside = in_directory.root;
    Ok(Files {
        root,
        server: in_directory.server,
        signing: in_directory.signing,
        beside: (!beside.certificates.is_empty()).then_some(Trust {
            place: beside.place,
            certificates: beside.certificates,
        }),
    })
}

/// As [`read`], unless all certificates were brought: then those, and nothing else.
///
/// # Errors
/// As for [`read`].
pub(crate) fn read_brought(ca: &CaArgs, brought: &BroughtArgs, pki_dir: &Path) -> Result<Files> {
    let BroughtArgs {
        server_cert: Some(server),
        server_key: Some(server_key),
        signing_cert: Some(signing),
        signing_key: Some(signing_key),
    } = brought
    else {
        return read(ca, pki_dir);
    };
    let path = ca.ca_cert.as_deref().unwrap_or(Path::new(""));
    Ok(Files {
        root: read_root(path)?,
        server: pair(server, "--server-cert", server_key, "--server-key")?,
        signing: pair(signing, "--signing-cert", signing_key, "--signing-key")?,
        beside: None,
    })
}

fn read_root(path: &Path) -> Result<RootFiles> {
    let certificates = there(path, "--ca-cert", directory::read_certificates(path, HINT)?)?;
    let certificates = chain::in_order(certificates);
    if !certificates.last().is_some_and(Certificate::is_root) {
        return Err(Error::new(format!("{} holds no root", path.display()))
            .hint("--ca-cert takes the CA's certificate and all those above it, up to the root"));
    }
    Ok(RootFiles {
        certificates,
        place: path.display().to_string(),
        key: None,
        key_place: "--ca-key".to_owned(),
        without_key: "no --ca-key was given for the root".to_owned(),
        hint: "give the key of --ca-cert with --ca-key",
        stranger_hint: "--ca-key takes the key of the certificate in --ca-cert that is to issue",
    })
}

fn pair(certificate: &Path, flag: &str, key: &Path, key_flag: &str) -> Result<Pair> {
    Ok(Pair {
        chain: Some(there(
            certificate,
            flag,
            directory::read_chain(certificate, HINT)?,
        )?),
        key: Some(there(key, key_flag, directory::read_plain_key(key, HINT)?)?),
        place: certificate.display().to_string(),
        hint: "nothing was written; have it issued anew, from the requests of kubectl relay-certs csr",
    })
}

/// A file that was named has to be there.
fn there<T>(path: &Path, flag: &str, content: Option<T>) -> Result<T> {
    content.ok_or_else(|| {
        let path = path.display();
        Error::new(format!("{path} is not there")).hint(format!("it was named by {flag}"))
    })
}
