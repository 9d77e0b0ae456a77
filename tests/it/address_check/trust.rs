//! Whether `--check` and the agents, which are written in Go, agree about a server.

use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_RSA_SHA256, RsaKeySize, SerialNumber, date_time_ymd,
};
use relay_tests::{
    Shell,
    authority::{Authority, Identity},
    relay::RelayServer,
};

use super::{Site, results};

/// The page's bash, of the creation of certificates.
const PAGE: &str = include_str!("../certs/page.sh");

/// A site and an agent, to which servers are shown.
struct Panel {
    site: Site,
    agent: Identity,
}

impl Panel {
    fn new() -> Self {
        let (site, agents) = (Site::new(), Authority::new("agents"));
        site.shell.write("agents.pem", agents.ca_pem());
        let agent = agents.client("east", &[]);
        Self { site, agent }
    }

    /// Starts a server with a chain, dials it as an agent that trusts a root does, and
    /// checks it. Both have to come to the verdict, and the check to results other than
    /// ok.
    #[track_caller]
    fn judge(&self, server: &Identity, root: &str, accepted: bool, of_note: &[&str]) {
        self.judge_at(RelayServer::start, server, root, accepted, of_note);
    }

    #[track_caller]
    fn judge_at(
        &self,
        start: fn(&Shell, &Path, Option<&Path>) -> RelayServer,
        server: &Identity,
        root: &str,
        accepted: bool,
        of_note: &[&str],
    ) {
        let shell = &self.site.shell;
        for (directory, identity) in [("judged", server), ("agent", &self.agent)] {
            shell.write(&format!("{directory}/tls.crt"), &identity.certificate_pem);
            shell.write(&format!("{directory}/tls.key"), &identity.key_pem);
            shell.write(&format!("{directory}/ca.crt"), root);
        }
        let home = shell.home();
        let running = start(shell, &home.join("judged"), Some(&home.join("agents.pem")));
        let host = self.site.host();
        let dial = [
            "dial",
            "--tls",
            "agent",
            "--addr",
            &running.address,
            "--authority",
            &host,
        ];
        let dialled = shell.relay(&dial);
        dialled.exits(i32::from(!accepted));

        self.site.expose_server(&running);
        let checked = self.site.check(&["--ca-file", "judged/ca.crt", "-o", "json"]);
        let results = results(&checked);
        let got: Vec<_> = results.iter().filter(|result| !result.ends_with(" ok")).collect();
        assert_eq!(got, of_note, "{dialled}\n{checked}");
        let due = of_note.contains(&"expiry due");
        checked.exits(match (accepted, due) {
            (false, _) => 3,
            (true, true) => 4,
            (true, false) => 0,
        });
    }
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a P-256 key can be made")
}

/// A server's identity with the authorities above it, the nearest first.
fn with(server: &Identity, above: &[&Authority]) -> Identity {
    let above: String = above.iter().map(|authority| authority.ca_pem()).collect();
    Identity {
        certificate_pem: format!("{}{above}", server.certificate_pem),
        key_pem: server.key_pem.clone(),
    }
}

fn length(length: u8) -> impl Fn(&mut CertificateParams) {
    move |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length))
}

#[test]
fn go_and_check_agree_about_servers_certificates() {
    let panel = Panel::new();
    let root = &panel.site.root;
    let host = panel.site.host();
    let wildcard = format!("*.{}", panel.site.namespace);
    #[track_caller]
    fn check(panel: &Panel, server: &Identity, accepted: bool, of_note: &[&str]) {
        panel.judge(server, &panel.site.root.ca_pem(), accepted, of_note);
    }
    let tweaked = |tweak: &dyn Fn(&mut CertificateParams)| root.server_with(&[&host], &key(), tweak);

    // Names.
    check(&panel, &root.server(&[&host]), true, &[]);
    check(&panel, &root.server(&[&wildcard]), true, &["name warning"]);
    check(&panel, &root.server(&["other.mesh", &host]), true, &[]);
    check(&panel, &root.server(&["other.mesh"]), false, &["name failed"]);
    check(
        &panel,
        &root.server(&[&format!("a.{host}")]),
        false,
        &["name failed"],
    );
    check(&panel, &root.server(&[]), false, &["name failed"]);

    // Dates.
    check(&panel, &root.expired_server(&[&host]), false, &["expiry failed"]);
    let early = |params: &mut CertificateParams| params.not_before = date_time_ymd(2048, 1, 1);
    check(&panel, &tweaked(&early), false, &["expiry failed"]);

    // Keys.
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("can be made");
    check(&panel, &root.server_with(&[&host], &rsa, |_| {}), true, &[]);
    for algorithm in [&rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).expect("can be made");
        check(&panel, &root.server_with(&[&host], &key, |_| {}), true, &[]);
    }

    // What only others refuse.
    let zero = |params: &mut CertificateParams| params.serial_number = Some(SerialNumber::from(0));
    check(&panel, &tweaked(&zero), true, &["cert warning"]);
    let bare = |params: &mut CertificateParams| params.use_authority_key_identifier_extension = false;
    check(&panel, &tweaked(&bare), true, &["cert warning"]);
    let authority = |params: &mut CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    check(&panel, &tweaked(&authority), true, &["cert warning"]);

    // What it is for.
    let client = |params: &mut CertificateParams| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    };
    check(&panel, &tweaked(&client), false, &["cert failed"]);
    let anything = |params: &mut CertificateParams| params.extended_key_usages.clear();
    check(&panel, &tweaked(&anything), true, &[]);
    let critical = |params: &mut CertificateParams| {
        let mut extension = CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 99999, 1], vec![5, 0]);
        extension.set_criticality(true);
        params.custom_extensions = vec![extension];
    };
    check(&panel, &tweaked(&critical), false, &["cert failed"]);
}

#[test]
fn go_and_check_agree_about_the_way_to_the_root() {
    let panel = Panel::new();
    let host = panel.site.host();
    let check = |server: &Identity, root: &Authority, accepted: bool, of_note: &[&str]| {
        panel.judge(server, &root.ca_pem(), accepted, of_note);
    };
    let root = Authority::new("root");
    let ca = root.intermediate("ca", |_| {});
    let server = ca.server(&[&host]);
    check(&with(&server, &[&ca]), &root, true, &[]);
    check(&server, &root, false, &["trust failed"]);
    check(&server, &ca, true, &[]);
    check(&with(&server, &[&ca, &root]), &root, true, &[]);
    check(&with(&server, &[&ca, &root]), &ca, true, &[]);
    check(
        &with(&server, &[&ca]),
        &Authority::new("foreign"),
        false,
        &["trust failed"],
    );
    check(
        &with(&server, &[&ca]),
        &Authority::new("root"),
        false,
        &["trust failed"],
    );

    // Authorities: the page's has no path length, and another may have one.
    check(&root.server(&[&host]), &root, true, &[]);
    let narrow = Authority::with("narrow", length(0));
    check(&narrow.server(&[&host]), &narrow, true, &[]);
    let below = narrow.intermediate("below", |_| {});
    check(
        &with(&below.server(&[&host]), &[&below]),
        &narrow,
        false,
        &["trust failed"],
    );
    let no_ca = root.intermediate("no ca", |params| params.is_ca = IsCa::ExplicitNoCa);
    check(
        &with(&no_ca.server(&[&host]), &[&no_ca]),
        &root,
        false,
        &["trust failed"],
    );
    let crl = root.intermediate("crl", |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    check(
        &with(&crl.server(&[&host]), &[&crl]),
        &root,
        false,
        &["trust failed"],
    );
    let clients = root.intermediate("clients", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    check(
        &with(&clients.server(&[&host]), &[&clients]),
        &root,
        false,
        &["trust failed"],
    );

    // Dates above the server's.
    let ended = |params: &mut CertificateParams| params.not_after = date_time_ymd(2024, 2, 1);
    let old = Authority::with("old", ended);
    check(&old.server(&[&host]), &old, false, &["trust failed"]);
    let lapsed = root.intermediate("lapsed", ended);
    check(
        &with(&lapsed.server(&[&host]), &[&lapsed]),
        &root,
        false,
        &["trust failed"],
    );
    // What is on no way up is looked at by nobody.
    check(&with(&root.server(&[&host]), &[&lapsed]), &root, true, &[]);

    // One authority that two have issued: one way up is enough, whichever is shown first.
    let foreign = Authority::new("foreign");
    let crossed = foreign.again(&ca, |_| {});
    let over = root.again(&ca, ended);
    for alias in [&crossed, &over] {
        for above in [[alias, &ca.ca_pem()], [&ca.ca_pem(), alias]] {
            let chain = Identity {
                certificate_pem: format!("{}{}", server.certificate_pem, above.map(String::as_str).concat()),
                key_pem: server.key_pem.clone(),
            };
            check(&chain, &root, true, &[]);
        }
    }

    // A server that is trusted by itself.
    let own = Authority::with("own", |params| params.subject_alt_names = names(&host));
    let itself = Identity {
        certificate_pem: own.ca_pem(),
        key_pem: own.key_pem(),
    };
    check(&itself, &own, true, &["cert warning"]);
}

/// Go's server ends the handshake of a client without a certificate here, and no agent's.
#[test]
fn go_and_check_agree_about_servers_that_speak_tls_1_2_at_most() {
    let panel = Panel::new();
    let root = &panel.site.root;
    let host = panel.site.host();
    let check = |server: &Identity, root: &Authority, accepted: bool, of_note: &[&str]| {
        panel.judge_at(
            RelayServer::start_tls12,
            server,
            &root.ca_pem(),
            accepted,
            of_note,
        );
    };
    check(&root.server(&[&host]), root, true, &[]);
    let rsa = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).expect("can be made");
    check(&root.server_with(&[&host], &rsa, |_| {}), root, true, &[]);
    let wildcard = format!("*.{}", panel.site.namespace);
    check(&root.server(&[&wildcard]), root, true, &["name warning"]);
    check(&root.server(&["other.mesh"]), root, false, &["name failed"]);
    check(&root.expired_server(&[&host]), root, false, &["expiry failed"]);
    let foreign = Authority::new("foreign");
    check(&root.server(&[&host]), &foreign, false, &["trust failed"]);
    let ca = root.intermediate("ca", |_| {});
    check(&with(&ca.server(&[&host]), &[&ca]), root, true, &[]);
}

fn names(host: &str) -> Vec<rcgen::SanType> {
    let name = host.to_owned().try_into().expect("is ASCII");
    vec![rcgen::SanType::DnsName(name)]
}

#[test]
fn the_pages_own_certificates_pass_with_warnings() {
    let panel = Panel::new();
    let shell = &panel.site.shell;
    let script = PAGE.replace("gloo-mesh", &panel.site.namespace);
    let (certificates, _) = script
        .split_once("MGMT_CLUSTER=")
        .expect("the page goes on with the clusters");
    shell.write("page/script", certificates);
    shell.run("sh", &["-euc", "cd page && sh -eu ./script"]).success();
    let read = |name: &str| std::fs::read_to_string(shell.home().join("page").join(name)).expect("is there");
    let server = Identity {
        certificate_pem: read("relay-server-tls.crt"),
        key_pem: read("relay-server-tls.key"),
    };
    panel.judge(
        &server,
        &read("relay-root.crt"),
        true,
        &["cert warning", "name warning"],
    );
    // Version 1 says nothing about authorities, and roots of it are still around.
    let old = "cd page && openssl req -new -key relay-root.key -subj /CN=old/O=relay-root -out old.csr && openssl \
               x509 -req -in old.csr -signkey relay-root.key -days 30 -out old.crt && openssl x509 -req -days 20 \
               -CA old.crt -CAkey relay-root.key -set_serial 7 -in relay-server-tls.csr -out old-server.crt \
               -extensions v3_req -extfile relay-server-tls.conf";
    shell.run("sh", &["-euc", old]).success();
    let server = Identity {
        certificate_pem: read("old-server.crt"),
        ..server
    };
    panel.judge(
        &server,
        &read("old.crt"),
        true,
        &["cert warning", "name warning", "expiry due"],
    );
}
