//! Everybody else's verdict: OpenSSL's, Go's, rustls-webpki's, Python's and that of
//! zlint.

use relay_tests::{
    Transcript, binaries,
    binaries::{Tool, workspace},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde_json::Value;
use webpki::KeyUsage;

use super::ders;
use crate::certs::{Mesh, words};

/// What zlint checks of what is not of the web: RFCs, and what everybody learned.
const SOURCES: &str = "RFC5280,RFC3279,RFC5480,RFC5891,RFC8813,Community";

/// Judges chains that end at a root. Files are of the home directory; a file of a
/// certificate holds the intermediates above it, too.
pub(super) struct Judge<'a> {
    pub(super) mesh: &'a Mesh,
    /// The file of the root, and of nothing else.
    pub(super) root: &'a str,
}

impl Judge<'_> {
    /// Asserts that everybody accepts a server's chain by each name, and by no other.
    #[track_caller]
    pub(super) fn accepts_server(&self, chain: &str, names: &[String]) {
        self.openssl("", chain).success();
        let openssl =
            |name: &str| self.openssl(&format!("-purpose sslserver -verify_hostname {name}"), chain);
        let ders = ders(self.mesh, chain);
        let end_entity = self.webpki(&ders, KeyUsage::server_auth());
        for name in names {
            openssl(name).success();
            self.go(chain, &format!("--name {name}")).success();
            let server_name = ServerName::try_from(name.as_str()).expect("is a name");
            let verified = end_entity.verify_is_valid_for_subject_name(&server_name);
            verified.unwrap_or_else(|err| panic!("{name}: {err}"));
        }
        openssl("enterprise-networking.foreign.svc")
            .exits(2)
            .complains("hostname mismatch");
        let accepted = self.python("server", chain, names).success().stdout.clone();
        assert_eq!(
            words(&accepted),
            names.iter().map(String::as_str).collect::<Vec<_>>()
        );
        self.python("server", chain, &["enterprise-networking.foreign.svc".to_owned()])
            .exits(1);
    }

    /// Asserts that everybody accepts an agent's chain.
    #[track_caller]
    pub(super) fn accepts_client(&self, chain: &str) {
        self.openssl("-purpose sslclient", chain).success();
        self.go(chain, "--usage client").success();
        self.webpki(&ders(self.mesh, chain), KeyUsage::client_auth());
        self.python("client", chain, &[]).success();
    }

    /// Asserts that an authority is good to issue for servers and clients.
    #[track_caller]
    pub(super) fn accepts_authority(&self, chain: &str) {
        self.openssl("", chain).success();
        for usage in ["--usage server", "--usage client"] {
            self.go(chain, usage).success();
        }
    }

    /// OpenSSL's verdict on a chain, as strict as it can be.
    #[track_caller]
    pub(super) fn openssl(&self, more: &str, chain: &str) -> Transcript {
        let root = self.root;
        let strict = "verify -x509_strict -check_ss_sig";
        let trusted = format!("-CAfile {root} -untrusted {chain}");
        self.mesh.openssl(&format!("{strict} {trusted} {more} {chain}"))
    }

    /// Go's verdict on a chain.
    #[track_caller]
    pub(super) fn go(&self, chain: &str, more: &str) -> Transcript {
        let verify = format!("verify --ca {} --cert {chain} {more}", self.root);
        self.mesh.shell.relay(&words(&verify))
    }

    /// Python's verdict on a chain, which lists the names that it has accepted.
    #[track_caller]
    fn python(&self, usage: &str, chain: &str, names: &[String]) -> Transcript {
        let python = binaries::python().unwrap_or_else(|err| panic!("{err}"));
        let script = workspace().join("tests/python/verify.py");
        let script = script.to_string_lossy();
        let mut arguments = vec![&*script, usage, self.root, chain];
        arguments.extend(names.iter().map(String::as_str));
        self.mesh.shell.run(&python.to_string_lossy(), &arguments)
    }

    /// Asserts that webpki finds a path from the first certificate to the root.
    #[track_caller]
    fn webpki<'a>(&self, chain: &'a [CertificateDer<'a>], usage: KeyUsage) -> webpki::EndEntityCert<'a> {
        let root = ders(self.mesh, self.root);
        let anchors = [webpki::anchor_from_trusted_cert(&root[0]).expect("is a root")];
        let end_entity = webpki::EndEntityCert::try_from(&chain[0]).expect("is a certificate");
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let now = UnixTime::now();
        end_entity
            .verify_for_usage(algorithms, &anchors, &chain[1..], now, usage, None, None)
            .expect("chains up to the root");
        end_entity
    }

    /// What zlint warns of, or finds wrong.
    #[track_caller]
    pub(super) fn lint(&self, certificate: &str) -> Vec<String> {
        let zlint = Tool::Zlint.path().unwrap_or_else(|err| panic!("{err}"));
        let arguments = ["-includeSources", SOURCES, certificate];
        let report = self.mesh.shell.run(&zlint.to_string_lossy(), &arguments);
        let report = report.success().json();
        let lints = report.as_object().expect("a result for each lint");
        let ran = |result: &Value| *result == "pass";
        assert!(lints.values().any(|lint| ran(&lint["result"])), "{report}");
        let bad = |result: &str| ["warn", "error", "fatal"].contains(&result);
        lints
            .iter()
            .filter(|(_, lint)| bad(lint["result"].as_str().unwrap_or_default()))
            .map(|(name, _)| name.clone())
            .collect()
    }
}
