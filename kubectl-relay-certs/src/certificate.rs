//! Certificates as they are: read from PEM, compared, and checked for whether
//! they can do their job.

use std::fmt;

use aws_lc_rs::digest;
use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _, x509::SubjectPublicKeyInfo,
};

use crate::key::PrivateKey;

/// One X.509 certificate. Two are equal if their DER is.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Certificate {
    der: Vec<u8>,
}

/// The SHA-256 of a certificate, shown as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fingerprint([u8; 32]);

impl Certificate {
    /// Takes a certificate as its DER.
    ///
    /// # Errors
    /// Says what it is not, as the end of a sentence about it.
    pub(crate) fn from_der(der: Vec<u8>) -> Result<Self, String> {
        match X509Certificate::from_der(&der) {
            Ok(([], _)) => Ok(Self { der }),
            Ok(_) => Err("has bytes after its end".to_owned()),
            Err(_) => Err("is not an X.509 certificate".to_owned()),
        }
    }

    /// Reads every certificate of a PEM file: at least one.
    ///
    /// # Errors
    /// As [`Certificate::from_der`].
    pub(crate) fn all_from_pem(text: &[u8]) -> Result<Vec<Self>, String> {
        let blocks = pem::parse_many(text).map_err(|_| "is not PEM".to_owned())?;
        let certificates: Result<Vec<_>, _> = blocks
            .into_iter()
            .filter(|block| block.tag() == "CERTIFICATE")
            .map(|block| Self::from_der(block.into_contents()))
            .collect();
        match certificates? {
            none if none.is_empty() => Err("holds no certificate".to_owned()),
            certificates => Ok(certificates),
        }
    }

    /// PEM (RFC 7468) with a newline at its end.
    pub(crate) fn pem(&self) -> String {
        let block = pem::Pem::new("CERTIFICATE", self.der.clone());
        pem::encode_config(
            &block,
            pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF),
        )
    }

    /// The DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SHA-256 of the DER.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        let digest = digest::digest(&digest::SHA256, &self.der);
        Fingerprint(digest.as_ref().try_into().expect("SHA-256 has 32 bytes"))
    }

    /// The end of its validity, in UTC.
    pub(crate) fn not_after(&self) -> OffsetDateTime {
        self.x509().validity().not_after.to_datetime()
    }

    /// Whether the key is the other half of it.
    pub(crate) fn belongs_to(&self, key: &PrivateKey) -> bool {
        self.x509().public_key().raw == key.public_key()
    }

    /// Why this cannot be a root, if it cannot.
    pub(crate) fn root_defect(&self, now: OffsetDateTime) -> Option<String> {
        let x509 = self.x509();
        defect([
            (!signs(&x509), "is not a certificate authority"),
            (
                x509.basic_constraints()
                    .is_ok_and(|c| c.is_some_and(|c| c.value.path_len_constraint == Some(0))),
                "allows no certificate authority below it",
            ),
            (x509.verify_signature(None).is_err(), "is not signed by itself"),
        ])
        .or_else(|| expired(&x509, now))
    }

    /// Why this cannot be the signing certificate of a relay under one of these
    /// roots, if it cannot.
    pub(crate) fn signing_defect(&self, roots: &[Self], now: OffsetDateTime) -> Option<String> {
        let x509 = self.x509();
        defect([(!signs(&x509), "is not a certificate authority")])
            .or_else(|| usage_defect(&x509))
            .or_else(|| self.chain_defect(roots))
            .or_else(|| expired(&x509, now))
    }

    /// Why this cannot be the certificate of the relay server that agents call
    /// `host`, under one of these roots, if it cannot.
    pub(crate) fn server_defect(&self, host: &str, roots: &[Self], now: OffsetDateTime) -> Option<String> {
        let x509 = self.x509();
        let named = dns_names(&x509).any(|name| covers(name, host));
        defect([(x509.is_ca(), "is a certificate authority, not a server's")])
            .or_else(|| usage_defect(&x509))
            .or_else(|| (!named).then(|| format!("is not for {host}")))
            .or_else(|| self.chain_defect(roots))
            .or_else(|| expired(&x509, now))
    }

    fn chain_defect(&self, roots: &[Self]) -> Option<String> {
        let x509 = self.x509();
        let signed = roots.iter().any(|root| {
            let root = root.x509();
            x509.issuer().as_raw() == root.subject().as_raw() && verifies(&x509, root.public_key())
        });
        (!signed).then(|| "is not signed by the root".to_owned())
    }

    fn x509(&self) -> X509Certificate<'_> {
        let (_, x509) = X509Certificate::from_der(&self.der).expect("it was parsed when it was read");
        x509
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.fingerprint())
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The first that is true.
fn defect<const N: usize>(checks: [(bool, &str); N]) -> Option<String> {
    checks
        .iter()
        .find(|(found, _)| *found)
        .map(|(_, defect)| (*defect).to_owned())
}

fn verifies(x509: &X509Certificate<'_>, issuer: &SubjectPublicKeyInfo<'_>) -> bool {
    x509.verify_signature(Some(issuer)).is_ok()
}

/// Whether it is a CA that may sign certificates. Without a key usage it may, as
/// the page's root does (RFC 5280, section 4.2.1.3).
fn signs(x509: &X509Certificate<'_>) -> bool {
    let usage = x509.key_usage().ok().flatten();
    x509.is_ca() && usage.is_none_or(|usage| usage.value.key_cert_sign())
}

/// Extended key usages nest: what a CA lacks, nothing below it can have, and the
/// relay's peers are client and server to each other.
fn usage_defect(x509: &X509Certificate<'_>) -> Option<String> {
    let usage = x509.extended_key_usage().ok().flatten()?.value;
    defect([
        (
            !usage.any && !usage.server_auth && !x509.is_ca(),
            "is not for servers (extended key usage)",
        ),
        (
            !usage.any && !usage.client_auth && x509.is_ca(),
            "cannot sign certificates of clients (extended key usage)",
        ),
    ])
}

fn expired(x509: &X509Certificate<'_>, now: OffsetDateTime) -> Option<String> {
    let validity = x509.validity();
    let (from, to) = (
        validity.not_before.to_datetime(),
        validity.not_after.to_datetime(),
    );
    defect([(now < from, "is not valid yet"), (now > to, "has expired")])
        .map(|defect| format!("{defect} ({} to {})", from.date(), to.date()))
}

fn dns_names<'a>(x509: &'a X509Certificate<'_>) -> impl Iterator<Item = &'a str> {
    let names = x509.subject_alternative_name().ok().flatten();
    let names = names.map(|san| san.value.general_names.iter());
    names.into_iter().flatten().filter_map(|name| match name {
        GeneralName::DNSName(name) => Some(*name),
        _ => None,
    })
}

/// Whether a certificate's name is the host's, as the agents' Go decides it: a
/// wildcard stands for one whole label.
fn covers(name: &str, host: &str) -> bool {
    let rest = host.split_once('.').map(|(_, rest)| rest);
    name.eq_ignore_ascii_case(host)
        || name
            .strip_prefix("*.")
            .is_some_and(|name| rest.is_some_and(|rest| name.eq_ignore_ascii_case(rest)))
}
