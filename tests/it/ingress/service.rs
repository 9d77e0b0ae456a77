//! The relay server by its own Service.

use relay_tests::{ControlPlane, Shell, fixtures};
use serde_json::{Value, json};

use super::apply;

#[test]
fn a_load_balancer_changes_the_type_and_nothing_else() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "ClusterIP"));
    let before = service(&shell, &namespace);

    // Alone it is the client's, as in kubectl.
    for (dry_run, suffix) in [
        (&["--dry-run"][..], " (dry run)"),
        (&["--dry-run", "client"], " (dry run)"),
        (&["--dry-run=server"], " (server dry run)"),
    ] {
        let shown = apply(
            &shell,
            "mgmt",
            &namespace,
            &[dry_run, &["--via", "loadbalancer"]].concat(),
        );
        let report = format!("mgmt   service/enterprise-networking   configured{suffix}\n");
        assert_eq!(shown.success().stdout, report);
        assert_eq!(service(&shell, &namespace), before);
    }

    let first = apply(&shell, "mgmt", &namespace, &["--via", "loadbalancer"]);
    assert_eq!(
        first.success().stdout,
        "mgmt   service/enterprise-networking   configured\n"
    );
    let after = service(&shell, &namespace);
    assert_eq!(after["spec"]["type"], "LoadBalancer");
    for kept in ["selector", "clusterIP"] {
        assert_eq!(after["spec"][kept], before["spec"][kept]);
    }
    assert_eq!(after["spec"]["ports"][0]["port"], 9900);
    assert_eq!(after["metadata"]["labels"], before["metadata"]["labels"]);
    let mut annotations = after["metadata"]["annotations"].clone();
    let annotations = annotations.as_object_mut().expect("has annotations");
    let changed = annotations
        .remove("kubectl-relay-ingress/changed")
        .expect("is kept");
    assert_eq!(changed, r#"{"type":{"from":"ClusterIP","to":"LoadBalancer"}}"#);
    assert_eq!(json!(annotations), before["metadata"]["annotations"]);
    let managers = after["metadata"]["managedFields"]
        .as_array()
        .expect("has managers");
    let ours = managers
        .iter()
        .find(|entry| entry["manager"] == "kubectl-relay-ingress");
    let fields = &ours.expect("we wrote it")["fieldsV1"]["f:spec"];
    assert_eq!(fields["f:type"], json!({}));
    assert_eq!(fields["f:selector"], Value::Null);

    let second = apply(&shell, "mgmt", &namespace, &["--via", "loadbalancer"]);
    assert_eq!(
        second.success().stdout,
        "mgmt   service/enterprise-networking   unchanged\n"
    );
    assert_eq!(service(&shell, &namespace), after);
}

#[test]
fn a_changed_service_is_described_before_and_taken_back_after() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let mut relay = fixtures::relay_service(&namespace, "ClusterIP");
    relay["metadata"]["annotations"] = json!({
        "meta.helm.sh/release-name": "gloo-mesh",
        "example.com/scope": "all",
    });
    shell.apply("mgmt", &relay);
    let before = service(&shell, &namespace);
    let delete = |more: &[&str]| {
        let arguments = ["relay-ingress", "delete", "--context", "mgmt", "-n", &namespace];
        shell.kubectl(&[&arguments[..], more].concat())
    };
    let nothing = "nothing of ours is left: there is nothing to take back\n";
    assert_eq!(delete(&[]).success().stderr, nothing);

    let internal = [
        "--via",
        "loadbalancer",
        "--service-annotation",
        "example.com/scope=internal",
    ];
    let balanced = apply(&shell, "mgmt", &namespace, &internal);
    let object = format!("service {namespace}/enterprise-networking");
    let start = format!(
        "context \"mgmt\", {object} changes:\n  \
         metadata.annotations[\"example.com/scope\"]  "
    );
    assert!(balanced.success().stderr.starts_with(&start), "{balanced}");
    balanced
        .complains("from \"all\"\n")
        .complains("to \"internal\"\n  metadata.annotations[\"kubectl-relay-ingress/changed\"]   new (for `delete`)\n")
        .complains("from \"ClusterIP\"\n")
        .complains("to \"LoadBalancer\"\n")
        .complains(&format!(
            "note: {object} belongs to Helm release \"gloo-mesh\", whose next upgrade or sync sets its type back\n  \
             hint: make it stay with the Helm value \
             enterprise-networking.enterpriseNetworking.serviceType=LoadBalancer\n"
        ));
    let moved = apply(&shell, "mgmt", &namespace, &["--via", "nodeport"]);
    moved
        .success()
        .prints("mgmt   service/enterprise-networking   configured\n");
    let exposed = service(&shell, &namespace);
    assert_eq!(exposed["spec"]["type"], "NodePort");
    assert!(exposed["spec"]["ports"][0]["nodePort"].is_number(), "{exposed:#}");
    assert_eq!(
        exposed["metadata"]["annotations"]["example.com/scope"],
        "internal"
    );
    let again = apply(&shell, "mgmt", &namespace, &["--via", "nodeport"]);
    assert_eq!(
        again.success().stdout,
        "mgmt   service/enterprise-networking   unchanged\n"
    );
    again.conceals("note:");

    let dry = delete(&["--dry-run=server"]);
    dry.success()
        .prints("service/enterprise-networking   configured (server dry run)");
    assert_eq!(service(&shell, &namespace), exposed);
    let restored = delete(&[]);
    restored
        .success()
        .prints("service/enterprise-networking   configured\n")
        .complains("without (for `delete`)\n")
        .complains("release \"gloo-mesh\", whose next upgrade or sync exposes it again if told to\n")
        .complains("enterprise-networking.enterpriseNetworking.serviceType=ClusterIP\n");
    let after = service(&shell, &namespace);
    for kept in ["spec", "status"] {
        assert_eq!(after[kept], before[kept]);
    }
    assert_eq!(
        after["metadata"]["annotations"],
        before["metadata"]["annotations"]
    );
    assert_eq!(delete(&[]).success().stderr, nothing);
}

#[test]
fn a_service_that_makes_no_sense_is_left_alone() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let mut relay = fixtures::relay_service(&namespace, "ClusterIP");
    relay["metadata"]["annotations"] = json!({ "kubectl-relay-ingress/changed": "by hand" });
    shell.apply("mgmt", &relay);
    apply(&shell, "mgmt", &namespace, &["--via", "nodeport"])
        .exits(1)
        .complains("its annotation \"kubectl-relay-ingress/changed\" is not what this tool wrote")
        .complains(&format!("service {namespace}/enterprise-networking"))
        .complains("hint: set the type of the Service by hand, and remove that annotation");
    let elsewhere = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "elsewhere", "namespace": namespace },
        "spec": { "type": "ExternalName", "externalName": "relay.example.com" },
    });
    shell.apply("mgmt", &elsewhere);
    let elsewhere = ["--via", "nodeport", "--service", "elsewhere"];
    apply(&shell, "mgmt", &namespace, &elsewhere)
        .exits(1)
        .complains("its type is ExternalName, so there is no server behind it to expose");
}

fn service(shell: &Shell, namespace: &str) -> Value {
    let get = [
        "--context",
        "mgmt",
        "-n",
        namespace,
        "get",
        "service",
        "enterprise-networking",
    ];
    let get = shell.kubectl(&[&get[..], &["-o", "json", "--show-managed-fields"]].concat());
    get.success().json()
}
