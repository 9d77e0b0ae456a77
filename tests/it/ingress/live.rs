//! What `lint` and `status` say of what is live, what `apply` refuses, and what
//! `delete` leaves: on clusters of their own, as gateways serve all of a cluster.

use std::{
    thread,
    time::{Duration, Instant},
};

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
use serde_json::{Value, json};

use super::documents;
use crate::certs::words;

const GATEWAY: &str = "gateway gloo-mesh/gloo-mesh-ingress";

/// A cluster with a relay server and an ingress gateway.
struct Site {
    shell: Shell,
    control_plane: ControlPlane,
}

impl Site {
    fn new() -> Self {
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
    fn ingress(&self, line: &str) -> Transcript {
        self.shell
            .kubectl(&[&["relay-ingress"], &words(line)[..]].concat())
    }

    #[track_caller]
    fn kubectl(&self, line: &str) {
        self.shell.kubectl(&words(line)).success();
    }

    /// The messages of what `lint` finds, beginning with their severity.
    #[track_caller]
    fn lint(&self, code: i32) -> Vec<String> {
        let found = self.ingress("lint -o json").exits(code).json();
        let found = found["findings"].as_array().expect("is a list").iter();
        let text = |finding: &Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
        found
            .map(|finding| {
                ["severity", "object", "message"]
                    .map(|key| text(finding, key))
                    .join(" ")
            })
            .collect()
    }
}

#[test]
fn what_is_wrong_is_found_before_and_after() {
    let site = Site::new();
    let nothing = "error service gloo-mesh/enterprise-networking nothing outside the cluster leads to \
                   enterprise-networking.gloo-mesh";
    assert_eq!(site.lint(3), [nothing]);
    site.ingress("status")
        .exits(3)
        .complains("error: nothing outside the cluster leads to enterprise-networking.gloo-mesh\n");

    site.ingress("apply --via istio --gateway-selector istio=ingress")
        .exits(1)
        .complains("error: no pod has istio=ingress\n")
        .complains(&format!("  where: context \"alone\", {GATEWAY}\n"))
        .complains("  hint: --gateway-selector istio=ingressgateway would find pods in istio-system\n");
    let port = "error: it has no port that reaches 8443 of the gateway";
    let dry = site.ingress("apply --via istio --port 8444 --dry-run=client -o name");
    dry.success()
        .complains("error: it has no port that reaches 8444 of the gateway: it has status-port (15021)")
        .prints("virtualservice.networking.istio.io/gloo-mesh-ingress\n")
        .conceals(port);
    let none = [
        "get",
        "gateways.networking.istio.io",
        "--all-namespaces",
        "-o",
        "name",
    ];
    assert_eq!(site.shell.kubectl(&none).success().stdout, "");

    site.ingress("apply --via istio").success();
    assert_eq!(site.lint(0), [""; 0]);
    site.ingress("lint").success().complains("nothing is wrong\n");
    let status = site.ingress("status");
    assert_eq!(
        status.success().stdout,
        format!(
            "VIA     OBJECT                                HEALTH    ADDRESS\n\
             istio   {GATEWAY}   healthy   203.0.113.50:443\n"
        )
    );
    let document = site.ingress("status -o json").success().json();
    assert_eq!(
        document,
        json!({
            "relay": {
                "namespace": "gloo-mesh",
                "service": "enterprise-networking",
                "port": 9900,
                "host": "enterprise-networking.gloo-mesh",
            },
            "healthy": true,
            "ways": [{
                "via": "istio",
                "kind": "Gateway",
                "namespace": "gloo-mesh",
                "name": "gloo-mesh-ingress",
                "healthy": true,
                "host": "enterprise-networking.gloo-mesh",
                "address": "203.0.113.50:443",
                "findings": [],
            }],
        })
    );

    // A second gateway for the same name, by hand.
    let [mut rival, _] = documents("enterprise-networking", "gloo-mesh", 9900);
    rival["metadata"] = json!({ "name": "rival", "namespace": "edge" });
    site.shell.apply("alone", &rival);
    let taken = "it has enterprise-networking.gloo-mesh on port 443 of the same pods, too, and only one of the two counts";
    site.ingress("apply --via istio")
        .exits(1)
        .complains(taken)
        .complains("where: context \"alone\", gateway edge/rival\n");
    rival["spec"]["servers"][0]["hosts"] = json!(["*.gloo-mesh"]);
    site.shell.apply("alone", &rival);
    site.ingress("apply --via istio")
        .success()
        .complains(
            "warning: its *.gloo-mesh on port 443 of the same pods includes enterprise-networking.gloo-mesh",
        )
        .prints("unchanged");
    assert_eq!(site.lint(0).len(), 1);
    site.kubectl("-n edge delete gateways.networking.istio.io rival");

    site.kubectl("-n gloo-mesh delete virtualservice gloo-mesh-ingress");
    let broken = site.ingress("status");
    broken.exits(3).prints(&format!("istio   {GATEWAY}   broken"));
    broken.complains(
        "error: no VirtualService leads on from it for enterprise-networking.gloo-mesh on port 443\n",
    );
    site.ingress("apply --via istio").success();

    let internal = json!({ "spec": { "type": "ClusterIP" } }).to_string();
    let patch = [
        "-n",
        "istio-system",
        "patch",
        "service",
        "istio-ingressgateway",
        "-p",
        &internal,
    ];
    site.shell.kubectl(&patch).success();
    let warned = site.ingress("apply --via istio");
    warned
        .success()
        .complains("warning: its type is ClusterIP, which nothing outside the cluster can reach\n")
        .complains("kubectl --context alone -n istio-system patch service istio-ingressgateway --type merge -p '{\"spec\":{\"type\":\"LoadBalancer\"}}'\n");
    let broken = site.ingress("status");
    broken.exits(3).prints("broken").prints("<none>");
    // Once, with the same way out.
    let internal = "its type is ClusterIP, which nothing outside the cluster can reach\n";
    assert_eq!(broken.stderr.matches(internal).count(), 1, "{broken}");
    broken
        .complains(&format!("error: {internal}"))
        .complains("patch service istio-ingressgateway --type merge");
    site.ingress("apply --via istio --wait=1s")
        .exits(1)
        .complains("hint: give it the type LoadBalancer or NodePort, for which Istio's gateway chart has `service.type`\n");

    site.kubectl("-n gloo-mesh delete service enterprise-networking");
    let gone = site.lint(3);
    assert!(
        gone.iter()
            .any(|lint| lint.ends_with("and there is no such service")),
        "{gone:?}"
    );
}

#[test]
fn a_way_through_a_wildcard_is_one() {
    let site = Site::new();
    let [mut wild, mut leads_on] = documents("enterprise-networking", "gloo-mesh", 9900);
    wild["metadata"] = json!({ "name": "wild", "namespace": "edge" });
    wild["spec"]["servers"][0]["hosts"] = json!(["*"]);
    leads_on["metadata"] = json!({ "name": "by-hand", "namespace": "gloo-mesh" });
    leads_on["spec"]["gateways"] = json!(["edge/wild"]);
    site.shell.apply("alone", &wild);
    site.ingress("status")
        .exits(3)
        .complains("error: nothing outside the cluster leads to enterprise-networking.gloo-mesh\n");
    site.shell.apply("alone", &leads_on);
    let address = site.shell.kubectl(&["relay-address"]);
    assert_eq!(address.success().stdout, "203.0.113.50:443\n");
    site.ingress("status")
        .success()
        .prints("istio   gateway edge/wild   healthy   203.0.113.50:443\n");
    // Where there is one by name, Istio goes by that.
    site.ingress("apply --via istio").success();
    let status = site.ingress("status");
    status
        .success()
        .prints(&format!("istio   {GATEWAY}   healthy   203.0.113.50:443\n"));
    status.complains("warning: its * on port 443 of the same pods includes");
    assert!(!status.stdout.contains("edge/wild"), "{status}");
}

#[test]
fn the_name_that_apply_was_given_is_known() {
    let site = Site::new();
    let shown = |ways: &[&str]| {
        let rows: String = ways
            .iter()
            .map(|way| format!("istio   gateway {way}   healthy   203.0.113.50:443\n"))
            .collect();
        format!("VIA     OBJECT                                HEALTH    ADDRESS\n{rows}")
    };
    site.ingress("apply --via istio --host relay.example.com")
        .success();
    assert_eq!(
        site.ingress("status").success().stdout,
        shown(&["gloo-mesh/gloo-mesh-ingress"])
    );
    assert_eq!(site.lint(0), [""; 0]);
    let host = "status -o jsonpath={.relay.host}";
    assert_eq!(site.ingress(host).success().stdout, "relay.example.com");
    let asked = site.ingress("status --host enterprise-networking.gloo-mesh");
    asked
        .exits(3)
        .complains("error: nothing outside the cluster leads to enterprise-networking.gloo-mesh\n");

    // It is not that of another relay server, and there may be more than one.
    let other = "apply --via istio --namespace edge --service relay --host other.example.com --dry-run=client -o json";
    site.shell.apply("alone", site.ingress(other).success().json());
    assert_eq!(site.ingress(host).success().stdout, "relay.example.com");
    site.ingress("apply --via istio --gateway-namespace edge --name relay-under-usual-name")
        .success();
    let both = site.ingress("status");
    assert_eq!(
        both.success().stdout,
        shown(&["edge/relay-under-usual-name", "gloo-mesh/gloo-mesh-ingress"])
    );
    let hosts = "status -o jsonpath={.relay.host}:{.ways[*].host}";
    assert_eq!(
        site.ingress(hosts).success().stdout,
        "enterprise-networking.gloo-mesh:enterprise-networking.gloo-mesh relay.example.com"
    );
    assert_eq!(site.lint(0), [""; 0]);

    // What leads nowhere by that name is as wrong as by the usual one.
    site.kubectl("delete -n gloo-mesh virtualservices.networking.istio.io gloo-mesh-ingress");
    let found = site.lint(3);
    assert!(found[0].contains("relay.example.com"), "{found:?}");
    site.ingress("delete").success();
    assert_eq!(
        site.ingress(host).exits(3).stdout,
        "enterprise-networking.gloo-mesh"
    );
}

#[test]
fn a_service_that_leads_nowhere_is_told_from_one_that_is_missing() {
    let site = Site::new();
    let missing = "error: there is no relay service to expose\n";
    site.ingress("status -n edge")
        .exits(3)
        .complains(missing)
        .complains("hint: install Gloo Mesh Enterprise first");
    site.ingress("lint -n edge").exits(3).prints(missing);
    let port = |name: &str, port: u16| json!({ "name": name, "port": port });
    let unnamed = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "relay", "namespace": "edge" },
        "spec": { "ports": [port("a", 1), port("b", 2)] },
    });
    site.shell.apply("alone", &unnamed);
    site.ingress("apply --via istio -n edge --service relay")
        .exits(1)
        .complains("error: it leads to port 9900 of relay.edge.svc.cluster.local, which has a (1), b (2)\n")
        .complains("hint: name its gRPC port \"grpc\", or say which Service is the relay server's");
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
fn load_balancers_are_not_expected_on_kind() {
    let site = Site::new();
    let kind = json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": "kind-control-plane" },
        "spec": { "providerID": "kind://docker/kind/kind-control-plane" },
    });
    site.shell.apply("alone", &kind);
    let warning = "warning: no load balancer is to be expected: this is kind, which has none by default\n";
    // The ingress gateway has one, after all.
    site.ingress("apply --via loadbalancer --dry-run=server")
        .success()
        .conceals(warning);
    site.shell.patch_status(
        "alone",
        "service/istio-ingressgateway",
        "istio-system",
        &json!({ "loadBalancer": null }),
    );
    site.ingress("apply --via loadbalancer")
        .success()
        .complains(warning);
    let waiting = site.ingress("status");
    waiting
        .exits(3)
        .prints("loadbalancer   service gloo-mesh/enterprise-networking   broken   <none>\n");
    waiting.complains(warning).complains("error: it has no address: ");
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
