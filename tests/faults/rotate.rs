//! `relay-certs rotate root`: its steps, one after the other over the same clusters.

use crate::{
    init::{self, INIT, ROOT, SERVER, SIGNING},
    scenario::{Scenario, Step},
    snapshot::Place,
};

const PROGRAM: &str = "kubectl-relay_certs";

const PUBLISH: Step = Step::new(
    &["rotate", "root", "--remote-context", "east", "--step", "publish"],
    published,
);

const STEPS: &[Step] = &[
    PUBLISH,
    Step::new(
        &["rotate", "root", "--remote-context", "east", "--abort"],
        aborted,
    ),
    Step {
        is_broken: false,
        ..PUBLISH
    },
    Step::new(
        &["rotate", "root", "--remote-context", "east", "--step", "issue"],
        issued,
    ),
    Step::new(
        &["rotate", "root", "--remote-context", "east", "--step", "retire"],
        retired,
    ),
];

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "rotate root",
    program: PROGRAM,
    contexts: &["mgmt", "east"],
    writes: &["api/v1/namespaces/NAMESPACE/secrets"],
    prepare: |shell, namespace| {
        let place = ["--namespace", namespace];
        shell.run(PROGRAM, &[INIT, &place].concat()).success();
    },
    steps: STEPS,
};

#[test]
fn rotate_root_survives_every_fault_at_every_request() {
    SCENARIO.try_every_point();
}

/// Every cluster trusts both roots, and the old one's certificates are in use.
fn published(place: &Place<'_>) -> Vec<String> {
    during(place, "relay-root.crt")
}

/// Every cluster trusts both roots, and the new one's certificates are in use.
fn issued(place: &Place<'_>) -> Vec<String> {
    let mut defects = during(place, "relay-root-next.crt");
    for (stem, object) in [
        ("relay-server-tls-next", SERVER),
        ("relay-tls-signing-next", SIGNING),
    ] {
        for (kind, key) in [("crt", "tls.crt"), ("key", "tls.key")] {
            let file = place.file(&format!("{stem}.{kind}"));
            if file.is_none() || file != place.data("mgmt", object, key) {
                defects.push(format!("{stem}.{kind} is not what {object} holds"));
            }
        }
    }
    defects
}

fn during(place: &Place<'_>, issuer: &str) -> Vec<String> {
    let mut defects = Vec::new();
    let (Some(old), Some(new)) = (place.file("relay-root.crt"), place.file("relay-root-next.crt")) else {
        return vec!["a root is lost".to_owned()];
    };
    for (context, object) in [
        ("mgmt", ROOT),
        ("mgmt", SERVER),
        ("mgmt", SIGNING),
        ("east", ROOT),
    ] {
        let trusts = place.data(context, object, "ca.crt").unwrap_or_default();
        let both = trusts.matches("BEGIN CERTIFICATE").count() == 2;
        if !(both && trusts.contains(old.trim()) && trusts.contains(new.trim())) {
            defects.push(format!("{object} in {context} does not trust both roots"));
        }
    }
    let issuer = place.file(issuer).unwrap_or_default();
    for object in [SERVER, SIGNING] {
        let certificate = place.data("mgmt", object, "tls.crt").unwrap_or_default();
        if !place.is_issued_by(&certificate, &issuer) {
            defects.push(format!("{object} is not issued by the root that it should be"));
        }
    }
    if place.file("relay-root-next.key").is_none() {
        defects.push("the new root's key is lost".to_owned());
    }
    defects
}

/// As init has left it; what was made is kept.
fn aborted(place: &Place<'_>) -> Vec<String> {
    let mut defects = init::defects(place);
    if place.file("relay-root-next.key").is_none() {
        defects.push("the new root's key is lost".to_owned());
    }
    defects
}

/// As init would leave it with the new root; the old one is kept.
fn retired(place: &Place<'_>) -> Vec<String> {
    let mut defects = init::defects(place);
    for file in [
        "relay-root-next.crt",
        "relay-root-next.key",
        "relay-server-tls-next.crt",
        "relay-tls-signing-next.crt",
    ] {
        if place.file(file).is_some() {
            defects.push(format!("{file} is still there"));
        }
    }
    for file in [
        "relay-root-old.crt",
        "relay-root-old.key",
        "relay-server-tls-old.key",
    ] {
        if place.file(file).is_none() {
            defects.push(format!("{file} is lost"));
        }
    }
    defects
}
