//! The certificates of `init`, as OpenSSL, Go and rustls-webpki see them.

use std::{fs, path::Path};

use relay_tests::{
    ControlPlane, Shell, fixtures,
    relay::{self, RelayServer},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use crate::certs::{init, shell_and_namespace};

fn openssl(shell: &Shell, arguments: &[&str]) -> String {
    shell.run("openssl", arguments).success().stdout.clone()
}

/// The text of a certificate, without line breaks and repeated spaces.
fn text(shell: &Shell, certificate: &Path) -> String {
    let path = certificate.to_string_lossy();
    let text = openssl(shell, &["x509", "-noout", "-text", "-in", &path]);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Every name agents may call the server by, of which all verifiers accept all.
fn exact_names(services: &[&str], namespace: &str) -> Vec<String> {
    let forms = |service: &&str| {
        ["", ".NS", ".NS.svc", ".NS.svc.cluster.local"]
            .map(|suffix| format!("{service}{}", suffix.replace("NS", namespace)))
    };
    services.iter().flat_map(forms).collect()
}

fn der(path: &Path) -> CertificateDer<'static> {
    let pem = pem::parse(fs::read(path).expect("can be read")).expect("is PEM");
    pem.into_contents().into()
}

#[track_caller]
fn webpki_accepts(certificate: &Path, root: &Path, names: &[String]) {
    let (certificate, root) = (der(certificate), der(root));
    let anchors = [webpki::anchor_from_trusted_cert(&root).expect("is a root")];
    let end_entity = webpki::EndEntityCert::try_from(&certificate).expect("is a certificate");
    let usage = webpki::KeyUsage::server_auth();
    let path = end_entity.verify_for_usage(
        webpki::ALL_VERIFICATION_ALGS,
        &anchors,
        &[],
        UnixTime::now(),
        usage,
        None,
        None,
    );
    path.map(|_| ()).expect("chains up to the root");
    for name in names {
        let server_name = ServerName::try_from(name.as_str()).expect("is a name");
        end_entity
            .verify_is_valid_for_subject_name(&server_name)
            .unwrap_or_else(|err| panic!("{name}: {err}"));
    }
}

#[test]
fn everyone_elses_verifier_accepts_what_is_in_the_clusters() {
    let (shell, namespace) = shell_and_namespace();
    init(&shell, &namespace, &["east"], &[]).success();
    let mount = |context, secret| relay::mount(&shell, context, &namespace, secret);
    let server = mount("mgmt", "relay-server-tls-secret");
    let signing = mount("mgmt", "relay-tls-signing-secret");
    let root = mount("east", "relay-root-tls-secret").join("ca.crt");
    let (server_crt, signing_crt) = (server.join("tls.crt"), signing.join("tls.crt"));
    let ca = root.to_string_lossy().into_owned();

    let names = exact_names(&["enterprise-networking", "gloo-mesh-mgmt-server"], &namespace);
    let strict = |certificate: &Path, more: &[&str]| {
        let certificate = certificate.to_string_lossy().into_owned();
        let verify = ["verify", "-x509_strict", "-check_ss_sig", "-CAfile", &ca];
        openssl(&shell, &[&verify[..], more, &[certificate.as_str()]].concat());
    };
    for name in &names {
        strict(&server_crt, &["-purpose", "sslserver", "-verify_hostname", name]);
        let certificate = server_crt.to_string_lossy();
        shell
            .relay(&["verify", "--ca", &ca, "--cert", &certificate, "--name", name])
            .success();
    }
    strict(&signing_crt, &[]);
    strict(&root, &[]);
    webpki_accepts(&server_crt, &root, &names);

    // What the page asks for, and what its certificates lack.
    let (root_text, server_text, signing_text) = (
        text(&shell, &root),
        text(&shell, &server_crt),
        text(&shell, &signing_crt),
    );
    let san = |text: &str| text.contains("Subject Alternative Name");
    for (text, wanted) in [
        (&root_text, "Public-Key: (4096 bit)"),
        (
            &root_text,
            "X509v3 Basic Constraints: critical CA:TRUE, pathlen:1",
        ),
        (
            &root_text,
            "X509v3 Key Usage: critical Certificate Sign, CRL Sign",
        ),
        (
            &root_text,
            &format!("Subject: CN = relay-root.{namespace}, O = relay-root"),
        ),
        (&server_text, "Public-Key: (2048 bit)"),
        (&server_text, "X509v3 Basic Constraints: critical CA:FALSE"),
        (
            &server_text,
            "X509v3 Key Usage: critical Digital Signature, Key Encipherment",
        ),
        (
            &server_text,
            "TLS Web Server Authentication, TLS Web Client Authentication",
        ),
        (
            &server_text,
            &format!("Subject: CN = enterprise-networking.{namespace}, O = relay-server-tls"),
        ),
        (&signing_text, "Public-Key: (2048 bit)"),
        (
            &signing_text,
            "X509v3 Basic Constraints: critical CA:TRUE, pathlen:0",
        ),
        (
            &signing_text,
            "X509v3 Key Usage: critical Digital Signature, Certificate Sign, CRL Sign",
        ),
        (
            &signing_text,
            "TLS Web Server Authentication, TLS Web Client Authentication",
        ),
        (
            &signing_text,
            &format!("Subject: CN = relay-tls-signing.{namespace}, O = relay-tls-signing"),
        ),
    ] {
        assert!(text.contains(wanted), "no {wanted:?} in {text}");
    }
    assert!(!san(&root_text) && !san(&signing_text) && !root_text.contains("Extended Key Usage"));
    let mut all = names.clone();
    all.push(format!("*.{namespace}"));
    let all: Vec<_> = all.iter().map(|name| format!("DNS:{name}")).collect();
    let wanted = format!("X509v3 Subject Alternative Name: {} X509v3", all.join(", "));
    assert!(server_text.contains(&wanted), "no {wanted:?} in {server_text}");

    let mut serials = Vec::new();
    for (certificate, text) in [
        (&root, &root_text),
        (&server_crt, &server_text),
        (&signing_crt, &signing_text),
    ] {
        assert!(
            text.contains("Signature Algorithm: sha256WithRSAEncryption"),
            "{text}"
        );
        assert!(text.contains("Subject Key Identifier"), "{text}");
        assert_eq!(
            text.contains("Authority Key Identifier"),
            certificate != &root,
            "{text}"
        );
        let path = certificate.to_string_lossy();
        let serial = openssl(&shell, &["x509", "-noout", "-serial", "-in", &path]);
        let serial = serial.trim().trim_start_matches("serial=").to_owned();
        assert_eq!(serial.len(), 32, "{serial}");
        assert!(!serials.contains(&serial), "{serials:?}");
        serials.push(serial);
        // Valid for 3650 days from now, to within this test's run; and since five minutes ago.
        let until = |seconds: u64| {
            shell.run(
                "openssl",
                &["x509", "-noout", "-checkend", &seconds.to_string(), "-in", &path],
            )
        };
        until(3650 * 86_400 - 120).success();
        until(3650 * 86_400 + 1).exits(1);
    }
    let dates = |path: &Path, which: &str| {
        let dates = openssl(
            &shell,
            &[
                "x509",
                "-noout",
                which,
                "-dateopt",
                "iso_8601",
                "-in",
                &path.to_string_lossy(),
            ],
        );
        dates.trim().split_once('=').expect("a date").1.to_owned()
    };
    for child in [&server_crt, &signing_crt] {
        assert!(dates(child, "-enddate") <= dates(&root, "-enddate"));
    }
    let start = format!("{} now", dates(&root, "-startdate"));
    let age = shell.run(
        "sh",
        &[
            "-euc",
            "echo $(( $(date +%s) - $(date -d \"${1% now}\" +%s) ))",
            "sh",
            &start,
        ],
    );
    let age: u64 = age.success().stdout.trim().parse().expect("seconds");
    assert!((300..420).contains(&age), "backdated by {age} s");
}

#[test]
fn an_agent_that_the_signing_secret_made_passes_mutual_tls() {
    let (shell, namespace) = shell_and_namespace();
    let (foreign_shell, foreign) = shell_and_namespace();
    init(&shell, &namespace, &["east"], &[]).success();
    init(&foreign_shell, &foreign, &[], &[]).success();
    let authority = format!("enterprise-networking.{namespace}");
    let server = relay::mount(&shell, "mgmt", &namespace, "relay-server-tls-secret");
    let mut server = RelayServer::start(&shell, &server, None);
    let agent = |name: &str, signing: &str, root: &Path| {
        let signing = relay::mount(&shell, "mgmt", signing, "relay-tls-signing-secret");
        let out = shell.home().join(name);
        let path = |path: &Path| path.to_string_lossy().into_owned();
        let (crt, key) = (path(&signing.join("tls.crt")), path(&signing.join("tls.key")));
        let issue = [
            "issue",
            "--ca-cert",
            &crt,
            "--ca-key",
            &key,
            "--root",
            &path(root),
        ];
        shell
            .relay(&[&issue[..], &["--cluster", name, "--out", &path(&out)]].concat())
            .success();
        path(&out)
    };
    let root = relay::mount(&shell, "east", &namespace, "relay-root-tls-secret").join("ca.crt");
    let dial = |tls: &str, address: &str, authority: &str| {
        shell.relay(&["dial", "--tls", tls, "--addr", address, "--authority", authority])
    };

    let address = server.address.clone();
    let ours = agent("east", &namespace, &root);
    dial(&ours, &address, &authority).success().prints("SERVING");
    assert_eq!(server.agent(), "[east]");
    // The page's wildcard is not lost: Go's agents take it.
    dial(&ours, &address, &format!("anything.{namespace}")).success();
    dial(&ours, &address, "anything.elsewhere").exits(1);

    let theirs = agent("intruder", &foreign, &root);
    dial(&theirs, &address, &authority)
        .exits(1)
        .complains("certificate");
    let other_root = relay::mount(&shell, "mgmt", &foreign, "relay-root-tls-secret").join("ca.crt");
    let misled = agent("misled", &namespace, &other_root);
    dial(&misled, &address, &authority)
        .exits(1)
        .complains("unknown authority");
}

#[test]
fn names_follow_the_namespace_and_the_service() {
    let shell = Shell::on(ControlPlane::shared());
    let subject = |namespace: &str| {
        let server = relay::mount(&shell, "mgmt", namespace, "relay-server-tls-secret").join("tls.crt");
        let root = relay::mount(&shell, "mgmt", namespace, "relay-root-tls-secret").join("ca.crt");
        let host = |name: &str| webpki_accepts(&server, &root, &[format!("{name}.{namespace}")]);
        host("gloo-mesh-mgmt-server");
        let subject = openssl(
            &shell,
            &["x509", "-noout", "-subject", "-in", &server.to_string_lossy()],
        );
        subject.trim().to_owned()
    };
    let init = |namespace: &str, more: &[&str]| {
        let directory = format!("pki-{namespace}");
        init(
            &shell,
            namespace,
            &[],
            &[&["--pki-dir", &directory], more].concat(),
        )
        .success();
    };

    // A name longer than the 64 characters of a common name is cut to the service's.
    let long = format!("{:x<43}", fixtures::fresh_namespace(&shell, &[]));
    init(&long, &[]);
    assert_eq!(
        subject(&long),
        "subject=CN = enterprise-networking, O = relay-server-tls"
    );

    let second = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let mut service = fixtures::relay_service(&second, "ClusterIP");
    service["metadata"]["name"] = "gloo-mesh-mgmt-server".into();
    shell.apply("mgmt", &service);
    init(&second, &[]);
    assert_eq!(
        subject(&second),
        format!("subject=CN = gloo-mesh-mgmt-server.{second}, O = relay-server-tls")
    );

    let named = fixtures::fresh_namespace(&shell, &[]);
    init(&named, &["--service", "relay"]);
    assert_eq!(
        subject(&named),
        format!("subject=CN = relay.{named}, O = relay-server-tls")
    );
    let server = relay::mount(&shell, "mgmt", &named, "relay-server-tls-secret").join("tls.crt");
    let root = relay::mount(&shell, "mgmt", &named, "relay-root-tls-secret").join("ca.crt");
    webpki_accepts(&server, &root, &exact_names(&["relay"], &named));
}
