//! Judges the certificates that a server showed, as the relay agents do, which are
//! written in Go (its crypto/x509): pure functions of certificates and the time.

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::{certificate::X509Certificate, extensions::GeneralName, prelude::FromDer as _};

use crate::probe;

/// What is to be said about a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is as it should be.
    Good(String),
    /// Agents accept it, others do not, or not for long.
    Odd(String),
    /// Agents refuse it.
    Bad(String),
}

/// Whether a certificate carries a server's name.
pub(crate) fn name(leaf: &CertificateDer<'_>, host: &str) -> Verdict {
    let Some(x509) = parse(leaf) else {
        return unreadable();
    };
    let names = dns_names(&x509);
    let Some(covering) = names.iter().find(|name| covers(name, host)) else {
        let names = match names.as_slice() {
            [] => "no name".to_owned(),
            names => names.join(", "),
        };
        return Verdict::Bad(format!("it is for {names}, not for {host}"));
    };
    // Go accepts a wildcard for the first of two labels, where others want three.
    let strict = ServerName::try_from(host).is_ok_and(|host| {
        EndEntityCert::try_from(leaf).is_ok_and(|leaf| leaf.verify_is_valid_for_subject_name(&host).is_ok())
    });
    match strict {
        true => Verdict::Good(format!("it is for {host}")),
        false => Verdict::Odd(format!(
            "only {covering} covers {host}: the agents, written in Go, accept that; OpenSSL and rustls-webpki \
             refuse it"
        )),
    }
}

/// Whether any of some roots is above a server's chain. Whether the server's own
/// certificate is valid today is for [`expiry`] to say.
pub(crate) fn chain(chain: &[CertificateDer<'_>], roots: &[CertificateDer<'_>], now: i64) -> Verdict {
    let Some((leaf, intermediates)) = chain.split_first() else {
        return Verdict::Bad("the server shows no certificate".to_owned());
    };
    let valid: Vec<_> = roots
        .iter()
        .filter(|root| parse(root).is_some_and(|x509| is_valid(&x509, now)))
        .collect();
    if valid.is_empty() {
        return Verdict::Bad("the root is no certificate that is valid today".to_owned());
    }
    if let Some(root) = valid.iter().find(|root| **root == leaf) {
        return Verdict::Good(format!("it is {} itself", subject(root)));
    }
    let Some(x509) = parse(leaf) else {
        return unreadable();
    };
    let within = now.clamp(
        x509.validity().not_before.timestamp(),
        x509.validity().not_after.timestamp(),
    );
    let verified = || -> Result<(), webpki::Error> {
        let anchors: Vec<_> = valid
            .iter()
            .filter_map(|root| anchor_from_trusted_cert(root).ok())
            .collect();
        EndEntityCert::try_from(leaf)?.verify_for_usage(
            probe::algorithms().all,
            &anchors,
            intermediates,
            UnixTime::since_unix_epoch(std::time::Duration::from_secs(within.unsigned_abs())),
            KeyUsage::server_auth(),
            None,
            None,
        )?;
        Ok(())
    };
    let roots: Vec<_> = valid.iter().map(|root| subject(root)).collect();
    let roots = roots.join(" or ");
    match verified() {
        Ok(()) => Verdict::Good(format!("it is signed under {roots}")),
        Err(webpki::Error::UnknownIssuer) => Verdict::Bad(format!(
            "it is signed by {:?}, not under {roots}",
            x509.issuer().to_string()
        )),
        Err(
            webpki::Error::InvalidSignatureForPublicKey
            | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_),
        ) => Verdict::Bad(format!(
            "it is signed by another key than that of {roots}, whose name is the same"
        )),
        Err(error) => Verdict::Bad(format!("it is not accepted under {roots}: {error}")),
    }
}

/// Whether all that a server showed is valid today, and for how long, with its whole
/// days from now.
pub(crate) fn expiry(chain: &[CertificateDer<'_>], now: i64) -> (Verdict, Option<i64>) {
    let mut first: Option<(i64, String)> = None;
    for certificate in chain {
        let Some(x509) = parse(certificate) else {
            return (unreadable(), None);
        };
        let validity = x509.validity();
        let starts = validity.not_before;
        if now < starts.timestamp() {
            let text = format!("it is valid from {} on, not yet", starts.to_datetime().date());
            return (Verdict::Bad(text), None);
        }
        let ends = validity.not_after;
        if first.as_ref().is_none_or(|(known, _)| ends.timestamp() < *known) {
            first = Some((ends.timestamp(), ends.to_datetime().date().to_string()));
        }
    }
    let Some((ends, date)) = first else {
        return (Verdict::Bad("the server shows no certificate".to_owned()), None);
    };
    lasting(ends, &date, now)
}

/// Days before the end of a certificate that are too few to be at ease.
const SOON: i64 = 30;

fn lasting(ends: i64, date: &str, now: i64) -> (Verdict, Option<i64>) {
    let days = (ends - now).div_euclid(24 * 60 * 60);
    let verdict = match days {
        ..0 => Verdict::Bad(format!("it expired on {date}")),
        0..SOON => Verdict::Odd(format!("it expires on {date}, in {days} days")),
        _ => Verdict::Good(format!("it expires on {date}, in {days} days")),
    };
    (verdict, Some(days))
}

/// Whether a certificate's name is a host's, as Go decides it (`matchHostnames` in
/// crypto/x509): a wildcard stands for one whole label, the first.
fn covers(name: &str, host: &str) -> bool {
    let (name, host) = (name.to_ascii_lowercase(), host.to_ascii_lowercase());
    let (name, host) = (
        name.strip_suffix('.').unwrap_or(&name),
        host.strip_suffix('.').unwrap_or(&host),
    );
    let rest = host.split_once('.').map(|(_, rest)| rest);
    match name.strip_prefix("*.") {
        Some(name) => rest == Some(name),
        None => !name.is_empty() && name == host,
    }
}

fn dns_names(x509: &X509Certificate<'_>) -> Vec<String> {
    let names = x509.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|san| &san.value.general_names);
    let dns = names.filter_map(|name| match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        _ => None,
    });
    dns.collect()
}

fn is_valid(x509: &X509Certificate<'_>, now: i64) -> bool {
    let validity = x509.validity();
    (validity.not_before.timestamp()..=validity.not_after.timestamp()).contains(&now)
}

/// What messages call a root: its subject and the start of its SHA-256, as roots that
/// differ often have the same subject.
fn subject(root: &CertificateDer<'_>) -> String {
    let name = parse(root)
        .map(|x509| x509.subject().to_string())
        .unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, root);
    let start: String = digest.as_ref()[..4]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!("{name:?} ({start}…)")
}

fn parse<'c>(certificate: &'c CertificateDer<'_>) -> Option<X509Certificate<'c>> {
    X509Certificate::from_der(certificate).ok().map(|(_, x509)| x509)
}

fn unreadable() -> Verdict {
    Verdict::Bad("it is not an X.509 certificate".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_covered_as_go_decides() {
        #[track_caller]
        fn check(name: &str, host: &str, want: bool) {
            assert_eq!(covers(name, host), want, "{name:?} {host:?}");
        }
        check("relay.mesh", "relay.mesh", true);
        check("Relay.Mesh", "relay.mesh.", true);
        check("*.mesh", "relay.mesh", true);
        check("*.mesh", "a.relay.mesh", false);
        check("*.mesh", "mesh", false);
        check("*", "relay", false);
        check("*", "relay.mesh", false);
        check("r*.mesh", "relay.mesh", false);
        check("mesh", "relay.mesh", false);
        check("", "", false);
        check("*.", "relay.", false);
    }

    #[test]
    fn the_end_is_near_thirty_days_before() {
        #[track_caller]
        fn check(seconds: i64, want: Verdict) {
            assert_eq!(lasting(seconds, "D", 0).0, want);
        }
        let day = 24 * 60 * 60;
        check(-1, Verdict::Bad("it expired on D".to_owned()));
        check(0, Verdict::Odd("it expires on D, in 0 days".to_owned()));
        check(
            30 * day - 1,
            Verdict::Odd("it expires on D, in 29 days".to_owned()),
        );
        check(30 * day, Verdict::Good("it expires on D, in 30 days".to_owned()));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let odd = [CertificateDer::from(vec![1, 2, 3])];
        assert!(matches!(name(&odd[0], "a"), Verdict::Bad(_)));
        assert!(matches!(chain(&odd, &odd, 0), Verdict::Bad(_)));
        assert!(matches!(chain(&[], &odd, 0), Verdict::Bad(_)));
        assert!(matches!(expiry(&odd, 0).0, Verdict::Bad(_)));
        assert!(matches!(expiry(&[], 0).0, Verdict::Bad(_)));
    }
}
