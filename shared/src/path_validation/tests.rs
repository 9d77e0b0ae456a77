//! The cases of [`super`].

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, CustomExtension, ExtendedKeyUsagePurpose,
    GeneralSubtree as Subtree, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, NameConstraints,
    PublicKeyData as _, SerialNumber,
};
use time::Duration;

use super::*;
use crate::soundness::tests::{HOST, Made, NOW, Tweak, all, as_is, length, make, named, usage};

/// Root, intermediate and leaf, each with a tweak, judged for a purpose.
fn judged(purpose: Purpose<'_>, root: Tweak<'_>, intermediate: Tweak<'_>, leaf: Tweak<'_>) -> String {
    let root = make("root", None, true, root);
    let intermediate = make("ca", Some(&root), true, intermediate);
    let is_ca = matches!(purpose, Purpose::Signing);
    let leaf = make("leaf", Some(&intermediate), is_ca, leaf);
    let chain = Chain::new(leaf.certificate, vec![intermediate.certificate]);
    all(&of_chain(
        &chain,
        Some(&leaf.key.subject_public_key_info()),
        Some(&[root.certificate]),
        purpose,
        NOW,
    ))
}

#[test]
fn a_servers_chain_is_judged_as_go_judges_it() {
    #[track_caller]
    fn check(root: Tweak<'_>, intermediate: Tweak<'_>, leaf: Tweak<'_>, want: &str) {
        assert_eq!(
            judged(Purpose::Server { host: HOST }, root, intermediate, leaf),
            want
        );
    }
    check(&as_is, &as_is, &as_is, "");

    // Names.
    check(&as_is, &as_is, &named("ENTERPRISE-networking.gloo-mesh"), "");
    check(
        &as_is,
        &as_is,
        &named("enterprise-networking"),
        &format!("error: is not for {HOST}"),
    );
    check(
        &as_is,
        &as_is,
        &named("*.elsewhere"),
        &format!("error: is not for {HOST}"),
    );
    check(
        &as_is,
        &as_is,
        &|params| params.subject_alt_names.clear(),
        &format!("error: is not for {HOST}"),
    );
    let only = format!(
        "warning: is for {HOST} only as *.gloo-mesh, which Go takes and OpenSSL, curl and rustls refuse"
    );
    check(&as_is, &as_is, &named("*.gloo-mesh"), &only);

    // Usages nest.
    let (server, client) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    check(&as_is, &as_is, &usage(server.clone()), "");
    check(&as_is, &as_is, &usage(ExtendedKeyUsagePurpose::Any), "");
    check(
        &as_is,
        &as_is,
        &usage(client.clone()),
        "error: is not for servers (extended key usage)",
    );
    check(
        &as_is,
        &usage(client.clone()),
        &as_is,
        "error: is under \"CN=ca\", which is not for servers (extended key usage)",
    );
    check(
        &usage(client),
        &as_is,
        &as_is,
        "error: is under \"CN=root\", which is not for servers (extended key usage)",
    );
    let encipher =
        |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::KeyEncipherment];
    check(
        &as_is,
        &as_is,
        &encipher,
        "warning: has a key usage without digital signatures, which TLS needs",
    );

    // Who may sign.
    let no_ca = |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa;
    check(
        &as_is,
        &no_ca,
        &as_is,
        "error: is under \"CN=ca\", which is not a certificate authority",
    );
    let crl = |params: &mut CertificateParams| params.key_usages = vec![KeyUsagePurpose::CrlSign];
    check(
        &as_is,
        &crl,
        &as_is,
        "error: is under \"CN=ca\", which is not to sign certificates (key usage)",
    );
    let ca = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    check(
        &as_is,
        &as_is,
        &ca,
        "error: is a certificate authority, not a server's",
    );
    check(&length(1), &length(0), &as_is, "");
    check(
        &length(0),
        &as_is,
        &as_is,
        "error: is under \"CN=root\", which allows no certificate authority below it, and there would be 1",
    );

    // Dates.
    let expired = |params: &mut CertificateParams| params.not_after = NOW - Duration::hours(1);
    check(
        &as_is,
        &as_is,
        &expired,
        "error: has expired (2025-12-31 to 2025-12-31)",
    );
    let outlives = "warning: outlives \"CN=ca\", which ends on 2025-12-31";
    check(
        &as_is,
        &expired,
        &as_is,
        &format!("error: is under \"CN=ca\", which has expired (2025-12-31 to 2025-12-31); {outlives}"),
    );
    let early = |params: &mut CertificateParams| params.not_before = NOW + Duration::hours(1);
    check(
        &as_is,
        &as_is,
        &early,
        "error: is not valid yet (2026-01-01 to 2026-01-02)",
    );
    let long = |params: &mut CertificateParams| params.not_after = NOW + Duration::days(2);
    check(
        &as_is,
        &as_is,
        &long,
        "warning: outlives \"CN=ca\", which ends on 2026-01-02",
    );

    // Serial numbers and identifiers.
    let serial = |bytes: &'static [u8]| {
        move |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from_slice(bytes))
    };
    check(
        &as_is,
        &as_is,
        &serial(&[0]),
        "warning: has the serial number 0, which is not a positive one",
    );
    check(
        &as_is,
        &as_is,
        &serial(&[1; 21]),
        "warning: has a serial number of more than 20 bytes",
    );
    let unidentified = |params: &mut CertificateParams| params.use_authority_key_identifier_extension = false;
    check(
        &as_is,
        &as_is,
        &unidentified,
        "warning: has no authority key identifier",
    );
    let critical = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    };
    check(
        &as_is,
        &as_is,
        &critical,
        "error: has a critical extension that Go does not know (1.3.6.1.4.1.99999.1)",
    );

    // Constrained names.
    let permitted = |base: &'static str| {
        move |params: &mut CertificateParams| {
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: vec![Subtree::DnsName(base.to_owned())],
                excluded_subtrees: vec![Subtree::IpAddress(CidrSubnet::from_v4_prefix([0; 4], 0))],
            });
        }
    };
    check(&as_is, &permitted("gloo-mesh"), &as_is, "");
    check(
        &as_is,
        &permitted("mesh"),
        &as_is,
        &format!("error: is under \"CN=ca\", which does not allow the name {HOST}"),
    );
}

#[test]
fn a_signing_chain_is_judged_with_the_agents_below_it() {
    #[track_caller]
    fn check(root: Tweak<'_>, intermediate: Tweak<'_>, leaf: Tweak<'_>, want: &str) {
        assert_eq!(judged(Purpose::Signing, root, intermediate, leaf), want);
    }
    check(&as_is, &as_is, &as_is, "");
    check(&length(2), &length(1), &length(0), "");
    check(
        &length(2),
        &length(0),
        &length(0),
        "error: is under \"CN=ca\", which allows no certificate authority below it, and there would be 1",
    );
    check(
        &length(1),
        &length(1),
        &length(0),
        "error: is under \"CN=root\", which allows one certificate authority below it, and there would be 2",
    );
    let server = usage(ExtendedKeyUsagePurpose::ServerAuth);
    check(
        &as_is,
        &as_is,
        &server,
        "error: cannot sign certificates of clients (extended key usage)",
    );
    check(
        &server,
        &as_is,
        &as_is,
        "error: is under \"CN=root\", which cannot sign certificates of clients (extended key usage)",
    );
    let no_ca = |params: &mut CertificateParams| params.is_ca = IsCa::ExplicitNoCa;
    check(&as_is, &as_is, &no_ca, "error: is not a certificate authority");
    let unused = |params: &mut CertificateParams| params.key_usages.clear();
    check(
        &as_is,
        &as_is,
        &unused,
        "warning: has no key usage: OpenSSL's strict checks and Python refuse it",
    );
    let permitted = |params: &mut CertificateParams| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![Subtree::DnsName("gloo-mesh".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    };
    check(
        &as_is,
        &permitted,
        &as_is,
        "error: is under \"CN=ca\", which allows names under gloo-mesh only, \
         and agents are named after clusters",
    );
}

#[test]
fn an_agents_chain_is_judged_by_what_it_may_do() {
    #[track_caller]
    fn check(root: Tweak<'_>, signing: Tweak<'_>, leaf: Tweak<'_>, want: &str) {
        assert_eq!(judged(Purpose::Agent, root, signing, leaf), want);
    }
    let (server, client) = (
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    );
    // Agents are named after clusters, whatever those are called.
    check(&length(1), &length(0), &named("east"), "");
    check(&as_is, &usage(client.clone()), &usage(client), "");
    check(
        &as_is,
        &as_is,
        &usage(server.clone()),
        "error: is not for clients (extended key usage)",
    );
    check(
        &as_is,
        &usage(server),
        &as_is,
        "error: is under \"CN=ca\", which is not for clients (extended key usage)",
    );
}

#[test]
fn files_are_judged_by_what_is_in_them() {
    let root = make("root", None, true, &as_is);
    let namesake = make("root", None, true, &as_is);
    let other = make("other", None, true, &as_is);
    let ca = make("ca", Some(&root), true, &as_is);
    let leaf = make("leaf", Some(&ca), false, &as_is);
    let check = |sent: &[&Made], key: &Made, trusted: &[&Made], want: &str| {
        let mut sent = sent.iter().map(|made| made.certificate.clone());
        let chain = Chain::new(sent.next().expect("has a leaf"), sent.collect());
        let trusted: Vec<_> = trusted.iter().map(|made| made.certificate.clone()).collect();
        let purpose = Purpose::Server { host: HOST };
        assert_eq!(
            all(&of_chain(
                &chain,
                Some(&key.key.subject_public_key_info()),
                Some(&trusted),
                purpose,
                NOW
            )),
            want
        );
    };
    let arranged = "warning: does not come with exactly the intermediates above it, in order";
    check(&[&leaf, &ca], &leaf, &[&root], "");
    check(&[&leaf, &ca], &leaf, &[&ca, &root], "");
    check(&[&leaf, &ca], &leaf, &[&other, &namesake, &root], "");
    check(&[&leaf], &leaf, &[&ca, &root], arranged);
    check(&[&leaf, &ca, &ca], &leaf, &[&root], arranged);
    check(
        &[&leaf, &ca, &root],
        &leaf,
        &[&root],
        "warning: comes with the root, which agents have already",
    );
    // The same authority, issued by somebody else, or by the root and over since: any way
    // up is enough, and the other is only in the way.
    let again = |issuer: &Made, tweak: Tweak<'_>| {
        let mut params = ca.params.clone();
        tweak(&mut params);
        let issuer = Issuer::from_params(&issuer.params, &issuer.key);
        let der = params
            .signed_by(&ca.key, &issuer)
            .expect("is issued")
            .der()
            .to_vec();
        Made {
            certificate: Certificate::from_der(der).expect("is a certificate"),
            key: KeyPair::generate().expect("can be made"),
            params,
        }
    };
    let crossed = again(&other, &as_is);
    let over = again(&root, &|params| params.not_after = NOW - Duration::hours(1));
    for alias in [&crossed, &over] {
        check(&[&leaf, alias, &ca], &leaf, &[&root], arranged);
        check(&[&leaf, &ca, alias], &leaf, &[&root], arranged);
    }
    // Any number of them ends in time.
    let many: Vec<_> = (0..20).map(|_| again(&ca, &as_is)).collect();
    let many: Vec<_> = std::iter::once(&leaf).chain(&many).collect();
    check(
        &many,
        &leaf,
        &[&root],
        "error: is not signed by the root, but by \"CN=ca\"; \
         warning: comes with the root, which agents have already",
    );
    check(
        &[&leaf, &ca],
        &ca,
        &[&root],
        "error: is not the first one of its file, where the relay looks for it",
    );
    check(
        &[&leaf, &ca],
        &other,
        &[&root],
        "error: does not belong to its key",
    );
    check(
        &[&leaf, &ca],
        &leaf,
        &[&other],
        "error: is not signed by the root, but by \"CN=root\"",
    );
    check(
        &[&leaf],
        &leaf,
        &[&root],
        "error: is not signed by the root, but by \"CN=ca\"",
    );
    check(
        &[&leaf, &ca],
        &leaf,
        &[&namesake],
        "error: is not signed by the root, but by another one of the same name",
    );
}

#[test]
fn a_strangers_key_is_found() {
    // By its name it is the issuer, and not by the identifier of its key.
    let mut strange = make("root", None, true, &as_is);
    strange.params.key_identifier_method = KeyIdMethod::PreSpecified(vec![1, 2, 3]);
    let leaf = make("leaf", Some(&strange), false, &as_is);
    let chain = Chain::new(leaf.certificate, Vec::new());
    let purpose = Purpose::Server { host: HOST };
    let found = of_chain(&chain, None, Some(&[strange.certificate]), purpose, NOW);
    assert_eq!(
        all(&found),
        "warning: names another key than that of \"CN=root\": OpenSSL refuses it"
    );
}
