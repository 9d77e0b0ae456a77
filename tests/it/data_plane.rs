//! The proof: an agent reaches the relay server through real Istio, set up by the
//! three plugins and nothing else, and fails where it should.

use std::{
    thread,
    time::{Duration, Instant},
};

use relay_tests::{
    ControlPlane, Shell, Transcript,
    binaries::Tool,
    data_plane::{self, DataPlane},
    fixtures, network,
    relay::{self, AUTHORITY, RelayServer},
};
use serde_json::json;

use crate::certs::words;

const NAMESPACE: &str = "gloo-mesh";

/// How long Envoy may take to do what was applied.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn an_agent_reaches_the_server_through_istio() {
    data_plane::prepare();
    network::alone(
        "data_plane::an_agent_reaches_the_server_through_istio",
        &data_plane::ADDRESSES,
        || {
            let control_plane = ControlPlane::start(&["mgmt", "east"]);
            let shell = Shell::on(&control_plane);
            shell
                .kubectl(&["--context", "mgmt", "create", "namespace", NAMESPACE])
                .success();
            shell.apply("mgmt", fixtures::relay_service(NAMESPACE, "ClusterIP"));
            let mgmt = control_plane.cluster("mgmt");
            let data_plane = DataPlane::start(&shell, mgmt, "enterprise-networking", NAMESPACE);
            prove(&shell, &data_plane);
        },
    );
}

fn prove(shell: &Shell, data_plane: &DataPlane) {
    let kubectl = |line: &str| shell.kubectl(&words(line));
    kubectl("relay-certs init --remote-context east").success();
    kubectl("relay-certs init -n foreign --pki-dir foreign").success();
    kubectl("relay-ingress apply --via istio").success();
    let address = kubectl("relay-address").success().stdout.trim_end().to_owned();
    assert_eq!(address, format!("{}:443", data_plane::LOAD_BALANCER));

    let served = relay::mount(shell, "mgmt", NAMESPACE, "relay-server-tls-secret");
    let at = format!("{}:9900", data_plane::RELAY);
    let mut server = RelayServer::start_at(&at, shell, &served, None);
    let trusted = relay::mount(shell, "east", NAMESPACE, "relay-root-tls-secret");
    issue(shell, "east", NAMESPACE, &format!("{}/ca.crt", trusted.display()));
    issue(
        shell,
        "intruder",
        "foreign",
        &format!("{}/ca.crt", trusted.display()),
    );

    let dial = |agent: &str, authority: &str| {
        let dial = format!("dial --tls {agent} --addr {address} --authority {authority} --timeout 5s");
        shell.relay(&words(&dial))
    };
    eventually(
        data_plane,
        || dial("east", AUTHORITY),
        |dialled| dialled.code == Some(0),
    )
    .prints("SERVING");
    assert_eq!(server.agent(), "[east]");

    // Envoy passes on the relay host alone; another name finds no way in.
    dial("east", "gloo-mesh-mgmt-server.gloo-mesh")
        .exits(1)
        .complains("error: ");
    // Through Envoy it is the server itself that refuses: TLS is not ended in between.
    dial("intruder", AUTHORITY)
        .exits(1)
        .complains("remote error: tls: ");

    assert_eq!(faults(shell), [""; 0]);
    let mut astray = shell.get("mgmt", "gateway/gloo-mesh-ingress", NAMESPACE);
    astray["metadata"] = json!({ "name": "astray", "namespace": NAMESPACE });
    astray["spec"]["selector"] = json!({ "istio": "nobody" });
    shell.apply("mgmt", &astray);
    assert_eq!(faults(shell), ["IST0101"]);
    kubectl("-n gloo-mesh delete gateway astray").success();

    kubectl("-n gloo-mesh delete virtualservice gloo-mesh-ingress").success();
    let cut = |dialled: &Transcript| dialled.code == Some(1);
    eventually(data_plane, || dial("east", AUTHORITY), cut);
    kubectl("relay-ingress apply --via istio")
        .success()
        .prints("virtualservice.networking.istio.io/gloo-mesh-ingress   created")
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          unchanged");
    eventually(
        data_plane,
        || dial("east", AUTHORITY),
        |dialled| dialled.code == Some(0),
    );
}

/// Makes an agent's identity as the relay server would, from the signing secret of
/// a namespace.
#[track_caller]
fn issue(shell: &Shell, agent: &str, namespace: &str, root: &str) {
    let signing = relay::mount(shell, "mgmt", namespace, "relay-tls-signing-secret");
    let signing = signing.display();
    let issue = format!("issue --ca-cert {signing}/tls.crt --ca-key {signing}/tls.key");
    let issue = format!("{issue} --root {root} --cluster {agent} --out {agent}");
    shell.relay(&words(&issue)).success();
}

/// What Istio's own critic finds wrong in the relay's namespace, by code. It also
/// gives information, such as that the namespace takes no part in the mesh.
#[track_caller]
fn faults(shell: &Shell) -> Vec<String> {
    let istioctl = Tool::Istioctl
        .path()
        .expect("istioctl is built")
        .to_string_lossy();
    let analyze = words("analyze --context mgmt --namespace gloo-mesh --output json");
    // It exits with 79 where it finds an error.
    let found = shell.run(&istioctl, &analyze).json();
    let found = found.as_array().expect("is a list").iter();
    found
        .filter(|message| message["level"] != "Info")
        .map(|message| message["code"].as_str().unwrap_or_default().to_owned())
        .collect()
}

/// Repeats a command until it ended as it should.
#[track_caller]
fn eventually(
    data_plane: &DataPlane,
    command: impl Fn() -> Transcript,
    ended: impl Fn(&Transcript) -> bool,
) -> Transcript {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let transcript = command();
        if ended(&transcript) {
            return transcript;
        }
        assert!(
            Instant::now() < deadline,
            "after {} s still:\n{transcript}\n{}",
            PATIENCE.as_secs(),
            data_plane.logs()
        );
        thread::sleep(Duration::from_millis(100));
    }
}
