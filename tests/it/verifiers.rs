//! The certificates that are issued: whether they are as asked for, and whether
//! others accept them.

use std::{
    collections::BTreeMap,
    fs,
    ops::RangeInclusive,
    time::{SystemTime, UNIX_EPOCH},
};

use relay_tests::{
    fixtures,
    relay::{self, RelayServer},
};
use rustls_pki_types::CertificateDer;

use crate::certs::{Mesh, words};

mod judge;
mod own;

use judge::Judge;

/// The page's 3650 days, and five minutes, in seconds.
const LIFETIME: u64 = 3650 * 86_400;
const BACKDATED: u64 = 300;

/// The services that agents of either generation dial.
const SERVICES: [&str; 2] = ["enterprise-networking", "gloo-mesh-mgmt-server"];

/// The certificates of a management cluster's secrets, mounted into the home
/// directory, each beside its key.
struct Issued<'a> {
    mesh: &'a Mesh,
    root: String,
    server: String,
    signing: String,
}

impl<'a> Issued<'a> {
    #[track_caller]
    fn read(mesh: &'a Mesh, context: &str) -> Self {
        Self {
            mesh,
            root: mount(mesh, context, "relay-root-tls-secret") + "/ca.crt",
            server: mount(mesh, context, "relay-server-tls-secret") + "/tls.crt",
            signing: mount(mesh, context, "relay-tls-signing-secret") + "/tls.crt",
        }
    }

    /// Who judges what agents are to trust by the root.
    fn judge(&self) -> Judge<'_> {
        Judge {
            mesh: self.mesh,
            root: &self.root,
        }
    }

    /// Asserts that everybody accepts the server by all its names, and the signing
    /// certificate.
    #[track_caller]
    fn assert_accepted(&self, names: &[String]) {
        let judge = self.judge();
        judge.accepts_server(&self.server, names);
        judge.accepts_authority(&self.root);
        judge.accepts_authority(&self.signing);
    }

    /// Asserts that the linter has nothing to say.
    #[track_caller]
    fn assert_clean(&self) {
        for certificate in self.certificates() {
            assert_eq!(self.judge().lint(certificate), [""; 0], "{certificate}");
        }
    }

    fn certificates(&self) -> [&str; 3] {
        [&self.root, &self.server, &self.signing]
    }

    /// What `openssl x509` says of a certificate.
    #[track_caller]
    fn x509(&self, what: &str, certificate: &str) -> String {
        let shown = self
            .mesh
            .openssl(&format!("x509 -noout {what} -in {certificate}"));
        shown.success().stdout.trim_end().to_owned()
    }

    fn subject(&self, certificate: &str) -> String {
        let subject = self.x509("-subject -nameopt RFC2253", certificate);
        subject.replace("subject=", "")
    }

    /// The extensions of a certificate by name, as OpenSSL shows them.
    fn extensions(&self, certificate: &str) -> BTreeMap<String, String> {
        let rest = "no_header,no_version,no_serial,no_signame,no_validity,no_subject,no_issuer,no_pubkey";
        let text = self.x509(&format!("-text -certopt {rest},no_sigdump,no_aux"), certificate);
        let mut extensions: Vec<(String, String)> = Vec::new();
        for line in text.lines().skip(1) {
            // A value is indented deeper than its name.
            match (line.strip_prefix(&" ".repeat(16)), extensions.last_mut()) {
                (Some(value), Some((_, values))) => *values = format!("{values} {value}").trim().to_owned(),
                _ => {
                    let (name, critical) = line.split_once(':').expect("NAME: critical");
                    let name = name.trim().trim_start_matches("X509v3 ");
                    extensions.push((name.to_owned(), critical.trim().to_owned()));
                }
            }
        }
        extensions.into_iter().collect()
    }

    fn key_identifier(&self, certificate: &str) -> String {
        self.extensions(certificate)["Subject Key Identifier"].clone()
    }

    /// Asserts that a certificate has these extensions and an identifier of its key.
    #[track_caller]
    fn assert_extensions(&self, certificate: &str, wanted: &[(&str, &str)]) {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut wanted: BTreeMap<_, _> = wanted.iter().map(owned).collect();
        wanted.insert(
            "Subject Key Identifier".to_owned(),
            self.key_identifier(certificate),
        );
        assert_eq!(self.extensions(certificate), wanted, "{certificate}");
    }
}

/// Mounts a secret, and returns the directory's name.
#[track_caller]
fn mount(mesh: &Mesh, context: &str, secret: &str) -> String {
    let directory = relay::mount(&mesh.shell, context, &mesh.namespace, secret);
    let name = directory.file_name().expect("it has a name");
    name.to_string_lossy().into_owned()
}

/// Every name agents may call the server by, of which all verifiers accept all.
fn exact_names(services: &[&str], namespace: &str) -> Vec<String> {
    let forms = |service: &&str| {
        ["", ".NS", ".NS.svc", ".NS.svc.cluster.local"]
            .map(|suffix| format!("{service}{}", suffix.replace("NS", namespace)))
    };
    services.iter().flat_map(forms).collect()
}

/// Those and the page's wildcard, as OpenSSL shows them.
fn all_names(services: &[&str], namespace: &str) -> String {
    let exact: String = exact_names(services, namespace)
        .into_iter()
        .map(|name| format!("DNS:{name}, "))
        .collect();
    format!("{exact}DNS:*.{namespace}")
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.expect("it is after 1970").as_secs()
}

fn ders(mesh: &Mesh, file: &str) -> Vec<CertificateDer<'static>> {
    let blocks = pem::parse_many(fs::read(mesh.path(file)).expect("can be read")).expect("is PEM");
    let ders = blocks.into_iter().map(|block| block.into_contents().into());
    ders.collect()
}

#[test]
fn certificates_are_as_asked_for_and_every_verifier_accepts_them() {
    let mesh = Mesh::new();
    let start = now();
    mesh.init("--remote-context east").success();
    let made = start..=now();
    let issued = Issued::read(&mesh, "mgmt");
    assert_names_and_extensions(&issued);
    assert_keys_and_serial_numbers(&issued);
    assert_validity(&issued, &made);
    issued.assert_accepted(&exact_names(&SERVICES, &mesh.namespace));
    issued.assert_clean();
    // The page's wildcard is not lost: Go takes it.
    let by_go = |name: &str| issued.judge().go(&issued.server, &format!("--name {name}"));
    by_go(&format!("anything.{}", mesh.namespace)).success();
    by_go(&format!("a.b.{}", mesh.namespace))
        .exits(1)
        .complains("certificate is valid for");
}

#[track_caller]
fn assert_names_and_extensions(issued: &Issued<'_>) {
    let namespace = &issued.mesh.namespace;
    let root = format!("O=relay-root,CN=relay-root.{namespace}");
    let server = format!("O=relay-server-tls,CN=enterprise-networking.{namespace}");
    let signing = format!("O=relay-tls-signing,CN=relay-tls-signing.{namespace}");
    for (certificate, subject) in issued.certificates().into_iter().zip([&root, &server, &signing]) {
        assert_eq!(issued.subject(certificate), *subject);
        assert_eq!(
            issued.x509("-issuer -nameopt RFC2253", certificate),
            format!("issuer={root}")
        );
    }

    let authority = issued.key_identifier(&issued.root);
    let both = "TLS Web Server Authentication, TLS Web Client Authentication";
    issued.assert_extensions(
        &issued.root,
        &[
            ("Basic Constraints", "critical CA:TRUE, pathlen:1"),
            ("Key Usage", "critical Certificate Sign, CRL Sign"),
        ],
    );
    issued.assert_extensions(
        &issued.server,
        &[
            ("Authority Key Identifier", &authority),
            ("Basic Constraints", "critical CA:FALSE"),
            ("Extended Key Usage", both),
            ("Key Usage", "critical Digital Signature, Key Encipherment"),
            ("Subject Alternative Name", &all_names(&SERVICES, namespace)),
        ],
    );
    issued.assert_extensions(
        &issued.signing,
        &[
            ("Authority Key Identifier", &authority),
            ("Basic Constraints", "critical CA:TRUE, pathlen:0"),
            ("Extended Key Usage", both),
            (
                "Key Usage",
                "critical Digital Signature, Certificate Sign, CRL Sign",
            ),
        ],
    );
}

#[track_caller]
fn assert_keys_and_serial_numbers(issued: &Issued<'_>) {
    let root_key = "relay-pki/relay-root.key".to_owned();
    let [server_key, signing_key] = [&issued.server, &issued.signing].map(|crt| crt.replace(".crt", ".key"));
    let keys = [(root_key, 4096), (server_key, 2048), (signing_key, 2048)];
    let mut serials = Vec::new();
    for (certificate, (key, bits)) in issued.certificates().into_iter().zip(keys) {
        let text = issued.x509("-text", certificate);
        let size = format!("Public-Key: ({bits} bit)");
        for wanted in ["Version: 3 (0x2)", "Public Key Algorithm: rsaEncryption", &size] {
            assert!(text.contains(wanted), "no {wanted:?} in {text}");
        }
        // Once in what is signed, once beside the signature.
        let algorithm = "Signature Algorithm: sha256WithRSAEncryption\n";
        assert_eq!(text.matches(algorithm).count(), 2, "{text}");
        let public = issued.mesh.openssl(&format!("pkey -pubout -in {key}"));
        assert_eq!(
            issued.x509("-pubkey", certificate),
            public.success().stdout.trim_end()
        );

        let serial = issued.x509("-serial", certificate).replace("serial=", "");
        let digits: Vec<_> = serial.chars().filter_map(|digit| digit.to_digit(16)).collect();
        // 16 bytes, of which the first is not 0 and leaves the sign alone.
        assert_eq!((serial.len(), digits.len()), (32, 32), "{serial}");
        assert!(digits[0] < 8 && digits[..2] != [0, 0], "{serial}");
        assert!(!serials.contains(&serial), "{serials:?}");
        serials.push(serial);
    }
}

/// Asserts that certificates that were made then are valid from five minutes
/// before until 3650 days after.
#[track_caller]
fn assert_validity(issued: &Issued<'_>, made: &RangeInclusive<u64>) {
    for certificate in issued.certificates() {
        let at = |time: u64| {
            // Trusted by itself, so that only its own dates count.
            let verify = format!("verify -partial_chain -attime {time} -trusted");
            issued
                .mesh
                .openssl(&format!("{verify} {certificate} {certificate}"))
        };
        at(made.start() - BACKDATED - 1)
            .exits(2)
            .complains("not yet valid");
        at(made.end() - BACKDATED).success();
        // OpenSSL counts the last second as over.
        at(made.start() + LIFETIME - 1).success();
        at(made.end() + LIFETIME).exits(2).complains("expired");
    }
}

#[test]
fn nothing_outlives_its_issuer() {
    let mesh = Mesh::new();
    fs::create_dir(mesh.path("relay-pki")).expect("is new");
    let root = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30 -subj /CN=short \
                -addext keyUsage=critical,keyCertSign,cRLSign \
                -keyout relay-pki/relay-root.key -out relay-pki/relay-root.crt";
    mesh.openssl(root).success();
    mesh.init("").success();
    let issued = Issued::read(&mesh, "mgmt");
    let ends = issued
        .certificates()
        .map(|certificate| issued.x509("-enddate", certificate));
    assert!(ends[1] == ends[0] && ends[2] == ends[0], "{ends:?}");
    issued.assert_accepted(&exact_names(&SERVICES, &mesh.namespace));
}

#[test]
fn an_agent_that_the_signing_secret_made_passes_mutual_tls() {
    let mesh = Mesh::new();
    mesh.init("--remote-context east").success();
    // Of the same names, and of other keys.
    mesh.init("--context west --pki-dir foreign").success();
    let (ours, foreign) = (Issued::read(&mesh, "mgmt"), Issued::read(&mesh, "west"));
    assert_eq!(ours.subject(&ours.root), foreign.subject(&foreign.root));
    let trusted = mount(&mesh, "east", "relay-root-tls-secret") + "/ca.crt";

    let directory = mesh.path(ours.server.replace("/tls.crt", ""));
    let mut server = RelayServer::start(&mesh.shell, &directory, None);
    let address = server.address.clone();
    let agent = |name: &str, signing: &str, root: &str| {
        let key = signing.replace(".crt", ".key");
        let issue = format!("issue --ca-cert {signing} --ca-key {key} --root {root}");
        let issue = format!("{issue} --cluster {name} --out {name}");
        mesh.shell.relay(&words(&issue)).success();
    };
    let dial = |agent: &str, authority: &str| {
        let dial = format!("dial --tls {agent} --addr {address} --authority {authority}");
        mesh.shell.relay(&words(&dial))
    };
    let authority = format!("enterprise-networking.{}", mesh.namespace);

    agent("east", &ours.signing, &trusted);
    for name in exact_names(&SERVICES, &mesh.namespace) {
        dial("east", &name).success().prints("SERVING");
        assert_eq!(server.agent(), "[east]", "{name}");
    }
    dial("east", "enterprise-networking.elsewhere")
        .exits(1)
        .complains("certificate is valid for");
    let chain = ders(&mesh, "east/tls.crt");
    assert_eq!(chain.len(), 2);
    ours.judge().accepts_client("east/tls.crt");

    agent("intruder", &foreign.signing, &trusted);
    dial("intruder", &authority)
        .exits(1)
        .complains("remote error: tls: ");
    agent("misled", &ours.signing, &foreign.root);
    dial("misled", &authority)
        .exits(1)
        .complains("x509: certificate signed by unknown authority");
}

#[test]
fn names_follow_the_namespace_and_the_service() {
    let mut mesh = Mesh::new();
    // Too long for the 64 characters of any of the three common names.
    mesh.namespace = format!("{:x<63}", mesh.namespace);
    mesh.init("--pki-dir long").success();
    let issued = Issued::read(&mesh, "mgmt");
    let subjects = issued
        .certificates()
        .map(|certificate| issued.subject(certificate));
    assert_eq!(
        subjects,
        [
            "O=relay-root,CN=relay-root",
            "O=relay-server-tls,CN=enterprise-networking",
            "O=relay-tls-signing,CN=relay-tls-signing",
        ]
    );
    assert_server_names(&issued, &SERVICES);

    let mut check = |existing: &[&str], flags: &str, services: &[&str]| {
        mesh.namespace = fixtures::fresh_namespace(&mesh.shell, &["mgmt"]);
        for name in existing {
            let mut service = fixtures::relay_service(&mesh.namespace, "ClusterIP");
            service["metadata"]["name"] = (*name).into();
            mesh.shell.apply("mgmt", &service);
        }
        let directory = format!("--pki-dir {}", mesh.namespace);
        mesh.init(&format!("{directory} {flags}")).success();
        let issued = Issued::read(&mesh, "mgmt");
        let subject = format!("O=relay-server-tls,CN={}.{}", services[0], mesh.namespace);
        assert_eq!(issued.subject(&issued.server), subject);
        assert_server_names(&issued, services);
    };
    let [first, second] = SERVICES;
    check(&[second], "", &[second, first]);
    check(&[second, first], "", &[first, second]);
    check(&[second], "--service relay", &["relay", first, second]);
}

#[track_caller]
fn assert_server_names(issued: &Issued<'_>, services: &[&str]) {
    let namespace = &issued.mesh.namespace;
    let shown = &issued.extensions(&issued.server)["Subject Alternative Name"];
    assert_eq!(*shown, all_names(services, namespace));
    issued.assert_accepted(&exact_names(services, namespace));
}
