//! CAs and certificates of the user's own: what is refused, before anything is
//! written. What is accepted is with the verifiers.

use super::{Mesh, generate::offline};

/// The outside CA, played by OpenSSL: a root, and what it issues with extensions.
impl Mesh {
    #[track_caller]
    pub(crate) fn openssl_root(&self, name: &str, more: &str) {
        let common = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -days 30";
        let usage = "-addext keyUsage=critical,keyCertSign,cRLSign";
        self.openssl(&format!(
            "{common} -subj /CN={name} {usage} {more} -keyout {name}.key -out {name}.crt"
        ))
        .success();
    }

    /// Issues a certificate from another one, to a new key.
    #[track_caller]
    pub(crate) fn openssl_issue(&self, issuer: &str, name: &str, extensions: &[&str]) {
        self.openssl(&format!(
            "req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -noenc -subj /CN={name} -keyout {name}.key -out {name}.csr"
        ))
        .success();
        self.openssl_answer(issuer, &format!("{name}.csr"), &format!("{name}.crt"), extensions);
    }

    /// Answers a request.
    #[track_caller]
    pub(crate) fn openssl_answer(&self, issuer: &str, request: &str, answer: &str, extensions: &[&str]) {
        let common = "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n";
        self.shell
            .write("ext", format!("{common}{}\n", extensions.join("\n")));
        self.openssl(&format!(
            "x509 -req -days 20 -in {request} -CA {issuer}.crt -CAkey {issuer}.key -extfile ext -out {answer}"
        ))
        .success();
    }
}

const CA: &str = "basicConstraints=critical,CA:TRUE";
const SIGN: &str = "keyUsage=critical,keyCertSign,cRLSign";

#[test]
fn a_ca_that_cannot_issue_is_refused() {
    let mesh = offline();
    let check = |flags: &str, complaint: &str| {
        mesh.generate(&format!("--pki-dir pki {flags}"))
            .exits(1)
            .complains(&format!("error: {complaint}"));
        assert!(!mesh.path("pki").exists(), "{flags}");
    };
    mesh.openssl_root("root", "");
    mesh.openssl_root("other", "");
    mesh.openssl_root("narrow", "-addext basicConstraints=critical,CA:TRUE,pathlen:0");
    let bundle = |name: &str| {
        let cat = format!("cat {name}.crt root.crt >{name}.pem");
        mesh.shell.run("sh", &["-euc", &cat]).success();
    };
    mesh.openssl_issue(
        "root",
        "issuing",
        &["basicConstraints=critical,CA:TRUE,pathlen:0", SIGN],
    );
    mesh.openssl_issue("root", "servers", &[CA, SIGN, "extendedKeyUsage=serverAuth"]);
    mesh.openssl_issue(
        "root",
        "named",
        &[CA, SIGN, "nameConstraints=critical,permitted;DNS:example.com"],
    );
    mesh.openssl_issue("root", "leaf", &["basicConstraints=critical,CA:FALSE"]);
    for name in ["issuing", "servers", "named", "leaf"] {
        bundle(name);
    }

    check(
        "--ca-cert issuing.pem --ca-key issuing.key",
        "issuing.pem cannot issue relay-tls-signing: it allows no certificate authority below it, \
         and there would be 1\n  hint: have server and signing certificate issued elsewhere",
    );
    mesh.generate("--pki-dir pki --ca-cert issuing.pem --ca-key issuing.key")
        .exits(1)
        .complains("--signing-cert, --signing-key");
    check(
        "--ca-cert narrow.crt --ca-key narrow.key",
        "the root certificate of narrow.crt allows no certificate authority below it\n",
    );
    check(
        "--ca-cert servers.pem --ca-key servers.key",
        "servers.pem cannot issue relay-tls-signing: it cannot sign certificates of clients",
    );
    check(
        "--ca-cert named.pem --ca-key named.key",
        "named.pem cannot issue relay-server-tls: it does not allow the name enterprise-networking\n",
    );
    check(
        "--ca-cert leaf.pem --ca-key leaf.key",
        "leaf.pem cannot issue relay-server-tls: it is not a certificate authority\n",
    );
    check(
        "--ca-cert root.crt --ca-key other.key",
        "other.key is not the key of the root certificate of root.crt\n  \
         hint: --ca-key takes the key of the certificate in --ca-cert that is to issue\n",
    );
    check(
        "--ca-cert issuing.crt --ca-key issuing.key",
        "issuing.crt holds no root\n",
    );
    check(
        "--ca-cert root.key --ca-key root.key",
        "root.key holds no certificate\n",
    );
    check(
        "--ca-cert root.crt --ca-key root.crt",
        "root.crt is not a private key that we can read\n",
    );
    check(
        "--ca-cert missing --ca-key root.key",
        "missing is not there\n  hint: it was named by --ca-cert\n",
    );
    check(
        "--ca-cert root.crt --ca-key missing",
        "missing is not there\n  hint: it was named by --ca-key\n",
    );
    check(
        "--ca-cert root.crt",
        "relay-server-tls has to be issued, and no --ca-key was given for the root ",
    );
    mesh.generate("--pki-dir pki --ca-key root.key")
        .exits(2)
        .complains("--ca-cert");

    // A directory of another root stays what it is.
    mesh.generate("--pki-dir made --ca-cert root.crt --ca-key root.key")
        .success();
    let files = mesh.files("made");
    mesh.generate("--pki-dir made --ca-cert other.crt --ca-key other.key")
        .exits(1)
        .complains("error: there are different root certificates, and nothing was written\n")
        .complains(&format!(
            "made/relay-root.crt has {}",
            mesh.fingerprint("root.crt")
        ))
        .complains(&format!("other.crt has {}", mesh.fingerprint("other.crt")));
    assert_eq!(mesh.files("made"), files);
}

#[test]
fn brought_certificates_are_placed_as_they_are_or_refused() {
    let mesh = Mesh::new();
    let host = format!("enterprise-networking.{}", mesh.namespace);
    let server = [
        "basicConstraints=critical,CA:FALSE".to_owned(),
        "keyUsage=critical,digitalSignature".to_owned(),
        "extendedKeyUsage=serverAuth,clientAuth".to_owned(),
        format!("subjectAltName=DNS:{host}"),
    ];
    let server: Vec<_> = server.iter().map(String::as_str).collect();
    let signing = [
        "basicConstraints=critical,CA:TRUE,pathlen:0",
        SIGN,
        "extendedKeyUsage=serverAuth,clientAuth",
    ];
    mesh.openssl_root("root", "");
    // The issuer of servers may have no CA below it, which does not matter here.
    mesh.openssl_issue(
        "root",
        "issuing",
        &["basicConstraints=critical,CA:TRUE,pathlen:0", SIGN],
    );
    mesh.openssl_issue("issuing", "server", &server);
    mesh.openssl_issue("root", "signing", &signing);
    mesh.openssl_issue("issuing", "below", &signing);
    mesh.openssl_issue(
        "issuing",
        "elsewhere",
        &["subjectAltName=DNS:enterprise-networking.elsewhere"],
    );
    let sh = |script: &str| mesh.shell.run("sh", &["-euc", script]).success().clone();
    sh(
        "for name in server below elsewhere; do cat $name.crt issuing.crt >$name.pem; done
        cat issuing.crt server.crt >turned.pem; cp signing.crt signing.pem; cat root.crt issuing.crt >ca.pem",
    );
    let home = mesh.home();

    let run = |server: &str, key: &str, signing: &str, signing_key: &str| {
        mesh.init(&format!(
            "--ca-cert root.crt --server-cert {server}.pem --server-key {key}.key \
             --signing-cert {signing}.pem --signing-key {signing_key}.key"
        ))
    };
    let refused = |server: &str, key: &str, signing: &str, signing_key: &str, complaint: &str| {
        run(server, key, signing, signing_key)
            .exits(1)
            .complains(&format!("error: {complaint}"));
        mesh.is_absent("mgmt");
        assert_eq!(mesh.home(), home);
    };
    refused(
        "server",
        "signing",
        "signing",
        "signing",
        "server.pem does not belong to its key\n",
    );
    refused(
        "turned",
        "server",
        "signing",
        "signing",
        "turned.pem is not the first one of its file, where the relay looks for it\n",
    );
    refused(
        "elsewhere",
        "elsewhere",
        "signing",
        "signing",
        &format!("elsewhere.pem is not for {host}\n"),
    );
    refused(
        "signing",
        "signing",
        "server",
        "server",
        "signing.pem is a certificate authority, not a server's\n",
    );
    refused(
        "server",
        "server",
        "server",
        "server",
        "server.pem is not a certificate authority\n",
    );
    refused(
        "server",
        "server",
        "below",
        "below",
        "below.pem is under \"CN=issuing\", which allows no certificate authority below it, and there would be 1\n",
    );

    let placed = run("server", "server", "signing", "signing");
    mesh.assert_reports(placed.success(), &[("mgmt", "created created created created")]);
    let text = |secret: &str, key: &str| super::text(&mesh.data("mgmt", secret)[key]).expect("is there");
    assert_eq!(text(super::SERVER, "tls.crt"), mesh.read("server.pem"));
    assert_eq!(text(super::SIGNING, "tls.crt"), mesh.read("signing.crt"));
    assert_eq!(text(super::ROOT, "ca.crt"), mesh.read("root.crt"));
    assert_eq!(text(super::SERVER, "tls.key"), mesh.read("server.key"));
    assert_eq!(mesh.home(), home, "nothing is copied");
    // From now on, the clusters hold all that is needed.
    let state = mesh.state();
    mesh.init("").success().complains("Nothing changed");
    assert_eq!(mesh.state(), state);
}
