//! What is issued offline, and by CAs of the user's own, in every combination.

use std::fs;

use relay_tests::relay::RelayServer;

use super::{Issued, SERVICES, exact_names};
use crate::certs::{Mesh, offline, words};

impl<'a> Issued<'a> {
    /// The certificates of a PKI directory, under the root in a file.
    fn in_directory(mesh: &'a Mesh, directory: &str, root: &str) -> Self {
        Self {
            mesh,
            root: root.to_owned(),
            server: format!("{directory}/relay-server-tls.crt"),
            signing: format!("{directory}/relay-tls-signing.crt"),
        }
    }

    /// Asserts that everybody accepts everything, and that an agent that the signing
    /// certificate makes passes mutual TLS.
    #[track_caller]
    fn assert_all_accepted(&self) {
        self.assert_accepted(&exact_names(&SERVICES, &self.mesh.namespace));
        let agent = format!("agent-{}", self.signing.replace('/', "-"));
        let key = self.signing.replace(".crt", ".key");
        let issue = format!(
            "issue --ca-cert {} --ca-key {key} --root {} --cluster east --out {agent}",
            self.signing, self.root
        );
        self.mesh.shell.relay(&words(&issue)).success();
        // The agent's chain goes on with what is above the signing certificate.
        let (chain, above) = (format!("{agent}/tls.crt"), self.mesh.read(&self.signing));
        let above: String = above
            .split_inclusive("-----END CERTIFICATE-----\n")
            .skip(1)
            .collect();
        let whole = self.mesh.read(&chain) + &above;
        self.mesh.shell.write(&chain, whole);
        self.judge().accepts_client(&chain);

        let serving = format!("serving-{}", self.server.replace('/', "-"));
        let key = self.server.replace(".crt", ".key");
        let files = [
            (&self.server, "tls.crt"),
            (&key, "tls.key"),
            (&self.root, "ca.crt"),
        ];
        for (file, name) in files {
            self.mesh
                .shell
                .write(&format!("{serving}/{name}"), self.mesh.read(file));
        }
        let mut server = RelayServer::start(&self.mesh.shell, &self.mesh.path(serving), None);
        for name in exact_names(&SERVICES, &self.mesh.namespace) {
            let dial = format!("dial --tls {agent} --addr {} --authority {name}", server.address);
            self.mesh.shell.relay(&words(&dial)).success().prints("SERVING");
            assert_eq!(server.agent(), "[east]", "{name}");
        }
    }
}

#[test]
fn both_algorithms_and_any_namespace_are_accepted_by_everybody() {
    let mut mesh = offline();
    for algorithm in ["rsa", "ecdsa-p256"] {
        for namespace in ["gloo-mesh", "mesh"] {
            let directory = format!("{algorithm}-{namespace}");
            mesh.generate(&format!(
                "--pki-dir {directory} --key-algorithm {algorithm} --namespace {namespace}"
            ))
            .success();
            mesh.namespace = namespace.to_owned();
            let root = format!("{directory}/relay-root.crt");
            let issued = Issued::in_directory(&mesh, &directory, &root);
            issued.assert_all_accepted();
            issued.assert_clean();
        }
    }
}

#[test]
fn what_a_ca_of_the_users_issues_is_accepted_by_everybody() {
    let mesh = offline();
    let sh = |script: &str| mesh.shell.run("sh", &["-euc", script]).success().clone();
    mesh.shell.write("password", "correct horse\n");
    // A name with parts that repeat, and one of several values, as directories have.
    let dn = "/DC=com/DC=example/OU=Platform/OU=Mesh+L=Bern";
    let root = |name: &str, key: &str| {
        format!(
            "openssl req -x509 -newkey {key} -noenc -days 40 -multivalue-rdn -subj '{dn}/CN={name}' \
             -addext basicConstraints=critical,CA:TRUE,pathlen:2 \
             -addext keyUsage=critical,keyCertSign,cRLSign -keyout {name}.key -out {name}.crt"
        )
    };
    let below = |issuer: &str, name: &str, key: &str| {
        format!(
            "openssl req -newkey {key} -noenc -subj '{dn}/CN={name}' -keyout {name}.key -out {name}.csr
             printf '%s\\n' basicConstraints=critical,CA:TRUE,pathlen:1 keyUsage=critical,keyCertSign,cRLSign \
                 subjectKeyIdentifier=hash authorityKeyIdentifier=keyid >{name}.ext
             openssl x509 -req -days 30 -in {name}.csr -CA {issuer}.crt -CAkey {issuer}.key -extfile {name}.ext \
                 -set_serial 0x5{name_hash} -out {name}.crt",
            name_hash = name.len()
        )
    };
    let p521 = "ec -pkeyopt ec_paramgen_curve:P-521";
    let p384 = "ec -pkeyopt ec_paramgen_curve:P-384";

    sh(&root("rsa", "rsa:2048"));
    mesh.generate("--pki-dir by-root --ca-cert rsa.crt --ca-key rsa.key")
        .success();
    let issued = Issued::in_directory(&mesh, "by-root", "rsa.crt");
    issued.assert_all_accepted();
    // The CA's name is its own affair.
    for certificate in [&issued.server, &issued.signing] {
        assert_eq!(issued.judge().lint(certificate), ["w_multiple_issuer_rdn"]);
    }
    assert_eq!(mesh.read("by-root/relay-root.crt"), mesh.read("rsa.crt"));
    // The CA's key stays where it is.
    assert!(!mesh.path("by-root/relay-root.key").exists());
    mesh.generate("--pki-dir by-root")
        .success()
        .complains("Nothing changed");

    sh(&[root("ec", p384), below("ec", "issuing", "rsa:2048")].join("\n"));
    // In whatever order.
    sh("cat ec.crt issuing.crt >bundle.crt");
    mesh.generate(
        "--pki-dir by-intermediate --key-algorithm ecdsa-p256 --ca-cert bundle.crt --ca-key issuing.key",
    )
    .success();
    Issued::in_directory(&mesh, "by-intermediate", "ec.crt").assert_all_accepted();
    let trusted = mesh.read("issuing.crt") + &mesh.read("ec.crt");
    assert_eq!(mesh.read("by-intermediate/relay-root.crt"), trusted);
    let sent = mesh.read("by-intermediate/relay-server-tls.crt");
    assert!(sent.ends_with(&mesh.read("issuing.crt")), "{sent}");
    assert_eq!(sent.matches("BEGIN CERTIFICATE").count(), 2);

    sh(&[root("top", p521), below("top", "curve", p384)].join("\n"));
    sh(
        "openssl pkcs8 -topk8 -in curve.key -out locked.key -passout file:password; cat curve.crt top.crt >chain.crt",
    );
    let locked = "--pki-dir by-curve --ca-cert chain.crt --ca-key locked.key";
    mesh.generate(&format!("{locked} --ca-key-password-file password"))
        .success();
    Issued::in_directory(&mesh, "by-curve", "top.crt").assert_all_accepted();
    // The second time, the key is not needed, so nobody is asked for the password.
    mesh.generate(locked).success().complains("Nothing changed");

    fs::remove_file(mesh.path("by-curve/relay-tls-signing.crt")).expect("was there");
    mesh.generate("--pki-dir by-curve --ca-cert chain.crt")
        .exits(1)
        .complains("error: relay-tls-signing has to be issued, and no --ca-key was given for the root ");
}
