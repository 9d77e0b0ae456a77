//! The user's own PKI: a CA to issue by, or certificates that another issued.

use std::path::Path;

use relay_shared::{Error, Result};

use crate::{
    chain,
    choices::OwnArgs,
    directory::{self, Files, Pair, RootFiles},
};

const HINT: &str = "give a PEM file that holds it";

/// What there is to take certificates from: the files that the flags name, else the
/// PKI directory.
///
/// # Errors
/// If a file is not there, cannot be read, or is not what its flag says.
pub(crate) fn read(own: &OwnArgs, pki_dir: &Path) -> Result<Files> {
    let Some(ca) = &own.ca_cert else {
        return directory::read(pki_dir);
    };
    let certificates = chain::in_order(there(ca, "--ca-cert", directory::read_certificates(ca, HINT)?)?);
    if !certificates.last().is_some_and(|last| last.is_root()) {
        return Err(Error::new(format!("{} holds no root", ca.display()))
            .hint("--ca-cert takes the CA's certificate and all those above it, up to the root"));
    }
    let mut root = RootFiles {
        certificates,
        place: ca.display().to_string(),
        key: None,
        key_place: "--ca-key".to_owned(),
        without_key: "no --ca-key was given for the root".to_owned(),
        hint: "give the key of --ca-cert with --ca-key",
    };
    if let (Some(server), Some(server_key)) = (&own.server_cert, &own.server_key)
        && let (Some(signing), Some(signing_key)) = (&own.signing_cert, &own.signing_key)
    {
        return Ok(Files {
            root,
            server: pair(server, "--server-cert", server_key, "--server-key")?,
            signing: pair(signing, "--signing-cert", signing_key, "--signing-key")?,
            beside: None,
        });
    }
    if let Some(path) = &own.ca_key {
        root.key = Some(there(path, "--ca-key", directory::read_key(path, HINT)?)?);
        root.key_place = path.display().to_string();
    }
    let in_directory = directory::read(pki_dir)?;
    let beside = in_directory.root;
    Ok(Files {
        root,
        server: in_directory.server,
        signing: in_directory.signing,
        beside: (!beside.certificates.is_empty()).then_some((beside.place, beside.certificates)),
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
