//! `relay-certs init`.

use crate::{
    scenario::{Scenario, Step},
    snapshot::Place,
};

pub(crate) const ROOT: &str = "secret/relay-root-tls-secret";
pub(crate) const SERVER: &str = "secret/relay-server-tls-secret";
pub(crate) const SIGNING: &str = "secret/relay-tls-signing-secret";

/// Not slower than a fault by making RSA keys.
pub(crate) const INIT: &[&str] = &[
    "init",
    "--remote-context",
    "east",
    "--identity-token",
    "--key-algorithm",
    "ecdsa-p256",
];

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "init",
    program: "kubectl-relay_certs",
    contexts: &["mgmt", "east"],
    writes: &["api/v1/namespaces/NAMESPACE/secrets"],
    prepare: |_, _| {},
    steps: &[Step::new(INIT, defects)],
};

#[test]
fn init_survives_every_fault_at_every_request() {
    SCENARIO.try_every_point();
}

/// One consistent set in all clusters, and the same in the directory.
pub(crate) fn defects(place: &Place<'_>) -> Vec<String> {
    let mut defects = Vec::new();
    let Some(root) = place.data("mgmt", ROOT, "ca.crt") else {
        return vec!["the management cluster has no root".to_owned()];
    };
    let places = [("mgmt", SERVER), ("mgmt", SIGNING), ("east", ROOT)];
    for (context, object) in places {
        if place.data(context, object, "ca.crt").as_ref() != Some(&root) {
            defects.push(format!("{object} in {context} has another root than mgmt"));
        }
    }
    for object in [SERVER, SIGNING] {
        let certificate = place.data("mgmt", object, "tls.crt").unwrap_or_default();
        if !place.is_issued_by(&certificate, &root) {
            defects.push(format!("{object} is not issued by its root"));
        }
    }
    let token = |context| place.data(context, "secret/relay-identity-token-secret", "token");
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
        let content = place.file(file);
        if content.is_none() || content != place.data("mgmt", object, key) {
            defects.push(format!("{file} is not what {object} holds"));
        }
    }
    defects
}
