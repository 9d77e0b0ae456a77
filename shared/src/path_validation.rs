//! Whether the way from a certificate up to what is trusted lets it do its job (RFC 5280,
//! section 6), judged by what the relay's Go accepts, as in [`soundness`].

use time::OffsetDateTime;
use x509_parser::certificate::X509Certificate;

use crate::{
    certificate::Certificate,
    chain::{Broken, Chain, Path},
    dns_names::{is_within, subtrees},
    findings::{Finding, Findings, Severity},
    soundness::{self, Purpose, authority, of_dates, own, path_length, usages},
};

/// What is to be said about a `tls.crt` and its key's other half (the DER of its
/// SubjectPublicKeyInfo), under the certificates that peers trust; where those are not
/// known, of the certificate alone.
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
        findings.extend(soundness::of_name(leaf, host));
    }
    findings.extend(soundness::of_leaf(leaf, purpose));
    findings.extend(of_dates(leaf, now));
    if let Some(trusted) = trusted {
        let (path, found) = best_path(chain, trusted, purpose, now);
        findings.extend(found);
        lifetimes(&mut findings, &path);
        arrangement(&mut findings, chain, &path);
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
        findings.add(finding.severity, what);
    }
    findings
}

/// What forbids or weakens a certificate from above, up to and including what is
/// trusted.
fn of_path(path: &Path<'_>, purpose: Purpose<'_>, now: OffsetDateTime) -> Findings {
    let mut findings = Findings::default();
    let last = path.certificates[path.certificates.len() - 1];
    match path.broken {
        None => {}
        Some(Broken::OtherKey) => findings.add(
            Severity::Error,
            "is not signed by the root, but by another one of the same name",
        ),
        Some(Broken::NoIssuer) => {
            let issuer = last.x509().issuer().to_string();
            findings.add(
                Severity::Error,
                format!("is not signed by the root, but by {issuer:?}"),
            );
        }
    }
    let names = path.certificates[0].dns_names();
    for (subject, finding) in issuers_findings(&path.certificates[1..], &names, purpose, now) {
        findings.add(
            finding.severity,
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
            found.add(
                Severity::Error,
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
        all.extend(found.into_iter().map(|finding| (subject.clone(), finding)));
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

#[cfg(test)]
mod tests;
