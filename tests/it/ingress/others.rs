//! What others change, before a run or while it runs, is theirs: it is neither taken
//! over in silence nor overlooked.

use std::{thread, time::Duration};

use relay_tests::{
    ControlPlane, Kubeconfig, Proxy, Shell, Transcript, fixtures,
    proxy::{Fault, Request},
};
use serde_json::{Value, json};

use super::{apply, documents, istio_namespace};
use crate::certs::words;

/// A server that is busy for as long leaves time to change what was read.
const BUSY: Fault = Fault::Busy(4);

#[test]
fn another_managers_fields_are_never_overwritten() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = istio_namespace(&shell, "east");
    shell.apply("east", fixtures::relay_service(&namespace, "ClusterIP"));
    let [mut gateway, _] = documents("enterprise-networking", &namespace, 9900);
    gateway["spec"]["servers"][0]["hosts"] = json!(["theirs.example.com"]);
    gateway["metadata"]["labels"] = Value::Null;
    let theirs = [
        "--context",
        "east",
        "apply",
        "--server-side",
        "--field-manager=argocd",
        "-f",
        "-",
    ];
    shell.stdin(&gateway).kubectl(&theirs).success();

    let refused = apply(&shell, "east", &namespace, &["--via", "istio"]);
    refused
        .exits(1)
        .complains("Error from server (Conflict): ")
        .complains("conflict with \"argocd\"")
        .complains(&format!(
            "where: context \"east\", gateway {namespace}/gloo-mesh-ingress"
        ))
        .complains("hint: leave it to whoever that is, or take these fields over with --force-conflicts");
    let kept = shell.get("east", "gateway/gloo-mesh-ingress", &namespace);
    assert_eq!(kept["spec"], gateway["spec"]);
    // Nothing is done by halves.
    assert_eq!(refused.stdout, "");
    let others = [
        "--context",
        "east",
        "-n",
        &namespace,
        "get",
        "virtualservices",
        "-o",
        "name",
    ];
    assert_eq!(shell.kubectl(&others).success().stdout, "");

    let forced = apply(
        &shell,
        "east",
        &namespace,
        &["--via", "istio", "--force-conflicts"],
    );
    forced
        .success()
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          configured")
        .complains("from \"theirs.example.com\"\n");
    let [ours, _] = documents("enterprise-networking", &namespace, 9900);
    let taken = shell.get("east", "gateway/gloo-mesh-ingress", &namespace);
    assert_eq!(taken["spec"], ours["spec"]);
}

#[test]
fn what_is_not_as_it_would_be_applied_is_not_called_unchanged() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = istio_namespace(&shell, "east");
    shell.apply("east", fixtures::relay_service(&namespace, "ClusterIP"));
    let both = "--gateway-selector=istio=ingressgateway,app=istio-ingressgateway";
    apply(&shell, "east", &namespace, &["--via=istio", both]).success();
    let [gateway, virtual_service] = [
        "gateways.networking.istio.io",
        "virtualservices.networking.istio.io",
    ]
    .map(|kind| format!("{kind}/gloo-mesh-ingress"));

    // Ours, and wanted no more.
    apply(&shell, "east", &namespace, &["--via=istio"])
        .success()
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          configured\n")
        .complains("spec.selector.app   without \"istio-ingressgateway\"\n");
    let live = shell.get("east", &gateway, &namespace);
    assert_eq!(live["spec"]["selector"], json!({ "istio": "ingressgateway" }));
    apply(&shell, "east", &namespace, &["--via=istio"])
        .success()
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          unchanged\n");

    // By hand, and no agent gets through any more.
    let narrowed =
        json!([{ "op": "add", "path": "/spec/tls/0/match/0/sourceLabels", "value": { "app": "x" } }]);
    let narrowed = ["--type=json", "--patch", &narrowed.to_string()];
    let patch = ["--context", "east", "-n", &namespace, "patch", &virtual_service];
    shell.kubectl(&[&patch[..], &narrowed].concat()).success();
    apply(&shell, "east", &namespace, &["--via=istio"])
        .exits(1)
        .complains("conflict with \"kubectl-patch\"");
    apply(&shell, "east", &namespace, &["--via=istio", "--force-conflicts"])
        .success()
        .prints("virtualservice.networking.istio.io/gloo-mesh-ingress   configured\n");
    let [_, wanted] = documents("enterprise-networking", &namespace, 9900);
    let live = shell.get("east", &virtual_service, &namespace);
    assert_eq!(live["spec"], wanted["spec"]);
}

/// Runs a command behind a proxy, and another one directly after the first has read
/// all it wants: before the nth time that it sends this request.
#[track_caller]
fn overtaken(
    (namespace, proxy): (&str, &Proxy),
    command: &str,
    (method, path, nth): (&str, &str, usize),
    overtaking: &str,
) -> Transcript {
    let behind = Shell::new(&Kubeconfig::new().through("east", proxy, "").current("east"));
    let directly = Shell::on(ControlPlane::shared());
    let request = Request {
        method: method.to_owned(),
        path: path.to_owned(),
    };
    let struck = proxy.break_request(&request, nth, BUSY);
    let place = ["--context", "east", "--namespace", namespace];
    thread::scope(|scope| {
        let overtaken = scope.spawn(|| behind.kubectl(&[&words(command)[..], &place].concat()));
        let comes = struck.recv_timeout(Duration::from_secs(60));
        comes.expect("the request comes");
        directly
            .kubectl(&[&words(overtaking)[..], &place].concat())
            .success();
        overtaken.join().expect("it ends")
    })
}

#[test]
fn what_changes_while_we_look_is_not_overwritten() {
    let control_plane = ControlPlane::shared();
    let shell = Shell::on(control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &["east"]);
    shell.apply("east", fixtures::relay_service(&namespace, "ClusterIP"));
    let proxy = Proxy::before(control_plane.cluster("east"));
    let live = || shell.get("east", "service/enterprise-networking", &namespace);
    let path = format!("/api/v1/namespaces/{namespace}/services/enterprise-networking");
    let patch = ("PATCH", path.as_str(), 1);
    let conflict = |refused: &Transcript| {
        refused
            .exits(1)
            .complains("answers 429 TooManyRequests: trying again")
            .complains("Error from server (Conflict): ")
            .complains("the object has been modified")
            .complains(&format!("service {namespace}/enterprise-networking\n"))
            .complains("hint: someone else changed it just now: run the same command again")
            .prints("service/enterprise-networking   failed\n");
    };

    let by_hand = r#"patch service enterprise-networking --patch={"spec":{"type":"NodePort"}}"#;
    let expose = "relay-ingress apply --via=loadbalancer";
    conflict(&overtaken((&namespace, &proxy), expose, patch, by_hand));
    let now = live();
    assert_eq!(now["spec"]["type"], "NodePort");
    assert_eq!(
        now["metadata"]["annotations"]["kubectl-relay-ingress/changed"],
        Value::Null
    );

    apply(&shell, "east", &namespace, &["--via=loadbalancer"]).success();
    let by_hand = r#"patch service enterprise-networking --patch={"spec":{"sessionAffinity":"ClientIP"}}"#;
    let take_back = "relay-ingress delete";
    conflict(&overtaken((&namespace, &proxy), take_back, patch, by_hand));
    let now = live();
    assert_eq!(now["spec"]["type"], "LoadBalancer");
    assert_eq!(now["spec"]["sessionAffinity"], "ClientIP");
    let again = shell.kubectl(&[
        "relay-ingress",
        "delete",
        "--context",
        "east",
        "--namespace",
        &namespace,
    ]);
    again.success();
    assert_eq!(live()["spec"]["type"], "NodePort");
}

#[test]
fn what_somebody_makes_theirs_is_not_deleted() {
    let control_plane = ControlPlane::shared();
    let shell = Shell::on(control_plane);
    let namespace = istio_namespace(&shell, "east");
    shell.apply("east", fixtures::relay_service(&namespace, "ClusterIP"));
    apply(&shell, "east", &namespace, &["--via=istio"]).success();
    let proxy = Proxy::before(control_plane.cluster("east"));
    let gateway = format!("/apis/networking.istio.io/v1/namespaces/{namespace}/gateways/gloo-mesh-ingress");
    // After it was checked, and before it is done.
    let delete = ("DELETE", gateway.as_str(), 2);
    let label =
        "label gateways.networking.istio.io gloo-mesh-ingress --overwrite app.kubernetes.io/managed-by=me";
    overtaken((&namespace, &proxy), "relay-ingress delete", delete, label)
        .exits(1)
        .complains("Error from server (Conflict): ")
        .complains("hint: someone else changed it just now: run the same command again")
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          failed\n")
        .prints("virtualservice.networking.istio.io/gloo-mesh-ingress   deleted\n");
    shell.get(
        "east",
        "gateways.networking.istio.io/gloo-mesh-ingress",
        &namespace,
    );
    let again = shell.kubectl(&[
        "relay-ingress",
        "delete",
        "--context",
        "east",
        "--namespace",
        &namespace,
    ]);
    again.success().complains("nothing of ours is left");
}

#[test]
fn what_goes_with_a_type_comes_back_with_it() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["east"]);
    let mut service = fixtures::relay_service(&namespace, "LoadBalancer");
    service["spec"]["loadBalancerClass"] = "example.com/internal".into();
    service["spec"]["allocateLoadBalancerNodePorts"] = false.into();
    shell.apply("east", &service);
    let chosen = || {
        let live = shell.get("east", "service/enterprise-networking", &namespace);
        let fields = ["type", "loadBalancerClass", "allocateLoadBalancerNodePorts"];
        fields.map(|field| live["spec"][field].clone())
    };
    let was = chosen();
    apply(&shell, "east", &namespace, &["--via=nodeport"]).success();
    // Which the API server drops by itself.
    assert_eq!(chosen(), [json!("NodePort"), Value::Null, Value::Null]);
    let line = [
        "relay-ingress",
        "delete",
        "--context=east",
        "--namespace",
        &namespace,
    ];
    shell.kubectl(&line).success();
    assert_eq!(chosen(), was);
}
