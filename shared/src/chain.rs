//! Chains as values: `tls.crt` holds a certificate, then the intermediates above
//! it, and no root; `ca.crt` holds intermediates, then the root.

use crate::certificate::{Certificate, fingerprints};

/// No chain is as long.
const LONGEST: usize = 10;

/// How many signatures are looked at, as by Go (`maxChainSignatureChecks`): of many
/// certificates of one name there are more ways than anybody has time for.
const MOST_CHECKS: usize = 100;

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

    /// Finds the ways up to any of the trusted certificates, and on to the root if that is
    /// among them: where there is none, one that is broken.
    pub fn paths<'a>(&'a self, trusted: &'a [Certificate]) -> Vec<Path<'a>> {
        paths(&self.leaf, &self.intermediates, trusted)
    }

    /// The first of the [`Chain::paths`].
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
    paths(leaf, intermediates, trusted).swap_remove(0)
}

fn paths<'a>(
    leaf: &'a Certificate,
    intermediates: &'a [Certificate],
    trusted: &'a [Certificate],
) -> Vec<Path<'a>> {
    let mut search = Search {
        intermediates,
        trusted,
        checks_left: MOST_CHECKS,
        found: Vec::new(),
        broken: None,
    };
    search.climb(&[leaf]);
    match search.broken {
        Some(broken) if search.found.is_empty() => vec![broken],
        _ => search.found,
    }
}

/// A search for ways up. One certificate may have several issuers of one name and key:
/// cross-signed ones, or one and its successor.
struct Search<'a> {
    intermediates: &'a [Certificate],
    trusted: &'a [Certificate],
    checks_left: usize,
    found: Vec<Path<'a>>,
    /// The first way that ended elsewhere.
    broken: Option<Path<'a>>,
}

impl<'a> Search<'a> {
    /// Goes on from the last certificate of a way.
    fn climb(&mut self, way: &[&'a Certificate]) {
        let last = way[way.len() - 1];
        let path = |broken| Path {
            certificates: way.to_vec(),
            broken,
        };
        let anchored = self.trusted.contains(last);
        if anchored && last.is_self_issued() {
            return self.found.push(path(None));
        }
        let found_before = self.found.len();
        let mut leads_on = false;
        // What is trusted needs no more than what is trusted, too.
        let sent = self.intermediates.iter().filter(|_| !anchored);
        for issuer in self.trusted.iter().chain(sent) {
            let ends = way.len() == LONGEST || self.checks_left == 0;
            if ends || way.contains(&issuer) || !last.names_as_issuer(issuer) {
                continue;
            }
            self.checks_left -= 1;
            if last.is_signed_by(issuer) {
                leads_on = true;
                self.climb(&[way, &[issuer]].concat());
            }
        }
        if self.found.len() == found_before {
            match anchored {
                true => self.found.push(path(None)),
                // What is above it has said where it ends.
                false if leads_on => {}
                // What merely came along, such as a foreign root, is no reason to speak of ours.
                false => {
                    let broken = match self.trusted.iter().any(|root| last.names_as_issuer(root)) {
                        true => Broken::OtherKey,
                        false => Broken::NoIssuer,
                    };
                    self.broken.get_or_insert(path(Some(broken)));
                }
            }
        }
    }
}

/// Puts certificates into the order of `ca.crt`: intermediates as they are, then
/// the roots.
pub fn in_order(certificates: Vec<Certificate>) -> Vec<Certificate> {
    let (roots, intermediates): (Vec<_>, Vec<_>) = certificates.into_iter().partition(Certificate::is_root);
    [intermediates, roots].concat()
}
