//! Chains as values: `tls.crt` holds a certificate, then the intermediates above
//! it, and no root; `ca.crt` holds intermediates, then the root.

use crate::certificate::{Certificate, fingerprints};

/// No chain is as long; a longer one goes in circles.
const LONGEST: usize = 10;

/// A certificate and the intermediates above it, the nearest first: what a
/// `tls.crt` holds, if it is well made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    intermediates: Vec<Certificate>,
}

/// The way from a certificate up to the one that is trusted, both included.
#[derive(Debug, PartialEq, Eq)]
pub struct Path<'a> {
    /// The certificate first, each issued by the next one.
    pub certificates: Vec<&'a Certificate>,
    /// Why it does not reach what is trusted, if it does not.
    pub broken: Option<Broken>,
}

/// Why nothing that is trusted was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// Nothing that is trusted has the issuer's name.
    NoIssuer,
    /// Something has, and it did not make the signature.
    OtherKey,
}

impl Chain {
    /// A certificate and the intermediates above it.
    pub fn new(leaf: Certificate, intermediates: Vec<Certificate>) -> Self {
        Self { leaf, intermediates }
    }

    /// Reads `tls.crt`: the first certificate is the leaf.
    ///
    /// # Errors
    /// As for [`Certificate::all_from_pem`].
    pub fn from_pem(text: &[u8]) -> Result<Self, String> {
        let mut certificates = Certificate::all_from_pem(text)?;
        let leaf = certificates.remove(0);
        Ok(Self::new(leaf, certificates))
    }

    /// The certificate that the others are there for.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// Whatever follows the leaf.
    pub fn intermediates(&self) -> &[Certificate] {
        &self.intermediates
    }

    /// All certificates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.intermediates)
    }

    /// All certificates as PEM, the leaf first.
    pub fn pem(&self) -> String {
        self.certificates().map(Certificate::pem).collect()
    }

    /// The fingerprints of all certificates, the leaf's first, for messages.
    pub fn fingerprints(&self) -> String {
        fingerprints(&[std::slice::from_ref(&self.leaf), &self.intermediates].concat())
    }

    /// Finds the way up to one of the trusted certificates, and on to the root if
    /// that is among them.
    pub fn path<'a>(&'a self, trusted: &'a [Certificate]) -> Path<'a> {
        path(&self.leaf, &self.intermediates, trusted)
    }
}

/// Finds the way from a certificate up to one of the trusted ones.
pub fn path<'a>(
    leaf: &'a Certificate,
    intermediates: &'a [Certificate],
    trusted: &'a [Certificate],
) -> Path<'a> {
    let mut certificates = vec![leaf];
    let broken = loop {
        let last = certificates[certificates.len() - 1];
        let anchored = trusted.contains(last);
        if anchored && last.is_self_issued() {
            break None;
        }
        // What is trusted needs no more than what is trusted, too.
        let known = intermediates.iter().filter(|_| !anchored);
        let next = trusted
            .iter()
            .chain(known)
            .find(|issuer| !certificates.contains(issuer) && last.is_signed_by(issuer));
        match next {
            Some(issuer) if certificates.len() < LONGEST => certificates.push(issuer),
            _ if anchored => break None,
            // What merely came along, such as a foreign root, is no reason to speak of ours.
            _ if trusted.iter().any(|issuer| last.names_as_issuer(issuer)) => break Some(Broken::OtherKey),
            _ => break Some(Broken::NoIssuer),
        }
    };
    Path { certificates, broken }
}

/// Puts certificates into the order of `ca.crt`: intermediates as they are, then
/// the roots.
pub fn in_order(certificates: Vec<Certificate>) -> Vec<Certificate> {
    let (roots, intermediates): (Vec<_>, Vec<_>) = certificates.into_iter().partition(Certificate::is_root);
    [intermediates, roots].concat()
}
