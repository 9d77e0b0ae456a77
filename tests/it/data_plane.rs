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

/// A management cluster with Istio and with a relay server that runs on the secrets
/// of `relay-certs`, and two agents: one of cluster `east`, one from elsewhere.
struct Site {
    shell: Shell,
    server: RelayServer,
    // Before the control plane, which it needs.
    data_plane: DataPlane,
    _control_plane: ControlPlane,
}

impl Site {
    #[track_caller]
    fn start() -> Self {
        let control_plane = ControlPlane::start(&["mgmt", "east"]);
        let shell = Shell::on(&control_plane);
        shell
            .kubectl(&["--context", "mgmt", "create", "namespace", NAMESPACE])
            .success();
        shell.apply("mgmt", fixtures::relay_service(NAMESPACE, "ClusterIP"));
        fixtures::install_gateway_api_crds(&shell, "mgmt");
        let mgmt = control_plane.cluster("mgmt");
        let data_plane = DataPlane::start(&shell, mgmt, "enterprise-networking", NAMESPACE);

        shell
            .kubectl(&words("relay-certs init --remote-context east"))
            .success();
        shell
            .kubectl(&words("relay-certs init -n foreign --pki-dir foreign"))
            .success();
        let served = relay::mount(&shell, "mgmt", NAMESPACE, "relay-server-tls-secret");
        let server = RelayServer::start_at(&format!("{}:9900", data_plane::RELAY), &shell, &served, None);
        let trusted = relay::mount(&shell, "east", NAMESPACE, "relay-root-tls-secret");
        let trusted = format!("{}/ca.crt", trusted.display());
        issue(&shell, "east", NAMESPACE, &trusted);
        issue(&shell, "intruder", "foreign", &trusted);
        Self {
            shell,
            server,
            data_plane,
            _control_plane: control_plane,
        }
    }

    #[track_caller]
    fn kubectl(&self, line: &str) -> Transcript {
        self.shell.kubectl(&words(line))
    }

    /// An agent dials the address that relay-address prints.
    #[track_caller]
    fn dial(&self, agent: &str, authority: &str) -> Transcript {
        let address = self
            .kubectl("relay-address")
            .success()
            .stdout
            .trim_end()
            .to_owned();
        assert_eq!(address, format!("{}:443", data_plane::LOAD_BALANCER));
        let dial = format!("dial --tls {agent} --addr {address} --authority {authority} --timeout 5s");
        self.shell.relay(&words(&dial))
    }

    /// The agent of `east` gets through, and nobody else, and under no other name.
    #[track_caller]
    fn proves_itself(&mut self) {
        self.eventually(
            |site| site.dial("east", AUTHORITY),
            |dialled| dialled.code == Some(0),
        )
        .prints("SERVING");
        assert_eq!(self.server.agent(), "[east]");
        // Envoy passes on the relay host alone; another name finds no way in.
        self.dial("east", "gloo-mesh-mgmt-server.gloo-mesh")
            .exits(1)
            .complains("error: ");
        // Through Envoy it is the server itself that refuses: TLS is not ended in between.
        self.dial("intruder", AUTHORITY)
            .exits(1)
            .complains("remote error: tls: ");
    }

    /// The checks that fail, of those that `relay-address --check` makes.
    #[track_caller]
    fn failed_checks(&self, code: i32, flags: &str) -> Vec<String> {
        let checked = self.kubectl(&format!("relay-address --check -o json {flags}"));
        let document = checked.exits(code).json();
        let checks = document["checks"].as_array().expect("is a list").iter();
        checks
            .filter(|check| check["result"] == "failed")
            .map(|check| check["name"].as_str().unwrap_or_default().to_owned())
            .collect()
    }

    /// Repeats a command until it ended as it should.
    #[track_caller]
    fn eventually(
        &self,
        command: impl Fn(&Self) -> Transcript,
        ended: impl Fn(&Transcript) -> bool,
    ) -> Transcript {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let transcript = command(self);
            if ended(&transcript) {
                return transcript;
            }
            assert!(
                Instant::now() < deadline,
                "after {} s still:\n{transcript}\n{}",
                PATIENCE.as_secs(),
                self.data_plane.logs()
            );
            thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn an_agent_reaches_the_server_through_istio() {
    data_plane::prepare();
    let test = "data_plane::an_agent_reaches_the_server_through_istio";
    network::alone(test, &data_plane::ADDRESSES, || {
        let mut site = Site::start();
        site.kubectl("relay-ingress apply --via istio").success();
        site.proves_itself();
        let healthy = site.kubectl("relay-ingress status");
        healthy
            .success()
            .prints(&format!("healthy   {}:443\n", data_plane::LOAD_BALANCER));

        // What agents meet, relay-address says before there is any.
        let trusted = "--remote-context east";
        assert_eq!(site.failed_checks(0, trusted), [""; 0]);
        let misnamed = format!("{trusted} --server-name gloo-mesh-mgmt-server.gloo-mesh");
        assert_eq!(site.failed_checks(3, &misnamed), ["tls"]);
        let foreign = "--ca-file foreign/relay-root.crt";
        assert_eq!(site.failed_checks(3, foreign), ["trust"]);

        assert_eq!(faults(&site.shell, NAMESPACE), [""; 0]);
        let mut astray = site.shell.get(
            "mgmt",
            "gateways.networking.istio.io/gloo-mesh-ingress",
            NAMESPACE,
        );
        astray["metadata"] = json!({ "name": "astray", "namespace": NAMESPACE });
        astray["spec"]["selector"] = json!({ "istio": "nobody" });
        site.shell.apply("mgmt", &astray);
        assert_eq!(faults(&site.shell, NAMESPACE), ["IST0101"]);
        site.kubectl("-n gloo-mesh delete gateways.networking.istio.io astray")
            .success();

        site.kubectl("-n gloo-mesh delete virtualservice gloo-mesh-ingress")
            .success();
        site.eventually(
            |site| site.dial("east", AUTHORITY),
            |dialled| dialled.code == Some(1),
        );
        assert_eq!(site.failed_checks(3, trusted), ["tls"]);
        site.kubectl("relay-ingress lint")
            .exits(3)
            .prints("no VirtualService leads on from it");
        site.kubectl("relay-ingress apply --via istio")
            .success()
            .prints("virtualservice.networking.istio.io/gloo-mesh-ingress   created")
            .prints("gateway.networking.istio.io/gloo-mesh-ingress          unchanged");
        site.eventually(
            |site| site.dial("east", AUTHORITY),
            |dialled| dialled.code == Some(0),
        );

        // A Gateway of somebody's for all hosts will do, as status says.
        let leads_on = "virtualservices.networking.istio.io/gloo-mesh-ingress";
        let mut leads_on = site.shell.get("mgmt", leads_on, NAMESPACE);
        leads_on["metadata"] = json!({ "name": "by-hand", "namespace": NAMESPACE });
        site.kubectl("relay-ingress delete").success();
        site.eventually(
            |site| site.dial("east", AUTHORITY),
            |dialled| dialled.code == Some(1),
        );
        let mut wild = astray;
        wild["metadata"]["name"] = "gloo-mesh-ingress".into();
        wild["spec"]["selector"] = json!({ "istio": "ingressgateway" });
        wild["spec"]["servers"][0]["hosts"] = json!(["*"]);
        site.shell.apply("mgmt", &wild);
        site.shell.apply("mgmt", &leads_on);
        site.eventually(
            |site| site.dial("east", AUTHORITY),
            |dialled| dialled.code == Some(0),
        );
        site.kubectl("relay-ingress status")
            .success()
            .prints("istio   gateway gloo-mesh/gloo-mesh-ingress   healthy   ");
    });
}

#[test]
fn an_agent_reaches_the_server_through_gateway_api() {
    data_plane::prepare();
    let test = "data_plane::an_agent_reaches_the_server_through_gateway_api";
    network::alone(test, &data_plane::ADDRESSES, || {
        let mut site = Site::start();
        // istiod makes its class by itself; nothing but a name is needed.
        let class = "get gatewayclass istio";
        site.eventually(|site| site.kubectl(class), |got| got.code == Some(0));
        let place = format!("--gateway-namespace {}", data_plane::NAMESPACE);
        let apply = format!("relay-ingress apply --via gateway-api --gateway-class istio {place}");
        site.kubectl(&apply).success();
        // There is nobody to run a gateway's pod: let this one be the gateway that is
        // there, as Istio's documentation has it for gateways deployed by hand.
        let hostname = format!("istio-ingressgateway.{}.svc.cluster.local", data_plane::NAMESPACE);
        let by_hand = json!({ "spec": { "addresses": [{ "type": "Hostname", "value": hostname }] } });
        let gateway = "gateways.gateway.networking.k8s.io";
        let patch = [
            "-n",
            data_plane::NAMESPACE,
            "patch",
            gateway,
            "gloo-mesh-ingress",
            "--type=merge",
            "-p",
        ];
        site.shell
            .kubectl(&[&patch[..], &[&by_hand.to_string()]].concat())
            .success();
        site.kubectl(&apply).success().prints("unchanged");

        let status = "relay-ingress status";
        let healthy = site.eventually(|site| site.kubectl(status), |shown| shown.code == Some(0));
        healthy.prints("gateway-api   gateway istio-system/gloo-mesh-ingress   healthy   ");
        site.proves_itself();
        for namespace in [NAMESPACE, data_plane::NAMESPACE] {
            assert_eq!(faults(&site.shell, namespace), [""; 0]);
        }
        site.kubectl("relay-ingress delete").success();
        site.eventually(
            |site| site.dial("east", AUTHORITY),
            |dialled| dialled.code == Some(1),
        );
    });
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

/// What Istio's own critic finds wrong in a namespace, by code. It also gives
/// information, such as that the namespace takes no part in the mesh.
#[track_caller]
fn faults(shell: &Shell, namespace: &str) -> Vec<String> {
    let istioctl = Tool::Istioctl
        .path()
        .expect("istioctl is built")
        .to_string_lossy();
    let analyze = format!("analyze --context mgmt --namespace {namespace} --output json");
    // It exits with 79 where it finds an error.
    let found = shell.run(&istioctl, &words(&analyze)).json();
    let found = found.as_array().expect("is a list").iter();
    found
        .filter(|message| message["level"] != "Info")
        .map(|message| message["code"].as_str().unwrap_or_default().to_owned())
        .collect()
}
