//! `kubectl relay-ingress apply`: the page's two ways of exposing the server.

mod gateway_api;
mod live;
mod others;
mod service;
mod status;

use relay_tests::{ControlPlane, Kubeconfig, Proxy, Shell, Transcript, fixtures, proxy::Unreachable};
use serde_json::{Value, json};

#[track_caller]
fn apply(shell: &Shell, context: &str, namespace: &str, more: &[&str]) -> Transcript {
    let arguments = ["relay-ingress", "apply", "--context", context, "-n", namespace];
    shell.kubectl(&[&arguments[..], more].concat())
}

/// A namespace in a cluster with Istio, and with an ingress gateway in it.
#[track_caller]
fn istio_namespace(shell: &Shell, context: &str) -> String {
    fixtures::install_istio_crds(shell, context);
    let namespace = fixtures::fresh_namespace(shell, &[context]);
    let objects = [
        fixtures::ingress_gateway(&namespace, "LoadBalancer"),
        fixtures::gateway_pod("gateway-1", &namespace, "node-1", true),
    ];
    fixtures::create(shell, context, &objects);
    namespace
}

/// The page's two documents, for any relay host and port, and whose they are.
fn documents(service: &str, namespace: &str, port: u16) -> [Value; 2] {
    let host = format!("{service}.{namespace}");
    let metadata = json!({
        "name": "gloo-mesh-ingress",
        "namespace": namespace,
        "labels": {
            "app.kubernetes.io/managed-by": "kubectl-relay-ingress",
            "kubectl-relay-ingress/relay-namespace": namespace,
            "kubectl-relay-ingress/relay-service": service,
        },
    });
    [
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "Gateway",
            "metadata": metadata,
            "spec": {
                "selector": { "istio": "ingressgateway" },
                "servers": [{
                    "port": { "number": 443, "name": "https", "protocol": "HTTPS" },
                    "tls": { "mode": "PASSTHROUGH" },
                    "hosts": [host],
                }],
            },
        }),
        json!({
            "apiVersion": "networking.istio.io/v1",
            "kind": "VirtualService",
            "metadata": metadata,
            "spec": {
                "hosts": [host],
                "gateways": [format!("{namespace}/gloo-mesh-ingress")],
                "tls": [{
                    "match": [{ "port": 443, "sniHosts": [host] }],
                    "route": [{
                        "destination": {
                            "host": format!("{host}.svc.cluster.local"),
                            "port": { "number": port },
                        },
                    }],
                }],
            },
        }),
    ]
}

fn yaml(text: &str) -> Vec<Value> {
    let documents = text.split("---\n");
    documents
        .map(|document| serde_saphyr::from_str(document).expect("is YAML"))
        .collect()
}

#[test]
fn what_is_printed_is_what_the_server_answers() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = istio_namespace(&shell, "east");
    shell.apply("east", fixtures::relay_service(&namespace, "ClusterIP"));
    // What the server chooses anew for each request.
    let without_chosen = |mut object: Value| {
        assert!(object["metadata"]["uid"].is_string(), "no answer: {object:#}");
        for field in ["creationTimestamp", "resourceVersion", "uid"] {
            object["metadata"][field] = json!(null);
        }
        if let Some(port) = object.pointer_mut("/spec/ports/0/nodePort") {
            assert!(port.take().is_number());
        }
        object
    };
    for (via, live) in [
        ("loadbalancer", "service/enterprise-networking"),
        ("istio", "gateway/gloo-mesh-ingress"),
    ] {
        let live = || shell.get("east", live, &namespace);
        let printed = |more: &[&str]| {
            let flags = [&["--via", via, "-o", "json"], more].concat();
            let printed = apply(&shell, "east", &namespace, &flags).success().json();
            match &printed["items"] {
                Value::Array(items) => items[0].clone(),
                _ => printed,
            }
        };
        let rehearsed = printed(&["--dry-run=server"]);
        let applied = printed(&[]);
        assert_eq!(applied, live());
        assert_eq!(without_chosen(rehearsed), without_chosen(applied.clone()));
        // And what is there already, where nothing changes.
        assert_eq!(printed(&["--dry-run=server"]), applied);
        assert_eq!(printed(&[]), applied);
    }
}

#[test]
fn a_dry_run_of_the_client_needs_no_cluster() {
    let mut shell = Shell::on(ControlPlane::shared());
    shell.set_env("KUBECONFIG", "/nonexistent");
    let dry = |more: &[&str]| {
        let arguments = ["relay-ingress", "apply", "--dry-run=client"];
        shell.kubectl(&[&arguments[..], more].concat())
    };
    let istio = dry(&["--via", "istio", "-o", "yaml"]);
    // Every Istio serves the page's version.
    let page = documents("enterprise-networking", "gloo-mesh", 9900).map(|mut document| {
        document["apiVersion"] = "networking.istio.io/v1alpha3".into();
        document
    });
    assert_eq!(yaml(&istio.success().stdout), page);
    istio.complains("not checked: the cluster cannot be read, so everything is taken to be as on the page\n");

    let flags = [
        "--via=istio",
        "--gateway-selector=istio=ingress,team=edge",
        "--gateway-namespace=edge",
        "--host=relay.example.com",
        "--port=8443",
        "--name=relay",
    ];
    let documents = yaml(&dry(&[&flags[..], &["-o", "yaml"]].concat()).success().stdout);
    for document in &documents {
        assert_eq!(document["metadata"]["name"], "relay");
        assert_eq!(document["metadata"]["namespace"], "edge");
    }
    let hosts = json!(["relay.example.com"]);
    let gateway = json!({
        "selector": { "istio": "ingress", "team": "edge" },
        "servers": [{
            "port": { "number": 8443, "name": "https", "protocol": "HTTPS" },
            "tls": { "mode": "PASSTHROUGH" },
            "hosts": hosts,
        }],
    });
    let virtual_service = json!({
        "hosts": hosts,
        "gateways": ["edge/relay"],
        "tls": [{
            "match": [{ "port": 8443, "sniHosts": hosts }],
            "route": [{
                "destination": {
                    "host": "enterprise-networking.gloo-mesh.svc.cluster.local",
                    "port": { "number": 9900 },
                },
            }],
        }],
    });
    let specs: Vec<_> = documents.iter().map(|document| &document["spec"]).collect();
    assert_eq!(specs, [&gateway, &virtual_service]);

    let node_port = dry(&["--via", "nodeport"]);
    node_port
        .success()
        .prints("service/enterprise-networking   configured (dry run)");
    dry(&["--via", "nodeport", "--context", "mgmt"]).exits(2);
    dry(&["--via", "auto"])
        .exits(2)
        .complains("error: whether the cluster serves Istio or Gateway API is not known")
        .complains("--via loadbalancer (a public address");
}

#[test]
fn a_dry_run_of_the_client_needs_no_server() {
    let proxy = Proxy::before(ControlPlane::shared().cluster("mgmt"));
    let shell = Shell::new(&Kubeconfig::new().through("mgmt", &proxy, "").current("mgmt"));
    proxy.break_connections(1, Unreachable::Refuse);
    let dry = |via: &str| {
        let transcript = shell.kubectl(&["relay-ingress", "apply", "--dry-run=client", via]);
        transcript
            .success()
            .complains(
                "not checked: the cluster cannot be read, so everything is taken to be as on the page\n",
            )
            .complains("  The connection to the server 127.0.0.1:")
            .complains("was refused - did you specify the right host or port?\n");
        transcript
    };
    dry("--via=loadbalancer").prints("mgmt   service/enterprise-networking   configured (dry run)\n");
    dry("--via=istio")
        .prints("mgmt   gateway.networking.istio.io/gloo-mesh-ingress          created (dry run)\n");
    let apply = ["relay-ingress", "apply", "--via=gateway-api", "--dry-run=client"];
    shell
        .kubectl(&apply)
        .exits(2)
        .complains("hint: name one with --gateway-class");
    let named = shell.kubectl(&[&apply[..], &["--gateway-class=istio", "-o=name"]].concat());
    assert_eq!(
        named.success().stdout,
        "gateway.gateway.networking.k8s.io/gloo-mesh-ingress\n\
         tlsroute.gateway.networking.k8s.io/gloo-mesh-ingress\n"
    );
    // Only the client's: a server that is asked has to answer.
    shell
        .kubectl(&["relay-ingress", "apply", "--via=istio", "--dry-run=server"])
        .exits(1)
        .complains("The connection to the server 127.0.0.1:");
}

#[test]
fn what_cannot_be_exposed_is_one_clear_error() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt", "west"]);
    let missing = apply(&shell, "mgmt", &namespace, &["--via", "loadbalancer"]);
    assert_eq!(
        missing.exits(1).stderr,
        format!(
            "error: there is no relay service to expose\n  \
             where: context \"mgmt\", service {namespace}/enterprise-networking\n  \
             hint: install Gloo Mesh Enterprise first, or say where it is with --namespace and --service\n"
        )
    );
    apply(&shell, "mgmt", &namespace, &[])
        .exits(2)
        .complains("--via <VIA>");
    apply(
        &shell,
        "mgmt",
        &namespace,
        &["--via=istio", "--service-annotation=a=b"],
    )
    .exits(2)
    .complains("--service-annotation has no use here");
    apply(&shell, "mgmt", &namespace, &["--via=nodeport", "--port=8443"])
        .exits(2)
        .complains("error: --port has no use here: it is for gateways\n")
        .complains("hint: leave it out, or go through a gateway");
    apply(&shell, "mgnt", &namespace, &["--via", "istio"])
        .exits(2)
        .complains("did you mean \"mgmt\"? known contexts: mgmt, east, west");
    apply(&shell, "west", &namespace, &["--via", "istio"])
        .exits(1)
        .complains("error: the cluster does not serve Istio's Gateway and VirtualService\n")
        .complains("  where: context \"west\", /apis/networking.istio.io\n")
        .complains("  hint: install Istio");
    apply(&shell, "west", &namespace, &["--via=istio", "--dry-run=client"])
        .success()
        .prints("gateway.networking.istio.io/gloo-mesh-ingress          created (dry run)\n")
        .complains("not checked: what is there already\n  error: the cluster does not serve Istio's");
}

#[test]
fn istio_gets_the_pages_two_documents() {
    let shell = Shell::on(ControlPlane::shared());
    fixtures::install_istio_crds(&shell, "east");
    let at = |more: &[&str]| {
        let arguments = [
            "relay-ingress",
            "apply",
            "--mgmt-context",
            "east",
            "--via",
            "istio",
        ];
        shell.kubectl(&[&arguments[..], more].concat())
    };
    let page = documents("enterprise-networking", "gloo-mesh", 9900);
    let shown = at(&["--dry-run=client", "-o", "yaml"]);
    assert_eq!(yaml(&shown.success().stdout), page);
    let shown = at(&["--dry-run=client", "-o", "json"]).success().json();
    assert_eq!(shown["items"], json!(page));
    let named = at(&[
        "--dry-run=client",
        "-o",
        "yaml",
        "-n",
        "mesh",
        "--service",
        "relay",
    ]);
    assert_eq!(yaml(&named.success().stdout), documents("relay", "mesh", 9900));

    // The relay service that is there decides about name and port.
    let namespace = istio_namespace(&shell, "east");
    let mut service = fixtures::relay_service(&namespace, "ClusterIP");
    service["metadata"]["name"] = "gloo-mesh-mgmt-server".into();
    service["spec"]["ports"][0]["port"] = 9977.into();
    shell.apply("east", &service);
    let wanted = documents("gloo-mesh-mgmt-server", &namespace, 9977);
    let live = || {
        ["gateway", "virtualservice"]
            .map(|kind| shell.get("east", &format!("{kind}/gloo-mesh-ingress"), &namespace))
    };
    let report = |outcome: &str| {
        format!(
            "east   gateway.networking.istio.io/gloo-mesh-ingress          {outcome}\n\
             east   virtualservice.networking.istio.io/gloo-mesh-ingress   {outcome}\n"
        )
    };

    let dry = apply(
        &shell,
        "east",
        &namespace,
        &["--via", "istio", "--dry-run=server"],
    );
    assert_eq!(dry.success().stdout, report("created (server dry run)"));
    let absent = [
        "--context",
        "east",
        "-n",
        &namespace,
        "get",
        "gateway",
        "gloo-mesh-ingress",
    ];
    shell.kubectl(&absent).exits(1).complains("NotFound");

    let first = apply(&shell, "east", &namespace, &["--via", "istio"]);
    assert_eq!(first.success().stdout, report("created"));
    let applied = live();
    for (live, wanted) in applied.iter().zip(&wanted) {
        assert_eq!(live["spec"], wanted["spec"]);
    }
    let second = apply(&shell, "east", &namespace, &["--via", "istio"]);
    assert_eq!(second.success().stdout, report("unchanged"));
    assert_eq!(live(), applied);

    // Ours, changed since: put right.
    service["spec"]["ports"][0]["port"] = 9988.into();
    shell.apply("east", &service);
    let third = apply(&shell, "east", &namespace, &["--via", "istio"]);
    third
        .success()
        .prints("virtualservice.networking.istio.io/gloo-mesh-ingress   configured");
    assert_eq!(
        live()[1]["spec"],
        documents("gloo-mesh-mgmt-server", &namespace, 9988)[1]["spec"]
    );
}
