//! `-o`: the same document in the same format, from kubectl and from us.

use relay_tests::{ControlPlane, Shell, fixtures};
use serde_json::{Value, json};

/// A relay service with something for every template to find, and a namespace of
/// its own.
fn exposed() -> (Shell, String) {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let mut service = fixtures::relay_service(&namespace, "LoadBalancer");
    service["metadata"]["labels"]["app.kubernetes.io/part-of"] = json!("gloo-mesh");
    service["spec"]["ports"] = json!([
        { "name": "grpc", "port": 9900, "targetPort": 9900 },
        { "name": "metrics", "port": 9091, "targetPort": "metrics" },
        { "name": "http", "port": 80, "targetPort": 8080 },
    ]);
    service["metadata"]["annotations"] = json!({ "note": "it's \"here\" & <there>\nand on" });
    shell.apply("mgmt", &service);
    // What kubectl keeps of it there is long, and differs from run to run.
    let last_applied = "kubectl.kubernetes.io/last-applied-configuration-";
    let annotate = [
        "-n",
        &namespace,
        "annotate",
        "service",
        "enterprise-networking",
        last_applied,
    ];
    shell.kubectl(&annotate).success();
    let status = fixtures::load_balancer(&["203.0.113.7", "relay.example.com"]);
    shell.patch_status("mgmt", "service/enterprise-networking", &namespace, &status);
    (shell, namespace)
}

const TEMPLATES: [&str; 56] = [
    "{.spec.type}",
    "{.spec.ports[0].port}",
    "{.spec.ports[-1].name}",
    "{.spec.ports[0:2].name}",
    "{.spec.ports[::2].name}",
    "{.spec.ports[1:].name}",
    "{.spec.ports[-2:].port}",
    "{.spec.ports[:-1].port}",
    "{.spec.ports[*].name}",
    "{.spec.ports[*]['name','port']}",
    "{.spec.ports[0,2].name}",
    "{.spec['type','sessionAffinity']}",
    "{.spec.ports[?(@.name==\"grpc\")].port}",
    "{.spec.ports[?(@.name=='grpc')].nodePort}",
    "{.spec.ports[?(@.port>1000)].name}",
    "{.spec.ports[?(@.port<=9091)].name}",
    "{.spec.ports[?(@.name!=\"grpc\")].name}",
    "{.spec.ports[?(@.appProtocol)].name}",
    "{.spec.ports[?(@.targetPort==\"metrics\")].port}",
    "{.status.loadBalancer.ingress[0].ip}",
    "{.status.loadBalancer.ingress[*].ip}",
    "{.status.loadBalancer.ingress[*]['ip','hostname']}",
    "{..hostname}",
    "{.spec..name}",
    "{.metadata.labels.app}",
    "{.metadata.labels.app\\.kubernetes\\.io/part-of}",
    "{.metadata.labels['app\\.kubernetes\\.io/part-of']}",
    "{.metadata.annotations.note}",
    "{.spec.selector}",
    "{.spec.ports[0]}",
    "{.spec.ports}",
    "{range .spec.ports[*]}{.name}{\"=\"}{.port}{\"\\n\"}{end}",
    "{range .spec.ports[*]}{.name}:{.targetPort} {end}",
    "{range .spec.ports[*]}[{.name}{\",\"}{.port}]{end}done",
    "{range .status.loadBalancer.ingress[*]}{range .ip}<{}>{end}{end}",
    "{range .nothing[*]}x{end}y",
    "port {.spec.ports[0].port} of {.metadata.name}",
    "plain text",
    "",
    "{.missing}",
    "{.spec.missing.deeper}",
    "{$.spec.type}",
    "{@.spec.type}",
    "{\"quoted\"}",
    "{'single'}",
    "{\"a\\tb\"}",
    "{.spec.ports[7].port}",
    "{.spec.ports[x].port}",
    "{.spec.type[0]}",
    "{.spec.type.deeper}",
    "{.spec.ports[?(@.name==1)].port}",
    "{.spec.ports[?(@.name)].port",
    "{range .spec.ports[*]}{.name}",
    "{end}",
    "{.spec.clusterIPs}",
    "{.spec.allocateLoadBalancerNodePorts}",
];

#[test]
fn templates_make_of_a_document_what_kubectl_makes_of_it() {
    let (shell, namespace) = exposed();
    let get = ["-n", &namespace, "get", "service", "enterprise-networking"];
    let ours = [
        "relay-ingress",
        "apply",
        "-n",
        &namespace,
        "--via",
        "loadbalancer",
    ];
    let check = |format: &str, template: &str, missing: &str| {
        let output = format!("{format}={template}");
        let flags = ["-o", &output, missing];
        let kubectl = shell.kubectl(&[&get[..], &flags].concat());
        let plugin = shell.kubectl(&[&ours[..], &flags].concat());
        if kubectl.code == Some(0) {
            assert_eq!(plugin.success().stdout, kubectl.stdout, "{plugin}");
        } else {
            assert_ne!(plugin.code, Some(0), "{kubectl}{plugin}");
            assert_eq!(plugin.stdout, "", "{plugin}");
        }
    };
    for (i, template) in TEMPLATES.into_iter().enumerate() {
        check("jsonpath", template, "--allow-missing-template-keys");
        if i % 3 == 0 {
            check("jsonpath-as-json", template, "--allow-missing-template-keys=true");
        }
        if template.contains("missing") || template.contains("nothing") {
            check("jsonpath", template, "--allow-missing-template-keys=false");
        }
    }
}

#[test]
fn documents_are_kubectls() {
    let (shell, namespace) = exposed();
    let get = ["-n", &namespace, "get", "service", "enterprise-networking", "-o"];
    let ours = [
        "relay-ingress",
        "apply",
        "-n",
        &namespace,
        "--via",
        "loadbalancer",
        "-o",
    ];
    let both = |format: &str| {
        let kubectl = shell.kubectl(&[&get[..], &[format]].concat());
        let plugin = shell.kubectl(&[&ours[..], &[format]].concat());
        (plugin.success().stdout.clone(), kubectl.success().stdout.clone())
    };
    let (plugin, kubectl) = both("json");
    assert_eq!(plugin, kubectl);
    let (plugin, kubectl) = both("name");
    assert_eq!(plugin, kubectl);
    let (plugin, kubectl) = both("yaml");
    let parse = |text: &str| serde_saphyr::from_str::<Value>(text).expect("is YAML");
    assert_eq!(parse(&plugin), parse(&kubectl));

    let template = shell.write("template", "{.spec.type}");
    let (plugin, kubectl) = both(&format!("jsonpath-file={}", template.display()));
    assert_eq!(
        (plugin.as_str(), kubectl.as_str()),
        ("LoadBalancer", "LoadBalancer")
    );
}

#[test]
fn an_address_has_a_document_and_a_wide_table() {
    let (shell, namespace) = exposed();
    let address = |format: &str| {
        let command = ["relay-address", "-n", &namespace, "-o", format];
        shell.kubectl(&command).success().stdout.clone()
    };
    let document: Value = serde_json::from_str(&address("json")).expect("is JSON");
    assert_eq!(
        document,
        json!({
            "address": "203.0.113.7:9900",
            "host": "203.0.113.7",
            "port": 9900,
            "source": {
                "kind": "Service",
                "namespace": namespace,
                "name": "enterprise-networking",
                "field": "status.loadBalancer.ingress[0].ip",
            },
        })
    );
    assert_eq!(address("jsonpath={.host}"), "203.0.113.7");
    let width = namespace.len();
    assert_eq!(
        address("wide"),
        format!(
            "ADDRESS            {:width$}   SOURCE                          FIELD\n\
             203.0.113.7:9900   {namespace}   service/enterprise-networking   status.loadBalancer.ingress[0].ip\n",
            "NAMESPACE"
        )
    );
    shell
        .kubectl(&["relay-address", "-n", &namespace, "-o", "tree"])
        .exits(2)
        .complains("error: unable to match a printer suitable for the output format \"tree\"");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (shell, namespace) = exposed();
    let pipe = "kubectl relay-address -n $NS | true; kubectl relay-address -n $NS >&-; echo ${PIPESTATUS[0]}";
    let transcript = shell.env("NS", &namespace).run("bash", &["-c", pipe]);
    assert_eq!(transcript.stderr, "");
}
