//! Whether certificates, each by itself, can do their job, judged by what the relay's Go
//! accepts: what it refuses is an error, what others refuse or what will hurt one day is a
//! warning. Every rule is from RFC 5280 unless it says otherwise. What is above them is
//! judged by [`path_validation`](crate::path_validation).

use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, KeyUsage},
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA, OID_X509_EXT_BASIC_CONSTRAINTS},
    x509::X509Version,
};

use crate::{
    certificate::{Certificate, KeyKind},
    dns_names::covers,
    findings::{Finding, Findings, Severity},
};

/// What a certificate is there for.
#[derive(Debug, Clone, Copy)]
pub enum Purpose<'a> {
    /// It serves agents that call it by this host name.
    Server {
        /// The name that they ask for.
        host: &'a str,
    },
    /// It issues the agents' certificates.
    Signing,
    /// An agent calls the server with it.
    Agent,
}

impl<'a> Purpose<'a> {
    /// What a certificate seems to be there for.
    pub fn of(certificate: &Certificate, host: &'a str) -> Self {
        let x509 = certificate.x509();
        let usage = x509.extended_key_usage().ok().flatten();
        match usage.map(|usage| usage.value) {
            _ if x509.is_ca() => Self::Signing,
            Some(usage) if usage.client_auth && !usage.server_auth && !usage.any => Self::Agent,
            _ => Self::Server { host },
        }
    }

    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Server { .. } => "server",
            Self::Signing => "signing",
            Self::Agent => "agent",
        }
    }
}

/// What is to be said about the certificate that a server or an agent shows, or that
/// issues the agents', by itself, but for its names and dates.
pub fn of_leaf(leaf: &Certificate, purpose: Purpose<'_>) -> Findings {
    let mut findings = Findings::default();
    let x509 = leaf.x509();
    match purpose {
        Purpose::Server { .. } => {
            let usage = x509.key_usage().ok().flatten();
            findings.warn_if(
                usage.is_some_and(|usage| !usage.value.digital_signature()),
                "has a key usage without digital signatures, which TLS needs",
            );
        }
        Purpose::Signing => authority(&mut findings, &x509),
        Purpose::Agent => {}
    }
    usages(&mut findings, &x509, purpose);
    own(&mut findings, leaf);
    findings
}

/// What is to be said about a certificate's names, as Go's `VerifyHostname` compares
/// them to a host's.
pub fn of_name(certificate: &Certificate, host: &str) -> Findings {
    let mut findings = Findings::default();
    let names = certificate.dns_names();
    let by: Vec<_> = names.iter().filter(|name| covers(name, host)).collect();
    findings.error_if(by.is_empty(), format!("is not for {host}"));
    let bare = |name: &&String| name.strip_prefix("*.").is_some_and(|rest| !rest.contains('.'));
    if let Some(name) = by.first().filter(|_| by.iter().all(bare)) {
        let who = "which Go takes and OpenSSL, curl and rustls refuse";
        findings.add(Severity::Warning, format!("is for {host} only as {name}, {who}"));
    }
    findings
}

/// What is to be said about a certificate's dates.
pub fn of_dates(certificate: &Certificate, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    let (from, to) = (certificate.not_before(), certificate.not_after());
    let dates = format!("({} to {})", from.date(), to.date());
    findings.error_if(now < from, format!("is not valid yet {dates}"));
    findings.error_if(now > to, format!("has expired {dates}"));
    findings
}

/// What is to be said about a certificate as one that peers trust: Go judges it by less
/// than what is below it, and nobody checks its signature.
pub fn of_anchor(certificate: &Certificate, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    let x509 = certificate.x509();
    // Before version 3 no certificate says whether it is an authority.
    if x509.version() == X509Version::V3 {
        authority(&mut findings, &x509);
    }
    findings.extend(of_dates(certificate, now));
    findings
}

/// What is to be said about a `ca.crt`.
pub fn of_trusted(trusted: &[Certificate], now: OffsetDateTime) -> Findings {
    let each: Vec<_> = trusted
        .iter()
        .map(|certificate| of_authority(certificate, now))
        .collect();
    // While roots are being changed, one that is sound is enough.
    let enough = each.iter().any(|findings| findings.error().is_none());
    let mut all = Findings::default();
    for (certificate, findings) in trusted.iter().zip(each) {
        for Finding { severity, what } in findings {
            let (severity, what) = match trusted.len() {
                1 => (severity, what),
                _ if enough => (
                    Severity::Warning,
                    format!("holds {}, which {what}", certificate.subject()),
                ),
                _ => (severity, format!("holds {}, which {what}", certificate.subject())),
            };
            all.add(severity, what);
        }
    }
    all.warn_if(
        !trusted.iter().any(Certificate::is_root),
        "ends below the root: OpenSSL trusts no chain without it",
    );
    all
}

/// The same, of a file that may hold the root's key, too.
pub fn of_bundle(trusted: &[Certificate], public_key: Option<&[u8]>, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    let stranger = |key: &[u8]| !trusted.iter().any(|certificate| certificate.is_for(key));
    findings.error_if(public_key.is_some_and(stranger), "does not belong to its key");
    findings.extend(of_trusted(trusted, now));
    findings
}

/// What is to be said about a certificate that agents and server are to trust.
fn of_authority(certificate: &Certificate, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    let x509 = certificate.x509();
    authority(&mut findings, &x509);
    findings.error_if(
        certificate.is_root() && path_length(&x509) == Some(0),
        "allows no certificate authority below it",
    );
    findings.error_if(
        certificate.is_self_issued() && !certificate.is_root(),
        "is not signed by itself",
    );
    findings.extend(of_dates(certificate, now));
    own(&mut findings, certificate);
    findings
}

/// What two certificates of one issuer must not share.
pub fn of_twins(one: &Certificate, other: &Certificate) -> Findings {
    let (one, other) = (one.x509(), other.x509());
    let mut findings = Findings::default();
    findings.warn_if(
        one.issuer().as_raw() == other.issuer().as_raw() && one.raw_serial() == other.raw_serial(),
        "has the serial number of another certificate of its issuer",
    );
    findings
}

/// What every certificate should be, whatever it is for, but for its dates.
pub(crate) fn own(findings: &mut Findings, certificate: &Certificate) {
    let x509 = certificate.x509();
    serial_number(findings, &x509);
    key(findings, certificate.key_kind());
    let algorithm = &x509.signature_algorithm.algorithm;
    let sha1 = *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA;
    // Nobody checks the signature of what is trusted anyway.
    findings.error_if(
        sha1 && !certificate.is_self_issued(),
        "is signed with SHA-1, which Go refuses",
    );
    extensions(findings, certificate, &x509);
}

/// A positive number of up to 20 bytes (section 4.1.2.2).
fn serial_number(findings: &mut Findings, x509: &X509Certificate<'_>) {
    let serial = x509.raw_serial();
    findings.error_if(
        serial.first().is_some_and(|byte| byte & 0x80 != 0),
        "has a negative serial number, which Go refuses",
    );
    findings.warn_if(
        serial.iter().all(|byte| *byte == 0),
        "has the serial number 0, which is not a positive one",
    );
    findings.warn_if(serial.len() > 20, "has a serial number of more than 20 bytes");
}

/// One that Go takes, and that nobody breaks soon.
fn key(findings: &mut Findings, kind: KeyKind) {
    match kind {
        KeyKind::Rsa(bits @ ..1024) => {
            findings.add(
                Severity::Error,
                format!("has an RSA key of {bits} bits, which Go refuses"),
            );
        }
        KeyKind::Rsa(bits @ 1024..2048) => {
            findings.add(Severity::Warning, format!("has an RSA key of only {bits} bits"));
        }
        KeyKind::Rsa(bits @ 8193..) => {
            findings.add(
                Severity::Error,
                format!("has an RSA key of {bits} bits, which Go's TLS refuses"),
            );
        }
        KeyKind::Other => findings.add(Severity::Error, "has a key of a kind that Go does not know"),
        KeyKind::Rsa(_) | KeyKind::Ecdsa(_) | KeyKind::Ed25519 => {}
    }
}

/// Which extensions are there, and which of them are critical (section 4.2.1).
fn extensions(findings: &mut Findings, certificate: &Certificate, x509: &X509Certificate<'_>) {
    findings.error_if(
        x509.extensions_map().is_err(),
        "has an extension twice, which Go refuses",
    );
    let unknown = x509
        .iter_extensions()
        .find(|extension| extension.critical && extension.parsed_extension().unsupported());
    if let Some(extension) = unknown {
        let oid = extension.oid.to_id_string();
        findings.add(
            Severity::Error,
            format!("has a critical extension that Go does not know ({oid})"),
        );
    }

    let usage = x509.key_usage().ok().flatten();
    findings.warn_if(
        x509.is_ca() && usage.is_none(),
        "has no key usage: OpenSSL's strict checks and Python refuse it",
    );
    findings.warn_if(
        usage.is_some_and(|usage| !usage.critical),
        "has a key usage that is not critical",
    );
    let constraints = x509
        .iter_extensions()
        .find(|extension| extension.oid == OID_X509_EXT_BASIC_CONSTRAINTS);
    findings.warn_if(
        x509.is_ca() && constraints.is_some_and(|constraints| !constraints.critical),
        "has basic constraints that are not critical: OpenSSL's strict checks and Python refuse it",
    );
    findings.warn_if(
        x509.is_ca() && certificate.subject_key_identifier().is_none(),
        "has no subject key identifier",
    );
    findings.warn_if(
        !certificate.is_self_issued() && certificate.authority_key_identifier().is_none(),
        "has no authority key identifier",
    );
}

/// Whether it may sign certificates. Without a key usage it may, as the page's
/// root does (section 4.2.1.3).
pub(crate) fn authority(findings: &mut Findings, x509: &X509Certificate<'_>) {
    findings.error_if(
        !x509.is_ca() || x509.version() != X509Version::V3,
        "is not a certificate authority",
    );
    let usage = x509.key_usage().ok().flatten();
    findings.error_if(
        x509.is_ca() && usage.is_some_and(|usage| !KeyUsage::key_cert_sign(usage.value)),
        "is not to sign certificates (key usage)",
    );
}

/// Extended key usages nest: what a certificate lacks, nothing below it can have.
pub(crate) fn usages(findings: &mut Findings, x509: &X509Certificate<'_>, purpose: Purpose<'_>) {
    let Some(usage) = x509.extended_key_usage().ok().flatten() else {
        return;
    };
    let usage: &ExtendedKeyUsage<'_> = usage.value;
    let (found, what) = match purpose {
        Purpose::Server { .. } => (usage.server_auth, "is not for servers (extended key usage)"),
        Purpose::Signing => (
            usage.client_auth,
            "cannot sign certificates of clients (extended key usage)",
        ),
        Purpose::Agent => (usage.client_auth, "is not for clients (extended key usage)"),
    };
    findings.error_if(!found && !usage.any, what);
}

/// How many certificate authorities it allows below it, if it says so.
pub(crate) fn path_length(x509: &X509Certificate<'_>) -> Option<u32> {
    x509.basic_constraints().ok().flatten()?.value.path_len_constraint
}

#[cfg(test)]
pub(crate) mod tests;
