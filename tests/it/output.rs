//! `-o`: the same document in the same format, from kubectl and from us.

use relay_shared::{Error, ExitCode, jsonpath::Template, output::Format, render};
use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
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

/// A document as no server would have it, with what Go and Rust write differently.
/// No object that a template goes through has two keys: kubectl shuffles them.
fn awkward() -> Value {
    json!({
        "apiVersion": "example.com/v1",
        "kind": "Thing",
        "metadata": { "name": "ab", "annotations": { "a.b/c": "<x> & \u{2028} é \u{8}\u{1f}\u{7f}" } },
        "numbers": [0, -1, 1.0, 2.5, 1e6, 1e21, 2.5e-7, 0.0001, u64::MAX, i64::MIN],
        "others": [null, true, "", "text", [], {}, { "only": "<one>" }],
        "lists": [[1, 2], [], [3]],
        "mixed": [{ "n": 1, "name": "x" }, { "n": 2 }, { "n": 3, "name": "z z" }],
        "strings": ["a)b", "it's", "\"q\""],
        "deep": { "name": { "name": { "name": "bottom" } } },
    })
}

/// What the reader of a template of kubectl's own has to get right, and wrong.
const AWKWARD: [&str; 64] = [
    "{.numbers}",
    "{.numbers[*]}",
    "{range .numbers[*]}{@}\n{end}",
    "{.others}",
    "{.others[1:]}",
    "{.metadata.annotations}",
    "{.metadata.annotations.a\\.b/c}",
    "{['metadata.annotations.a\\.b/c']}",
    "{.metadata.name.*}",
    "{.others[6].*}",
    "{.lists[*][0]}",
    "{.lists[*][*]}",
    "{.lists[*].*}",
    "{.lists..}",
    "{.deep..name}",
    "{.deep..}",
    "{..n}",
    "{...n}",
    "{....n}",
    "{..*}",
    "{.numbers.*}",
    "{.numbers[-1:]}",
    "{.numbers[-3:-1]}",
    "{.numbers[3:3]}",
    "{.numbers[3:2]}",
    "{.numbers[1:8:3]}",
    "{.numbers[::0]}",
    "{.numbers[::-1]}",
    "{.numbers[10]}",
    "{.numbers[-11]}",
    "{.numbers[]}",
    "{.numbers[ 1]}",
    "{.numbers[1, 2]}",
    "{.mixed[*]['n','name']}",
    "{.mixed[*]['n','missing']}",
    "{.mixed[\"n\"]}",
    "{.mixed[?(@.name)].n}",
    "{.mixed[?(@.name!='x')].n}",
    "{.mixed[?(@.name == \"z z\")].n}",
    "{.mixed[?(@.n>1)].n}",
    "{.mixed[?(@.n>1.0)].n}",
    "{.mixed[?(@.n>@.name)].n}",
    "{.mixed[?(@.n==1&&@.n==1)].n}",
    "{.mixed[?(@.n=1)].n}",
    "{.mixed[?(@.missing[0])].n}",
    "{.mixed[?(true)].n}",
    "{.strings[?(@==\"a)b\")]}",
    "{.strings[?(@=='it\\'s')]}",
    "{.strings[?(@<'b')]}",
    "{.lists[?(@[0])]}",
    "{.lists[*][?(@>=2)]}",
    "{.metadata[?(@.name)]}",
    "{\"\\u00e9\\xc3\\xa9\\101\\n\"}{'\\''}",
    "{\"\\q\"}",
    "{1}{1.50}{+2}{-0.5}{true}",
    "{1.2.3}",
    "{.kind @.x $.y}",
    "{.kind\t}",
    "{.kind\n}",
    "{kind}",
    "{.}",
    "a } b {.kind} } c",
    "{range .lists[*]}{range @[*]}{@},{end};{end}",
    "{range .mixed[*]}{.n} {range .missing[*]}{.n}{end}{.name}\n{end}{.kind}",
];

#[test]
fn awkward_templates_and_documents_are_kubectls_too() {
    let shell = Shell::new(&Kubeconfig::new());
    let document = awkward();
    let file = shell.write("document.json", document.to_string());
    // The one command of kubectl that prints any document, and asks no server.
    let kubectl = |output: &str, flag: &str| {
        let file = file.to_string_lossy();
        let annotate = ["annotate", "--local", "-f", &file, "absent-", "-o", output, flag];
        shell.kubectl(&annotate)
    };
    let check = |kubectl: Transcript, ours: Result<String, Error>| match ours {
        Ok(text) => assert_eq!(text, kubectl.success().stdout, "{kubectl}"),
        Err(error) => {
            // For kubectl it is 1, whether the template or the document is to blame.
            let usage = kubectl.stderr.starts_with("error: error parsing jsonpath")
                || kubectl.stderr.contains("unrecognized identifier");
            assert_eq!(error.exit_code() == ExitCode::Usage, usage, "{error}\n{kubectl}");
            kubectl.exits(1);
        }
    };
    for template in AWKWARD {
        let ours = |missing| Template::parse(template)?.render(&document, missing);
        let output = format!("jsonpath={template}");
        check(kubectl(&output, "--allow-missing-template-keys=true"), ours(true));
        check(
            kubectl(&output, "--allow-missing-template-keys=false"),
            ours(false),
        );
        let ours = Template::parse(template).and_then(|t| t.render_as_json(&document, true));
        let output = format!("jsonpath-as-json={template}");
        check(kubectl(&output, "--allow-missing-template-keys=true"), ours);
    }
    for (output, format) in [("json", Format::Json), ("name", Format::Name)] {
        let ours = render::documents(std::slice::from_ref(&document), &format);
        check(kubectl(output, "--allow-missing-template-keys"), ours);
    }
}

#[test]
fn an_object_goes_in_the_order_in_which_it_is_printed() {
    let template = Template::parse("{.metadata.labels.*}").expect("is a template");
    let document = json!({ "metadata": { "labels": { "c": "3", "a": "1", "b": "2" } } });
    assert_eq!(template.render(&document, true).expect("renders"), "1 2 3");
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
    let source = |field: &str| {
        json!({
            "kind": "Service",
            "namespace": namespace,
            "name": "enterprise-networking",
            "field": field,
        })
    };
    let first = source("status.loadBalancer.ingress[0].ip");
    assert_eq!(
        document,
        json!({
            "address": "203.0.113.7:9900",
            "host": "203.0.113.7",
            "port": 9900,
            "source": first,
            "candidates": [
                {
                    "address": "203.0.113.7:9900",
                    "host": "203.0.113.7",
                    "port": 9900,
                    "reason": "",
                    "source": first,
                    "taken": true,
                    "via": "service",
                },
                {
                    "address": "relay.example.com:9900",
                    "host": "relay.example.com",
                    "port": 9900,
                    "reason": "1 comes first",
                    "source": source("status.loadBalancer.ingress[1].hostname"),
                    "taken": false,
                    "via": "service",
                },
            ],
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
fn nothing_is_written_for_a_format_that_makes_no_sense() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "ClusterIP"));
    for (output, error) in [
        (
            "wide",
            "error: unable to match a printer suitable for the output format \"wide\", allowed",
        ),
        (
            "jsonpath=",
            "error: template format specified but no template given",
        ),
        (
            "jsonpath={.spec",
            "error: error parsing jsonpath {.spec, unclosed action",
        ),
        ("jsonpath={spec.type}", "hint: a path begins with a dot: {.spec}"),
        (
            "jsonpath-file=missing",
            "error: cannot read the template in \"missing\": No such file",
        ),
    ] {
        let apply = [
            "relay-ingress",
            "apply",
            "-n",
            &namespace,
            "--via",
            "loadbalancer",
            "-o",
            output,
        ];
        shell.kubectl(&apply).exits(2).complains(error);
    }
    let service = shell.get("mgmt", "service/enterprise-networking", &namespace);
    assert_eq!(service["spec"]["type"], "ClusterIP");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let (shell, namespace) = exposed();
    for script in [
        "(kubectl relay-address -n $NS; echo $? >code) | exec true",
        "kubectl relay-address -n $NS >&-; echo $? >code",
    ] {
        let transcript = shell.env("NS", &namespace).run("sh", &["-c", script]);
        assert_eq!(transcript.success().stderr, "", "{transcript}");
        assert_eq!(shell.run("cat", &["code"]).stdout, "0\n", "{transcript}");
    }
}

#[test]
fn colours_are_for_terminals_that_want_them() {
    let shell = Shell::new(&Kubeconfig::new());
    let help = ["kubectl", "relay-address", "--help"];
    let spawn = ["-c", "import pty, sys; pty.spawn(sys.argv[1:])"];
    let on_terminal = [&spawn[..], &help].concat();
    let shown = |invocation: Transcript| invocation.success().stdout.contains('\u{1b}');
    assert!(!shown(shell.kubectl(&help[1..])));
    assert!(shown(shell.env("TERM", "xterm").run("python3", &on_terminal)));
    let plain = shell.env("TERM", "xterm").env("NO_COLOR", "1");
    assert!(!shown(plain.run("python3", &on_terminal)));
}
