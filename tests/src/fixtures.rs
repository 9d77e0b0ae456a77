//! The objects the plugins look at, written by hand as the products' charts make
//! them, and a cluster's side of things: status, namespaces and definitions.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::{self, Command},
    sync::{
        OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};

use crate::{Shell, binaries};

/// Creates a namespace nobody else uses, of the same name in each context.
#[track_caller]
pub fn fresh_namespace(shell: &Shell, contexts: &[&str]) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let name = format!("test-{:x}-{:x}-{count}", process::id(), now.as_secs());
    for context in contexts {
        shell
            .kubectl(&["--context", context, "create", "namespace", &name])
            .success();
    }
    name
}

/// Applies objects and then writes the status of those that carry one.
#[track_caller]
pub fn create(shell: &Shell, context: &str, objects: &[Value]) {
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    shell.apply(context, list);
    for object in objects {
        let Some(status) = object.get("status") else {
            continue;
        };
        let text = |pointer| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let name = format!("{}/{}", text("/kind"), text("/metadata/name"));
        shell.patch_status(context, &name, text("/metadata/namespace"), status);
    }
}

/// Binds a role to a user in one namespace and waits until it counts: `verbs` and
/// `resources` as `kubectl create role` takes them, separated by commas.
#[track_caller]
pub fn grant(shell: &Shell, context: &str, namespace: &str, user: &str, verbs: &str, resources: &str) {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let role = format!("{user}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let place = ["--context", context, "--namespace", namespace, "create"];
    let created = |what: &[&str]| {
        shell.kubectl(&[&place[..], what].concat()).success();
    };
    created(&[
        "role",
        &role,
        &format!("--verb={verbs}"),
        &format!("--resource={resources}"),
    ]);
    created(&[
        "rolebinding",
        &role,
        &format!("--role={role}"),
        &format!("--user={user}"),
    ]);
    // The authorizer reads roles through a cache, each as a whole: one right counts
    // as soon as all do.
    let asked = ["auth", "can-i", first(verbs), first(resources), "--as", user];
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let answer = shell.kubectl(&[&place[..4], &asked].concat());
        if answer.code == Some(0) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "a right is granted but does not count:\n{answer}"
        );
        thread::sleep(Duration::from_millis(20));
    }
}

/// Makes a server refuse to create secrets in a namespace, as no access review
/// foresees, or ends that. Returns once it counts.
#[track_caller]
pub fn refuse_secrets(shell: &Shell, context: &str, namespace: &str, refuse: bool) {
    let name = format!("refuse-secrets-{namespace}");
    let object = |kind: &str, spec: Value| {
        let version = "admissionregistration.k8s.io/v1";
        json!({ "apiVersion": version, "kind": kind, "metadata": { "name": name }, "spec": spec })
    };
    let rule = json!({
        "apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["secrets"],
    });
    let policy = json!({
        "matchConstraints": { "resourceRules": [rule] },
        "validations": [{ "expression": "false", "message": "no secrets today" }],
    });
    let labels = json!({ "kubernetes.io/metadata.name": namespace });
    let binding = json!({
        "policyName": name,
        "validationActions": ["Deny"],
        "matchResources": { "namespaceSelector": { "matchLabels": labels } },
    });
    match refuse {
        true => create(
            shell,
            context,
            &[
                object("ValidatingAdmissionPolicy", policy),
                object("ValidatingAdmissionPolicyBinding", binding),
            ],
        ),
        false => {
            let kind = "validatingadmissionpolicybinding";
            let deleted = shell.kubectl(&["--context", context, "delete", kind, &name]);
            deleted.success();
        }
    }
    // The server reads policies through a cache.
    let place = ["--context", context, "--namespace", namespace];
    let create = ["create", "secret", "generic", "tried", "--dry-run=server"];
    let deadline = Instant::now() + Duration::from_secs(60);
    while (shell.kubectl(&[&place[..], &create].concat()).code == Some(0)) == refuse {
        assert!(
            Instant::now() < deadline,
            "a policy is changed but does not count"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

fn first(list: &str) -> &str {
    list.split(',').next().unwrap_or_default()
}

/// The relay server's service, of a type such as `ClusterIP`.
pub fn relay_service(namespace: &str, service_type: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "enterprise-networking",
            "namespace": namespace,
            "labels": { "app": "enterprise-networking" },
        },
        "spec": {
            "type": service_type,
            "selector": { "app": "enterprise-networking" },
            "ports": [{ "name": "grpc", "port": 9900, "targetPort": 9900, "protocol": "TCP" }],
        },
    })
}

/// The service of Istio's ingress gateway; Istio puts it into `istio-system`.
pub fn ingress_gateway(namespace: &str, service_type: &str) -> Value {
    let port = |name: &str, port: u16, target: u16| json!({ "name": name, "port": port, "targetPort": target, "protocol": "TCP" });
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "name": "istio-ingressgateway",
            "namespace": namespace,
            "labels": { "app": "istio-ingressgateway", "istio": "ingressgateway" },
        },
        "spec": {
            "type": service_type,
            "selector": { "app": "istio-ingressgateway", "istio": "ingressgateway" },
            "ports": [
                port("status-port", 15021, 15021),
                port("http2", 80, 8080),
                port("https", 443, 8443),
            ],
        },
    })
}

/// The status of a service whose load balancer has addresses, IP or host name.
pub fn load_balancer(addresses: &[&str]) -> Value {
    let ingress = |address: &&str| match address.parse::<IpAddr>() {
        Ok(ip) => json!({ "ip": ip }),
        Err(_) => json!({ "hostname": address }),
    };
    json!({ "loadBalancer": { "ingress": addresses.iter().map(ingress).collect::<Vec<_>>() } })
}

/// A service, as made above, with that status.
pub fn with_status(mut object: Value, status: Value) -> Value {
    object["status"] = status;
    object
}

/// A node with addresses such as `("ExternalIP", "203.0.113.7")`. Nodes belong to
/// the whole cluster: who counts them starts a control plane of its own.
pub fn node(name: &str, addresses: &[(&str, &str)], ready: bool) -> Value {
    let address = |&(kind, address): &(&str, &str)| json!({ "type": kind, "address": address });
    json!({
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": { "name": name, "labels": { "kubernetes.io/hostname": name } },
        "status": {
            "addresses": addresses.iter().map(address).collect::<Vec<_>>(),
            "conditions": [condition(ready, "KubeletReady")],
        },
    })
}

/// A pod of Istio's ingress gateway that runs on a node.
pub fn gateway_pod(name: &str, namespace: &str, node: &str, ready: bool) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": { "app": "istio-ingressgateway", "istio": "ingressgateway" },
        },
        "spec": {
            "nodeName": node,
            "containers": [{ "name": "istio-proxy", "image": "istio/proxyv2", "ports": [{ "containerPort": 8443 }] }],
        },
        "status": {
            "phase": "Running",
            "podIP": "192.0.2.20",
            "podIPs": [{ "ip": "192.0.2.20" }],
            "conditions": [condition(ready, "ContainersReady")],
        },
    })
}

fn condition(ready: bool, reason: &str) -> Value {
    json!({
        "type": "Ready",
        "status": if ready { "True" } else { "False" },
        "reason": reason,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

/// Makes a cluster serve Istio's Gateway and VirtualService.
///
/// # Panics
///
/// If Istio's module is neither in Go's module cache nor to be downloaded.
#[track_caller]
pub fn install_istio_crds(shell: &Shell, context: &str) {
    static DEFINITIONS: OnceLock<Result<String, String>> = OnceLock::new();
    let definitions = DEFINITIONS
        .get_or_init(istio_crds)
        .as_ref()
        .unwrap_or_else(|err| panic!("{err}"));
    let kinds = "gateways.networking.istio.io,virtualservices.networking.istio.io";
    install(shell, context, definitions, kinds);
}

/// Makes a cluster serve Gateway API's Gateway and TLSRoute.
///
/// # Panics
///
/// If its module is neither in Go's module cache nor to be downloaded.
#[track_caller]
pub fn install_gateway_api_crds(shell: &Shell, context: &str) {
    static DEFINITIONS: OnceLock<Result<String, String>> = OnceLock::new();
    let definitions = DEFINITIONS
        .get_or_init(gateway_api_crds)
        .as_ref()
        .unwrap_or_else(|err| panic!("{err}"));
    let kinds =
        ["gatewayclasses", "gateways", "tlsroutes"].map(|kind| format!("{kind}.gateway.networking.k8s.io"));
    install(shell, context, definitions, &kinds.join(","));
}

/// Applies definitions and waits until their kinds are served.
#[track_caller]
fn install(shell: &Shell, context: &str, definitions: &str, kinds: &str) {
    // Too long for the annotation of a client-side apply.
    let apply = ["--context", context, "apply", "--server-side", "--filename", "-"];
    shell.stdin(definitions).kubectl(&apply).success();

    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let listed = shell.kubectl(&["--context", context, "get", kinds, "--all-namespaces"]);
        if listed.code == Some(0) {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "definitions are applied but not served:\n{listed}"
        );
        thread::sleep(Duration::from_millis(100));
    }
}

/// Reads the definitions from Istio's module, of the version in `tests/istio`;
/// Go downloads it when it has to, and checks it against go.sum.
fn istio_crds() -> Result<String, String> {
    let manifests = go(&[
        "list",
        "-mod=readonly",
        "-f",
        "{{.Dir}}",
        "istio.io/istio/manifests",
    ])?;
    let path = Path::new(manifests.trim_end()).join("charts/base/files/crd-all.gen.yaml");
    let all =
        fs::read_to_string(&path).map_err(|err| format!("failed to read `{}`: {err}", path.display()))?;
    let wanted: Vec<_> = all
        .split("\n---\n")
        .filter(|document| is_used(document))
        .collect();
    match wanted.len() {
        2 => Ok(wanted.join("\n---\n")),
        _ => Err(format!(
            "`{}` does not define Gateway and VirtualService once each",
            path.display()
        )),
    }
}

/// Reads the definitions from the module of Gateway API that Istio requires.
fn gateway_api_crds() -> Result<String, String> {
    let module = go(&["mod", "download", "-json", "sigs.k8s.io/gateway-api"])?;
    let module: Value = serde_json::from_str(&module).map_err(|err| format!("go prints no JSON: {err}"))?;
    let directory = Path::new(module["Dir"].as_str().unwrap_or_default()).join("config/crd/standard");
    let definitions = ["gatewayclasses", "gateways", "tlsroutes"].map(|kind| {
        let path = directory.join(format!("gateway.networking.k8s.io_{kind}.yaml"));
        fs::read_to_string(&path).map_err(|err| format!("failed to read `{}`: {err}", path.display()))
    });
    Ok(definitions
        .into_iter()
        .collect::<Result<Vec<_>, _>>()?
        .join("\n---\n"))
}

/// What go says about the modules of `tests/istio`.
fn go(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("go")
        .current_dir(binaries::workspace().join("tests/istio"))
        .args(arguments)
        .output()
        .map_err(|err| format!("failed to run go, which finds the definitions: {err}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!(
            "failed to find a module: {}",
            String::from_utf8_lossy(&output.stderr)
        )),
    }
}

fn is_used(definition: &str) -> bool {
    let names = [
        "  name: gateways.networking.istio.io",
        "  name: virtualservices.networking.istio.io",
    ];
    definition.lines().any(|line| names.contains(&line))
}
