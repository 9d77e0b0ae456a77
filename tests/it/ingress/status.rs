//! What `lint` and `status` say of what is live, and what keeps `apply` from it.

use serde_json::{Value, json};

use super::{
    documents,
    live::{GATEWAY, Site},
};

impl Site {
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
