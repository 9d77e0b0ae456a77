//! The cases of [`super`].

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SerialNumber,
};
use time::{Duration, macros::datetime};

use super::*;

pub(crate) const NOW: OffsetDateTime = datetime!(2026-01-01 0:00 UTC);
pub(crate) const HOST: &str = "enterprise-networking.gloo-mesh";

/// A certificate, how it was made, and its key.
pub(crate) struct Made {
    pub(crate) params: CertificateParams,
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

pub(crate) type Tweak<'a> = &'a dyn Fn(&mut CertificateParams);

/// Makes a certificate that is as it should be, but for the tweak; by itself if
/// there is no issuer.
pub(crate) fn make(name: &str, issuer: Option<&Made>, is_ca: bool, tweak: Tweak<'_>) -> Made {
    let key = KeyPair::generate().expect("can be made");
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(name.as_bytes().to_vec()));
    params.not_before = NOW - Duration::days(1);
    params.not_after = NOW + Duration::days(1);
    params.use_authority_key_identifier_extension = issuer.is_some();
    match is_ca {
        true => {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        }
        false => {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            let name = HOST.to_owned().try_into().expect("is ASCII");
            params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
        }
    }
    tweak(&mut params);
    let issued = match issuer {
        None => params.self_signed(&key),
        Some(issuer) => params.signed_by(&key, &Issuer::from_params(&issuer.params, &issuer.key)),
    };
    let der = issued.expect("is issued").der().to_vec();
    Made {
        certificate: Certificate::from_der(der).expect("is a certificate"),
        params,
        key,
    }
}

pub(crate) fn as_is(_: &mut CertificateParams) {}

pub(crate) fn length(length: u8) -> impl Fn(&mut CertificateParams) {
    move |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length))
}

pub(crate) fn usage(usage: ExtendedKeyUsagePurpose) -> impl Fn(&mut CertificateParams) {
    move |params| params.extended_key_usages = vec![usage.clone()]
}

pub(crate) fn named(name: &'static str) -> impl Fn(&mut CertificateParams) {
    move |params| {
        let name = name.to_owned().try_into().expect("is ASCII");
        params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
    }
}

/// Everything that was found, as `error: …; warning: …`.
pub(crate) fn all(findings: &Findings) -> String {
    let found = findings.all().iter();
    let found: Vec<_> = found
        .map(|finding| format!("{}: {}", finding.severity, finding.what))
        .collect();
    found.join("; ")
}

#[test]
fn what_is_trusted_is_judged() {
    let root = make("root", None, true, &as_is);
    let ca = make("ca", Some(&root), true, &as_is);
    let expired = make("old", None, true, &|params| {
        params.not_after = NOW - Duration::hours(1);
    });
    let no_room = make("narrow", None, true, &length(0));
    let leaf = make("leaf", Some(&root), false, &as_is);
    let check = |trusted: &[&Made], want: &str| {
        let trusted: Vec<_> = trusted.iter().map(|made| made.certificate.clone()).collect();
        assert_eq!(all(&of_trusted(&trusted, NOW)), want);
    };
    check(&[&root], "");
    check(&[&ca, &root], "");
    check(&[&expired], "error: has expired (2025-12-31 to 2025-12-31)");
    check(
        &[&expired, &root],
        "warning: holds CN=old, which has expired (2025-12-31 to 2025-12-31)",
    );
    check(&[&no_room], "error: allows no certificate authority below it");
    let below = "warning: ends below the root: OpenSSL trusts no chain without it";
    check(&[&ca], below);
    check(
        &[&leaf],
        &format!("error: is not a certificate authority; {below}"),
    );
    let bare = |params: &mut CertificateParams| params.key_usages.clear();
    let bare = make("page", None, true, &bare);
    check(
        &[&bare],
        "warning: has no key usage: OpenSSL's strict checks and Python refuse it",
    );
}

#[test]
fn twins_are_found() {
    let root = make("root", None, true, &as_is);
    let zero = |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from(0));
    let (one, other) = (
        make("a", Some(&root), false, &zero),
        make("b", Some(&root), true, &zero),
    );
    let twins = of_twins(&one.certificate, &other.certificate);
    assert_eq!(
        all(&twins),
        "warning: has the serial number of another certificate of its issuer"
    );
    let lone = make("c", Some(&root), false, &as_is);
    assert_eq!(all(&of_twins(&one.certificate, &lone.certificate)), "");
}
