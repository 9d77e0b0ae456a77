//! Judges the certificates that a server showed, as the relay agents do, which are
//! written in Go: pure functions of certificates and the time. What agents accept and
//! others refuse is odd, and no more.

use relay_shared::{
    certificate::Certificate,
    chain::{Broken, Chain},
    findings::Findings,
    path_validation,
    soundness::{self, Purpose},
};
use time::OffsetDateTime;

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

/// Days before the end of a certificate that are too few to be at ease.
const SOON: i64 = 30;

/// More names than this are not listed.
const LISTED: usize = 16;

/// The certificates that a server showed, as DER, its own first.
///
/// # Errors
/// Says what is wrong with one of them: Go ends the handshake then.
pub(crate) fn parse<'d>(shown: impl IntoIterator<Item = &'d [u8]>) -> Result<Chain, String> {
    let mut certificates = Vec::new();
    for (at, der) in shown.into_iter().enumerate() {
        let certificate = Certificate::from_der(der.to_vec());
        certificates.push(certificate.map_err(|defect| match at {
            0 => format!("it {defect}"),
            at => format!("number {at} of the certificates that come with it {defect}"),
        })?);
    }
    match certificates.is_empty() {
        true => Err("the server shows no certificate".to_owned()),
        false => Ok(Chain::new(certificates.remove(0), certificates)),
    }
}

/// Whether a server can use its certificate, but for its name and dates.
pub(crate) fn fitness(leaf: &Certificate, host: &str) -> Verdict {
    let mut found = soundness::of_leaf(leaf, Purpose::Server { host });
    found.warn_if(
        leaf.x509().is_ca(),
        "is a certificate authority, which Go takes for a server and rustls does not",
    );
    verdict(&found, || {
        format!("it may serve, with a key of {}", leaf.key_kind())
    })
}

/// Whether a certificate carries a server's name.
pub(crate) fn name(leaf: &Certificate, host: &str) -> Verdict {
    let found = soundness::of_name(leaf, host);
    if found.error().is_none() {
        return verdict(&found, || format!("it is for {host}"));
    }
    let names = leaf.dns_names();
    let listed = names[..names.len().min(LISTED)].join(", ");
    let more = names.len().saturating_sub(LISTED);
    Verdict::Bad(match (names.len(), more) {
        (0, _) => format!("it is for no DNS name, and not for {host}"),
        (_, 0) => format!("it is for {listed}, not for {host}"),
        _ => format!("it is for {listed} and {more} more, not for {host}"),
    })
}

/// Whether a server's chain leads to any of some roots, and if so the certificate on
/// the way, the first and the last included, that ends first.
pub(crate) fn chain(
    chain: &Chain,
    roots: &[Certificate],
    host: &str,
    now: OffsetDateTime,
) -> (Verdict, Option<Certificate>) {
    let is_sound = |root: &&Certificate| soundness::of_anchor(root, now).error().is_none();
    let sound: Vec<_> = roots.iter().filter(is_sound).cloned().collect();
    let (path, found) = path_validation::best_path(chain, &sound, Purpose::Server { host }, now);
    let anchor = path.certificates[path.certificates.len() - 1];
    if let Some(broken) = path.broken {
        return (Verdict::Bad(nowhere(broken, chain, roots, now)), None);
    }
    let verdict = verdict(&found, || match anchor == chain.leaf() {
        true => format!("it is {} itself", called(anchor)),
        false => format!("it is signed under {}", called(anchor)),
    });
    let ends_first = match verdict {
        Verdict::Bad(_) => None,
        _ => path
            .certificates
            .iter()
            .min_by_key(|certificate| certificate.not_after()),
    };
    (verdict, ends_first.map(|certificate| (*certificate).clone()))
}

/// Why a chain leads to none of the roots that count.
fn nowhere(broken: Broken, chain: &Chain, roots: &[Certificate], now: OffsetDateTime) -> String {
    let path = chain.path(roots);
    // One that does not count may be above it all the same.
    let defect = match path.broken {
        None => path.certificates.last().copied(),
        Some(_) => roots.first().filter(|_| roots.len() == 1),
    };
    let findings = defect.map(|root| (root, soundness::of_anchor(root, now)));
    if let Some((root, Some(defect))) = findings.as_ref().map(|(root, found)| (root, found.error())) {
        return format!("the root {} {defect}", called(root));
    }
    let all: Vec<_> = roots.iter().map(called).collect();
    let all = all.join(" or ");
    match broken {
        Broken::OtherKey => format!("it is signed by another key than that of {all}, whose name is the same"),
        Broken::NoIssuer => {
            let last = path.certificates[path.certificates.len() - 1];
            format!(
                "it is signed by {:?}, not under {all}",
                last.x509().issuer().to_string()
            )
        }
    }
}

/// Whether a server's certificate is valid today, and for how long it and all that is
/// above it will be.
pub(crate) fn expiry(leaf: &Certificate, above: &[Certificate], now: OffsetDateTime) -> Verdict {
    let found = soundness::of_dates(leaf, now);
    if found.error().is_some() {
        return verdict(&found, String::new);
    }
    let all = above.iter().chain([leaf]);
    let first = all
        .min_by_key(|certificate| certificate.not_after())
        .unwrap_or(leaf);
    let what = match first == leaf {
        true => "it".to_owned(),
        false => format!("{} above it", called(first)),
    };
    lasting(&what, first.not_after(), now)
}

fn lasting(what: &str, ends: OffsetDateTime, now: OffsetDateTime) -> Verdict {
    let days = (ends - now).whole_days();
    let text = format!("{what} expires on {}, in {days} days", ends.date());
    match days {
        ..SOON => Verdict::Odd(text),
        _ => Verdict::Good(text),
    }
}

/// Findings as a verdict: what agents refuse, else what others do, else what is good.
fn verdict(found: &Findings, good: impl FnOnce() -> String) -> Verdict {
    let said = |what: &str| format!("it {what}");
    match (found.error(), found.warnings().collect::<Vec<_>>()) {
        (Some(error), _) => Verdict::Bad(said(error)),
        (None, warnings) if warnings.is_empty() => Verdict::Good(good()),
        (None, warnings) => Verdict::Odd(said(&warnings.join("; it "))),
    }
}

/// What messages call a root: its subject and the start of its SHA-256, as roots that
/// differ often have the same subject.
fn called(root: &Certificate) -> String {
    let print = root.fingerprint().to_string();
    format!("{:?} ({}…)", root.subject(), &print[..8])
}

#[cfg(test)]
mod tests {
    use time::{Duration, macros::datetime};

    use super::*;

    #[test]
    fn the_end_is_near_thirty_days_before() {
        #[track_caller]
        fn check(left: Duration, want: Verdict) {
            let now = datetime!(2026-01-01 0:00 UTC);
            assert_eq!(lasting("it", now + left, now), want);
        }
        let text = |date: &str, days: i64| format!("it expires on {date}, in {days} days");
        check(Duration::ZERO, Verdict::Odd(text("2026-01-01", 0)));
        check(
            Duration::days(30) - Duration::SECOND,
            Verdict::Odd(text("2026-01-30", 29)),
        );
        check(Duration::days(30), Verdict::Good(text("2026-01-31", 30)));
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        let odd: &[u8] = &[1, 2, 3];
        assert_eq!(
            parse([odd]).expect_err("is none"),
            "it is not an X.509 certificate"
        );
        assert_eq!(parse([]).expect_err("is none"), "the server shows no certificate");
    }
}
