//! Whether certificates can do their job, judged by what the relay's Go accepts:
//! what it refuses is an error, what others refuse or what will hurt one day is a
//! warning. Every rule is from RFC 5280 unless it says otherwise.

use time::OffsetDateTime;
use x509_parser::{
    certificate::X509Certificate,
    extensions::{ExtendedKeyUsage, KeyUsage},
    oid_registry::{OID_PKCS1_SHA1WITHRSA, OID_SHA1_WITH_RSA, OID_X509_EXT_BASIC_CONSTRAINTS},
    x509::X509Version,
};

use crate::{
    certificate::{Certificate, KeyKind},
    chain::{Broken, Chain, Path},
    dns_names::{covers, is_within, subtrees},
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

/// What is to be said about a `tls.crt` and its key's other half (the DER of its
/// SubjectPublicKeyInfo), under the certificates that
/// peers trust; where those are not known, of the certificate alone.
pub fn of_chain(
    chain: &Chain,
    public_key: Option<&[u8]>,
    trusted: Option<&[Certificate]>,
    purpose: Purpose<'_>,
    now: OffsetDateTime,
) -> Findings {
    let mut findings = Findings::default();
    if let Some(key) = public_key.filter(|key| !chain.leaf().is_for(key)) {
        let elsewhere = chain.intermediates().iter().any(|c| c.is_for(key));
        findings.error_if(!elsewhere, "does not belong to its key");
        findings.error_if(
            elsewhere,
            "is not the first one of its file, where the relay looks for it",
        );
    }
    let leaf = chain.leaf();
    if let Purpose::Server { host } = purpose {
        findings.error_if(leaf.x509().is_ca(), "is a certificate authority, not a server's");
        findings.extend(of_name(leaf, host));
    }
    findings.extend(of_leaf(leaf, purpose));
    findings.extend(of_dates(leaf, now));
    if let Some(trusted) = trusted {
        let (path, found) = best_path(chain, trusted, purpose, now);
        findings.extend(found);
        lifetimes(&mut findings, &path);
        arrangement(&mut findings, chain, &path);
    }
    findings
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
        findings.warn_if(true, format!("is for {host} only as {name}, {who}"));
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
        for Finding { severity, what } in findings.0 {
            let (severity, what) = match trusted.len() {
                1 => (severity, what),
                _ if enough => (
                    Severity::Warning,
                    format!("holds {}, which {what}", certificate.subject()),
                ),
                _ => (severity, format!("holds {}, which {what}", certificate.subject())),
            };
            all.0.push(Finding { severity, what });
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
fn own(findings: &mut Findings, certificate: &Certificate) {
    let x509 = certificate.x509();
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

    match certificate.key_kind() {
        KeyKind::Rsa(bits) if bits < 1024 => {
            findings.error_if(true, format!("has an RSA key of {bits} bits, which Go refuses"));
        }
        KeyKind::Rsa(bits) if bits < 2048 => {
            findings.warn_if(true, format!("has an RSA key of only {bits} bits"));
        }
        KeyKind::Rsa(bits) if bits > 8192 => {
            findings.error_if(
                true,
                format!("has an RSA key of {bits} bits, which Go's TLS refuses"),
            );
        }
        KeyKind::Other => findings.error_if(true, "has a key of a kind that Go does not know"),
        KeyKind::Rsa(_) | KeyKind::Ecdsa(_) | KeyKind::Ed25519 => {}
    }
    let algorithm = &x509.signature_algorithm.algorithm;
    let sha1 = *algorithm == OID_PKCS1_SHA1WITHRSA || *algorithm == OID_SHA1_WITH_RSA;
    // Nobody checks the signature of what is trusted anyway.
    findings.error_if(
        sha1 && !certificate.is_self_issued(),
        "is signed with SHA-1, which Go refuses",
    );
    findings.error_if(
        x509.extensions_map().is_err(),
        "has an extension twice, which Go refuses",
    );
    let unknown = x509
        .iter_extensions()
        .find(|extension| extension.critical && extension.parsed_extension().unsupported());
    if let Some(extension) = unknown {
        let oid = extension.oid.to_id_string();
        findings.error_if(
            true,
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
fn authority(findings: &mut Findings, x509: &X509Certificate<'_>) {
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
fn usages(findings: &mut Findings, x509: &X509Certificate<'_>, purpose: Purpose<'_>) {
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

/// What is to be said about an authority, and those above it, that is to issue a
/// certificate for DNS names. Of what is above, only errors count.
pub fn of_issuer(
    certificates: &[Certificate],
    names: &[String],
    purpose: Purpose<'_>,
    now: OffsetDateTime,
) -> Findings {
    let mut findings = Findings::default();
    let issuers: Vec<_> = certificates.iter().collect();
    for (subject, finding) in issuers_findings(&issuers, names, purpose, now) {
        let what = match subject == certificates[0].subject() {
            true => finding.what,
            false => format!("is under {subject:?}, which {}", finding.what),
        };
        findings.add(finding.severity, true, what);
    }
    findings
}

/// The way up that has nothing against it, or else the first, and what is to be said
/// about it.
pub fn best_path<'a>(
    chain: &'a Chain,
    trusted: &'a [Certificate],
    purpose: Purpose<'_>,
    now: OffsetDateTime,
) -> (Path<'a>, Findings) {
    let paths = chain.paths(trusted).into_iter();
    let mut judged: Vec<_> = paths
        .map(|path| {
            let found = of_path(&path, purpose, now);
            (path, found)
        })
        .collect();
    let best = judged.iter().position(|(_, found)| found.error().is_none());
    judged.swap_remove(best.unwrap_or_default())
}

/// What forbids or weakens a certificate from above, up to and including what is
/// trusted.
fn of_path(path: &Path<'_>, purpose: Purpose<'_>, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    let last = path.certificates[path.certificates.len() - 1];
    match path.broken {
        None => {}
        Some(Broken::OtherKey) => findings.error_if(
            true,
            "is not signed by the root, but by another one of the same name",
        ),
        Some(Broken::NoIssuer) => {
            let issuer = last.x509().issuer().to_string();
            findings.error_if(true, format!("is not signed by the root, but by {issuer:?}"));
        }
    }
    let names = path.certificates[0].dns_names();
    for (subject, finding) in issuers_findings(&path.certificates[1..], &names, purpose, now) {
        findings.add(
            finding.severity,
            true,
            format!("is under {subject:?}, which {}", finding.what),
        );
    }
    for pair in path.certificates.windows(2) {
        let (below, above) = (pair[0], pair[1]);
        let subject = above.subject();
        let wanted = below.authority_key_identifier();
        findings.warn_if(
            wanted.is_some_and(|id| above.subject_key_identifier().is_some_and(|own| own != id)),
            format!("names another key than that of {subject:?}: OpenSSL refuses it"),
        );
    }
    findings
}

/// What is to be said about each issuer, the nearest first, with its subject.
fn issuers_findings(
    issuers: &[&Certificate],
    names: &[String],
    purpose: Purpose<'_>,
    now: OffsetDateTime,
) -> Vec<(String, Finding)> {
    // The agents' certificates are yet to come below a signing certificate.
    let mut authorities = match purpose {
        Purpose::Server { .. } | Purpose::Agent => 0,
        Purpose::Signing => 1,
    };
    let mut all = Vec::new();
    for issuer in issuers {
        let x509 = issuer.x509();
        let mut found = Findings::default();
        let is_anchor = issuer.is_self_issued();
        if !is_anchor {
            authority(&mut found, &x509);
            found.extend(of_dates(issuer, now));
            own(&mut found, issuer);
        }
        usages(&mut found, &x509, purpose);
        if let Some(length) = path_length(&x509).filter(|length| *length < authorities) {
            found.error_if(
                true,
                format!(
                    "allows {} below it, and there would be {authorities}",
                    match length {
                        0 => "no certificate authority".to_owned(),
                        1 => "one certificate authority".to_owned(),
                        more => format!("{more} certificate authorities"),
                    }
                ),
            );
        }
        constraints(&mut found, &x509, names, purpose);
        let subject = issuer.subject();
        all.extend(found.0.into_iter().map(|finding| (subject.clone(), finding)));
        authorities += u32::from(!is_anchor);
    }
    all
}

/// The names that an issuer allows (section 4.2.1.10).
fn constraints(findings: &mut Findings, x509: &X509Certificate<'_>, names: &[String], purpose: Purpose<'_>) {
    let Some(constraints) = x509.name_constraints().ok().flatten() else {
        return;
    };
    let (permitted, excluded) = (
        subtrees(constraints.value.permitted_subtrees.as_deref()),
        subtrees(constraints.value.excluded_subtrees.as_deref()),
    );
    if let Purpose::Signing = purpose {
        findings.error_if(
            !permitted.is_empty(),
            format!(
                "allows names under {} only, and agents are named after clusters",
                permitted.join(" and ")
            ),
        );
        return;
    }
    for name in names {
        let bare = name.strip_prefix("*.").unwrap_or(name);
        let within = |subtree: &&str| is_within(bare, subtree);
        let allowed = permitted.is_empty() || permitted.iter().any(within);
        findings.error_if(
            !allowed || excluded.iter().any(within),
            format!("does not allow the name {name}"),
        );
    }
}

/// Whether what is above each certificate lasts as long.
fn lifetimes(findings: &mut Findings, path: &Path<'_>) {
    for pair in path.certificates.windows(2) {
        let (end, subject) = (pair[1].not_after(), pair[1].subject());
        findings.warn_if(
            pair[0].not_after() > end,
            format!("outlives {subject:?}, which ends on {}", end.date()),
        );
    }
}

/// Whether `tls.crt` holds what it should, in order.
fn arrangement(findings: &mut Findings, chain: &Chain, path: &Path<'_>) {
    let root = chain.intermediates().iter().any(Certificate::is_root);
    findings.warn_if(root, "comes with the root, which agents have already");
    let sent = chain.intermediates().iter().filter(|c| !c.is_root());
    let needed = path.certificates.iter().skip(1).filter(|c| !c.is_root());
    findings.warn_if(
        path.broken.is_none() && !sent.eq(needed.copied()),
        "does not come with exactly the intermediates above it, in order",
    );
}

fn path_length(x509: &X509Certificate<'_>) -> Option<u32> {
    x509.basic_constraints().ok().flatten()?.value.path_len_constraint
}

#[cfg(test)]
mod tests;
