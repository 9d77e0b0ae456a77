//! `--via gateway-api` and `--via auto`: on clusters of their own, as they serve
//! different things.

use relay_tests::{ControlPlane, Shell, Transcript, fixtures};
use serde_json::{Value, json};

use crate::certs::words;

#[track_caller]
fn ingress(shell: &Shell, line: &str) -> Transcript {
    shell.kubectl(&[&["relay-ingress"], &words(line)[..]].concat())
}

/// Creates GatewayClasses of those names.
#[track_caller]
fn classes(shell: &Shell, context: &str, names: &[&str]) {
    for name in names {
        let class = json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "GatewayClass",
            "metadata": { "name": name },
            "spec": { "controllerName": "example.com/controller" },
        });
        shell.apply(context, class);
    }
}

fn documents(gateway_namespace: &str, from: Value) -> [Value; 2] {
    let host = "enterprise-networking.gloo-mesh";
    let metadata = |namespace: &str| {
        json!({
            "name": "gloo-mesh-ingress",
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": "kubectl-relay-ingress",
                "kubectl-relay-ingress/relay-namespace": "gloo-mesh",
                "kubectl-relay-ingress/relay-service": "enterprise-networking",
            },
        })
    };
    [
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "Gateway",
            "metadata": metadata(gateway_namespace),
            "spec": {
                "gatewayClassName": "istio",
                "listeners": [{
                    "name": "relay",
                    "port": 443,
                    "protocol": "TLS",
                    "hostname": host,
                    "tls": { "mode": "Passthrough" },
                    "allowedRoutes": { "namespaces": from, "kinds": [{ "kind": "TLSRoute" }] },
                }],
            },
        }),
        json!({
            "apiVersion": "gateway.networking.k8s.io/v1",
            "kind": "TLSRoute",
            "metadata": metadata("gloo-mesh"),
            "spec": {
                "parentRefs": [{ "name": "gloo-mesh-ingress", "namespace": gateway_namespace, "sectionName": "relay" }],
                "hostnames": [host],
                "rules": [{ "backendRefs": [{ "name": "enterprise-networking", "port": 9900 }] }],
            },
        }),
    ]
}

#[test]
fn a_gateway_and_a_route_lead_to_the_relay_server() {
    let control_plane = ControlPlane::start(&["alone"]);
    let shell = Shell::on(&control_plane);
    for namespace in ["gloo-mesh", "edge"] {
        shell.kubectl(&["create", "namespace", namespace]).success();
    }
    shell.apply("alone", fixtures::relay_service("gloo-mesh", "ClusterIP"));
    ingress(&shell, "apply --via gateway-api")
        .exits(1)
        .complains("error: the cluster does not serve Gateway API's Gateway and TLSRoute\n")
        .complains("hint: install Gateway API 1.5");
    ingress(&shell, "apply --via auto")
        .exits(2)
        .complains("error: the cluster serves neither Istio nor Gateway API, so --via auto has no choice\n")
        .complains("--via loadbalancer (a public address")
        .complains("--via nodeport");

    fixtures::install_gateway_api_crds(&shell, "alone");
    ingress(&shell, "apply --via gateway-api")
        .exits(1)
        .complains("error: there is no GatewayClass, so nothing would bring a Gateway up\n");
    classes(&shell, "alone", &["envoy", "istio"]);
    ingress(&shell, "apply --via gateway-api")
        .exits(2)
        .complains("error: there is more than one GatewayClass\n")
        .complains("hint: choose with --gateway-class: envoy, istio\n");

    let edge = "--via auto --gateway-class istio --gateway-namespace edge";
    let selector = json!({ "matchLabels": { "kubernetes.io/metadata.name": "gloo-mesh" } });
    let wanted = documents("edge", json!({ "from": "Selector", "selector": selector }));
    let shown = ingress(&shell, &format!("apply {edge} --dry-run=client -o json"));
    assert_eq!(shown.success().json()["items"], json!(wanted));
    shown.complains("--via auto: gateway-api, which the cluster serves\n");
    let applied = ingress(&shell, &format!("apply {edge}"));
    let report = |outcome: &str| {
        format!(
            "alone   gateway.gateway.networking.k8s.io/gloo-mesh-ingress    {outcome}\n\
             alone   tlsroute.gateway.networking.k8s.io/gloo-mesh-ingress   {outcome}\n"
        )
    };
    assert_eq!(applied.success().stdout, report("created"));
    let again = ingress(&shell, &format!("apply {edge}"));
    assert_eq!(again.success().stdout, report("unchanged"));

    let object = "gateway edge/gloo-mesh-ingress";
    ingress(&shell, "status")
        .exits(3)
        .prints(&format!("gateway-api   {object}   broken   <none>\n"))
        .complains("error: no controller has brought it up yet\n");
    let ready = |status: &str| json!({ "type": "Programmed", "status": status, "reason": "R", "message": "m", "lastTransitionTime": "2026-01-01T00:00:00Z" });
    let address = json!([{ "type": "IPAddress", "value": "203.0.113.70" }]);
    let gateway = "gateways.gateway.networking.k8s.io/gloo-mesh-ingress";
    let up = json!({ "addresses": address, "conditions": [ready("True")] });
    shell.patch_status("alone", gateway, "edge", &up);
    ingress(&shell, "status")
        .success()
        .prints(&format!("gateway-api   {object}   healthy   203.0.113.70:443\n"));
    shell.patch_status(
        "alone",
        gateway,
        "edge",
        &json!({ "conditions": [ready("False")] }),
    );
    ingress(&shell, "lint")
        .exits(3)
        .prints("error: it is not Programmed: m\n");

    // Also by another name, which is read from the Gateway.
    ingress(&shell, &format!("apply {edge} --host relay.example.com")).success();
    ingress(&shell, "lint")
        .exits(3)
        .prints(&format!("where: context \"alone\", {object}\n"));
    let host = ingress(&shell, "status -o jsonpath={.relay.host}");
    assert_eq!(host.exits(3).stdout, "relay.example.com");
    ingress(&shell, &format!("apply {edge}")).success();

    // The route moves; the Gateway in the other namespace would stay unnoticed.
    ingress(&shell, "apply --via gateway-api --gateway-class istio")
        .success()
        .complains("spec.parentRefs[0].namespace   from \"edge\"\n")
        .complains("note: gateway edge/gloo-mesh-ingress stays, and this route leads on from it no more\n")
        .complains(
            "kubectl --context alone -n edge delete gateways.gateway.networking.k8s.io gloo-mesh-ingress\n",
        );
    assert_eq!(
        ingress(&shell, "delete").success().stdout,
        "alone   gateway.gateway.networking.k8s.io/gloo-mesh-ingress in edge        deleted\n\
         alone   gateway.gateway.networking.k8s.io/gloo-mesh-ingress in gloo-mesh   deleted\n\
         alone   tlsroute.gateway.networking.k8s.io/gloo-mesh-ingress               deleted\n"
    );
    let left = "get gateways.gateway.networking.k8s.io,tlsroutes.gateway.networking.k8s.io -A -o name";
    assert_eq!(shell.kubectl(&words(left)).success().stdout, "");
    let same = ingress(
        &shell,
        "apply --via gateway-api --gateway-class istio --dry-run=client -o json",
    );
    assert_eq!(
        same.success().json()["items"],
        json!(documents("gloo-mesh", json!({ "from": "Same" })))
    );

    // Istio comes first where both are served.
    fixtures::install_istio_crds(&shell, "alone");
    ingress(&shell, "apply --via auto --dry-run=client -o name")
        .success()
        .complains("--via auto: istio, which the cluster serves\n")
        .prints("gateway.networking.istio.io/gloo-mesh-ingress\n");
}
