//! `relay-certs init`.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::scenario::{Place, Scenario};

const ROOT: &str = "secret/relay-root-tls-secret";
const SERVER: &str = "secret/relay-server-tls-secret";
const SIGNING: &str = "secret/relay-tls-signing-secret";

#[test]
fn init_survives_every_fault_at_every_request() {
    let scenario = Scenario {
        name: "init",
        program: "kubectl-relay_certs",
        contexts: &["mgmt", "east"],
        arguments: &[
            "init",
            "--remote-context",
            "east",
            "--identity-token",
            // Not slower than a fault by making RSA keys.
            "--key-algorithm",
            "ecdsa-p256",
        ],
        prepare: |_, _| {},
        defects,
    };
    scenario.try_every_point();
}

/// One consistent set in all clusters, and the same in the directory.
fn defects(place: &Place<'_>) -> Vec<String> {
    let mut defects = Vec::new();
    let data = |context: &str, object: &str, key: &str| {
        let value = place.object(context, object)?["data"][key].as_str()?;
        String::from_utf8(STANDARD.decode(value).ok()?).ok()
    };
    let Some(root) = data("mgmt", ROOT, "ca.crt") else {
        return vec!["the management cluster has no root".to_owned()];
    };
    let places = [("mgmt", SERVER), ("mgmt", SIGNING), ("east", ROOT)];
    for (context, object) in places {
        if data(context, object, "ca.crt").as_ref() != Some(&root) {
            defects.push(format!("{object} in {context} has another root than mgmt"));
        }
    }
    for object in [SERVER, SIGNING] {
        let certificate = data("mgmt", object, "tls.crt").unwrap_or_default();
        place.shell.write("root.pem", &root);
        place.shell.write("issued.pem", certificate);
        let verify = ["verify", "-CAfile", "root.pem", "issued.pem"];
        if place.shell.run("openssl", &verify).code != Some(0) {
            defects.push(format!("{object} is not issued by its root"));
        }
    }
    let token = |context| data(context, "secret/relay-identity-token-secret", "token");
    if token("mgmt").is_none() || token("mgmt") != token("east") {
        defects.push("the clusters have no token in common".to_owned());
    }
    let files = [
        ("relay-root.crt", ROOT, "ca.crt"),
        ("relay-server-tls.crt", SERVER, "tls.crt"),
        ("relay-server-tls.key", SERVER, "tls.key"),
        ("relay-tls-signing.crt", SIGNING, "tls.crt"),
        ("relay-tls-signing.key", SIGNING, "tls.key"),
    ];
    for (file, object, key) in files {
        let content = fs::read_to_string(place.shell.home().join("relay-pki").join(file)).ok();
        if content.is_none() || content != data("mgmt", object, key) {
            defects.push(format!("{file} is not what {object} holds"));
        }
    }
    defects
}
