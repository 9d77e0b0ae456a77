//! What `apply` ends with and `delete` leaves: on clusters of their own, as gateways
//! serve all of a cluster.

use std::{
    thread,
    time::{Duration, Instant},
};

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
use serde_json::{Value, json};

use super::documents;
use crate::certs::words;

pub(super) const GATEWAY: &str = "gateway gloo-mesh/gloo-mesh-ingress";

/// A cluster with a relay server and an ingress gateway.
pub(super) struct Site {
    pub(super) shell: Shell,
    control_plane: ControlPlane,
}

impl Site {
    pub(super) fn new() -> Self {
        let control_plane = ControlPlane::start(&["alone"]);
        let shell = Shell::on(&control_plane);
        fixtures::install_istio_crds(&shell, "alone");
        for namespace in ["gloo-mesh", "istio-system", "edge"] {
            shell.kubectl(&["create", "namespace", namespace]).success();
        }
        let balanced = fixtures::load_balancer(&["203.0.113.50"]);
        let objects = [
            fixtures::relay_service("gloo-mesh", "ClusterIP"),
            fixtures::with_status(
                fixtures::ingress_gateway("istio-system", "LoadBalancer"),
                balanced,
            ),
            fixtures::gateway_pod("gateway-1", "istio-system", "node-1", true),
        ];
        fixtures::create(&shell, "alone", &objects);
        Self { shell, control_plane }
    }

    #[track_caller]
    pub(super) fn ingress(&self, line: &str) -> Transcript {
        self.shell
            .kubectl(&[&["relay-ingress"], &words(line)[..]].concat())
    }

    #[track_caller]
    pub(super) fn kubectl(&self, line: &str) {
        self.shell.kubectl(&words(line)).success();
    }
}

#[test]
fn apply_ends_with_the_address_or_with_the_reason_why_there_is_none() {
    let site = Site::new();
    let istio = site.ingress("apply --via istio --wait");
    let last = istio.success().stdout.lines().last();
    assert_eq!(last, Some("203.0.113.50:443"));
    istio.conceals("next: ");
    let documents = site.ingress("apply --via istio --wait 1m -o name");
    documents.success().complains("the address is 203.0.113.50:443\n");
    documents.prints("gateway.networking.istio.io/gloo-mesh-ingress\n");
    site.ingress("apply --via istio --wait --dry-run=server")
        .exits(2)
        .complains("a dry run exposes nothing, so there is no address to wait for");

    let elsewhere = "--context alone --host relay.example.com --port 8443 --name other";
    site.ingress(&format!("apply --via istio {elsewhere}"))
        .success()
        .complains("next: `kubectl relay-address --context alone --server-name relay.example.com` prints ");

    let pending = site.ingress("apply --via loadbalancer --wait=1s");
    pending
        .exits(1)
        .prints("alone   service/enterprise-networking   configured\n")
        .complains("error: service gloo-mesh/enterprise-networking has no address: its type is LoadBalancer")
        .complains("hint: ");
    let waiting = thread::scope(|scope| {
        let waiting = scope.spawn(|| site.ingress("apply --via loadbalancer --wait=60s"));
        thread::sleep(Duration::from_secs(1));
        let balanced = fixtures::load_balancer(&["203.0.113.10"]);
        let service = "service/enterprise-networking";
        site.shell.patch_status("alone", service, "gloo-mesh", &balanced);
        waiting.join().expect("ends")
    });
    assert_eq!(
        waiting.success().stdout,
        "alone   service/enterprise-networking   unchanged\n203.0.113.10:9900\n"
    );
}

#[test]
fn objects_go_in_the_newest_version_that_is_served() {
    let site = Site::new();
    let shown = || site.ingress("apply --via istio --dry-run=client -o jsonpath={.items[*].apiVersion}");
    for (retired, newest) in [("", "v1"), ("v1", "v1beta1"), ("v1beta1", "v1alpha3")] {
        for kind in ["gateways", "virtualservices"]
            .iter()
            .filter(|_| !retired.is_empty())
        {
            let definition = format!("crd/{kind}.networking.istio.io");
            let found = site.shell.get("alone", &definition, "");
            let versions = found["spec"]["versions"].as_array().expect("has versions");
            let index = versions
                .iter()
                .position(|v| v["name"] == retired)
                .expect("has it");
            let path = format!("/spec/versions/{index}/served");
            let patch = json!([{ "op": "replace", "path": path, "value": false }]).to_string();
            let patch = ["patch", &definition, "--type=json", "-p", &patch];
            site.shell.kubectl(&patch).success();
        }
        let want = format!("networking.istio.io/{newest} networking.istio.io/{newest}");
        let deadline = Instant::now() + Duration::from_secs(30);
        while shown().success().stdout != want {
            assert!(Instant::now() < deadline, "expected {want}:\n{}", shown());
            thread::sleep(Duration::from_millis(100));
        }
    }
    site.ingress("apply --via istio").success().prints("created");
}

#[test]
fn delete_takes_what_we_made_and_nothing_else() {
    let site = Site::new();
    site.ingress("apply --via istio --gateway-namespace edge --name relay")
        .success();
    site.ingress("apply --via nodeport").success();
    // The page's own, applied before by hand, and agreed with since.
    let [mut theirs, _] = documents("enterprise-networking", "gloo-mesh", 9900);
    theirs["metadata"]["labels"] = Value::Null;
    theirs["spec"]["servers"][0]["port"]["number"] = 8443.into();
    site.shell.apply("alone", &theirs);
    // Made for another relay server.
    let others = "apply --via istio --namespace edge --service relay --dry-run=client -o json";
    let others = site.ingress(others).success().json();
    site.shell.apply("alone", &others);

    let dry = site.ingress("delete --dry-run=server");
    dry.success().prints("(server dry run)");
    let gone = site.ingress("delete");
    assert_eq!(
        gone.success().stdout,
        "alone   service/enterprise-networking              configured\n\
         alone   gateway.networking.istio.io/relay          deleted\n\
         alone   virtualservice.networking.istio.io/relay   deleted\n"
    );
    let kinds = "gateways.networking.istio.io,virtualservices.networking.istio.io";
    let names = "-o=jsonpath={range .items[*]}{.kind} {.metadata.namespace}/{.metadata.name}{\"\\n\"}{end}";
    let left = site.shell.kubectl(&["get", kinds, "--all-namespaces", names]);
    assert_eq!(
        left.success().stdout,
        "Gateway edge/gloo-mesh-ingress\nGateway gloo-mesh/gloo-mesh-ingress\nVirtualService edge/gloo-mesh-ingress\n"
    );
    let service = site
        .shell
        .get("alone", "service/enterprise-networking", "gloo-mesh");
    assert_eq!(service["spec"]["type"], "ClusterIP");
    site.ingress("delete")
        .success()
        .complains("nothing of ours is left");
}

#[test]
fn who_may_read_little_is_told_what_was_not_checked() {
    let site = Site::new();
    let alone = site.control_plane.cluster("alone");
    let kubeconfig = Kubeconfig::new()
        .context("alone", alone)
        .user_context("dev", alone, "dev")
        .user_context("auditor", alone, "auditor")
        .current("alone");
    let shell = Shell::new(&kubeconfig);
    let objects = "gateways.networking.istio.io,virtualservices.networking.istio.io,services";
    fixtures::grant(
        &shell,
        "alone",
        "gloo-mesh",
        "dev",
        "get,create,patch,list,delete",
        objects,
    );
    let dev =
        |line: &str| shell.kubectl(&[&["relay-ingress", "--context", "dev"], &words(line)[..]].concat());
    dev("apply --via istio")
        .success()
        .complains("not checked: you may not read what it takes\n")
        .complains("User \"dev\" cannot list")
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          created");
    dev("apply --via istio").success().prints("unchanged");
    // What is beside the relay server is seen, and judged as far as it can be.
    dev("status")
        .prints(&format!("istio   {GATEWAY}   "))
        .complains("not checked: what there may be outside of namespace \"gloo-mesh\"\n");
    dev("delete")
        .success()
        .complains("not checked: what there may be outside of namespace \"gloo-mesh\"\n")
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          deleted");

    // Where not everything can be seen, nothing is said to be missing.
    for line in ["status", "lint"] {
        let unknown = dev(line);
        let said = "error: nothing that you may read leads to enterprise-networking.gloo-mesh from outside";
        assert!(
            format!("{}{}", unknown.stdout, unknown.stderr).contains(said),
            "{unknown}"
        );
        unknown.exits(1);
    }

    // Who may change the Service alone takes back what they did.
    fixtures::grant(&shell, "alone", "gloo-mesh", "auditor", "get,patch", "services");
    let auditor =
        |line: &str| shell.kubectl(&[&["relay-ingress", "--context", "auditor"], &words(line)[..]].concat());
    auditor("apply --via loadbalancer").success();
    auditor("delete")
        .success()
        .complains("not checked: what there may be of gateways\n")
        .prints("service/enterprise-networking   configured\n");
    let service = site
        .shell
        .get("alone", "service/enterprise-networking", "gloo-mesh");
    assert_eq!(service["spec"]["type"], "ClusterIP");
    auditor("delete")
        .success()
        .complains("nothing of ours is to be seen: there is nothing to take back\n");
}
