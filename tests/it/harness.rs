//! The harness itself: what the other tests take for granted.

use std::{
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use relay_tests::{
    ControlPlane, Kubeconfig, Shell,
    authority::{Authority, Identity},
    binaries::Tool,
    fixtures, relay,
    relay::RelayServer,
};
use serde_json::json;

/// Set in the process that [`holds_a_control_plane_if_told`] plays a part in.
const HOLD: &str = "RELAY_TESTS_HOLD";

#[test]
fn every_cluster_is_a_cluster_of_its_own() {
    let shell = Shell::on(ControlPlane::shared());
    for context in ["mgmt", "east", "west"] {
        let namespace = fixtures::fresh_namespace(&shell, &[context]);
        shell
            .kubectl(&["--context", context, "get", "namespace", &namespace])
            .success();
        for other in ["mgmt", "east", "west"]
            .into_iter()
            .filter(|other| *other != context)
        {
            shell
                .kubectl(&["--context", other, "get", "namespace", &namespace])
                .exits(1)
                .complains("NotFound");
        }
    }
}

#[test]
fn a_user_has_the_rights_that_are_granted_and_no_more() {
    let mgmt = ControlPlane::shared().cluster("mgmt");
    let certificate = mgmt.client_certificate("carol", &["relay-admins"]);
    let kubeconfig = Kubeconfig::new()
        .context("admin", mgmt)
        .user_context("dev", mgmt, "dev")
        .certificate_context("carol", mgmt, &certificate)
        .current("admin");
    let shell = Shell::new(&kubeconfig);
    let namespace = fixtures::fresh_namespace(&shell, &["admin"]);
    let services =
        |context: &str| shell.kubectl(&["--context", context, "--namespace", &namespace, "get", "services"]);

    services("dev")
        .exits(1)
        .complains("services is forbidden: User \"dev\" cannot list");
    fixtures::grant(&shell, "admin", &namespace, "dev", "get,list", "services");
    services("dev").success();
    shell
        .kubectl(&["--context", "dev", "--namespace", &namespace, "get", "secrets"])
        .exits(1);
    services("carol").exits(1).complains("User \"carol\" cannot list");
}

#[test]
fn fixtures_are_what_a_real_cluster_accepts() {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let service = fixtures::relay_service(&namespace, "LoadBalancer");
    let addresses = fixtures::load_balancer(&["203.0.113.7", "relay.example.com"]);
    let node = format!("node-of-{namespace}");
    fixtures::create(
        &shell,
        "mgmt",
        &[
            fixtures::with_status(service, addresses.clone()),
            fixtures::ingress_gateway(&namespace, "NodePort"),
            fixtures::node(
                &node,
                &[("InternalIP", "192.0.2.1"), ("ExternalIP", "203.0.113.1")],
                true,
            ),
            fixtures::gateway_pod("gateway-1", &namespace, &node, true),
        ],
    );

    let service = shell.get("mgmt", "service/enterprise-networking", &namespace);
    assert_eq!(
        service["status"]["loadBalancer"]["ingress"][0]["ip"],
        "203.0.113.7"
    );
    assert_eq!(
        service["status"]["loadBalancer"]["ingress"][1]["hostname"],
        "relay.example.com"
    );
    let gateway = shell.get("mgmt", "service/istio-ingressgateway", &namespace);
    assert!(gateway["spec"]["ports"][2]["nodePort"].is_number(), "{gateway:#}");
    let node = shell.get("mgmt", &format!("node/{node}"), "");
    assert_eq!(
        node["status"]["addresses"][1],
        json!({ "type": "ExternalIP", "address": "203.0.113.1" })
    );
    let pod = shell.get("mgmt", "pod/gateway-1", &namespace);
    assert_eq!(pod["status"]["conditions"][0]["type"], "Ready");
    assert_eq!(pod["status"]["conditions"][0]["status"], "True");
    shell
        .kubectl(&[
            "--context",
            "mgmt",
            "delete",
            "node",
            &format!("node-of-{namespace}"),
        ])
        .success();
}

#[test]
fn istio_is_served_where_its_definitions_are_installed() {
    let shell = Shell::on(ControlPlane::shared());
    fixtures::install_istio_crds(&shell, "east");
    let namespace = fixtures::fresh_namespace(&shell, &["east"]);
    let gateway = json!({
        "apiVersion": "networking.istio.io/v1alpha3",
        "kind": "Gateway",
        "metadata": { "name": "gloo-mesh-ingress", "namespace": namespace },
        "spec": { "selector": { "istio": "ingressgateway" }, "servers": [] },
    });
    shell.apply("east", gateway).prints("gloo-mesh-ingress created");
}

#[test]
fn a_shell_has_the_real_kubectl_and_the_plugins_and_nothing_else() {
    let shell = Shell::on(ControlPlane::shared());
    let kubectl = Tool::Kubectl.path().expect("kubectl is there").to_string_lossy();
    shell
        .run("sh", &["-c", "command -v kubectl"])
        .success()
        .prints(&kubectl);
    let listed = shell.kubectl(&["plugin", "list"]);
    for plugin in ["address", "certs", "ingress"] {
        listed.prints(&format!("/kubectl-relay_{plugin}\n"));
    }
    let environment = shell.env("NO_COLOR", "1").run("env", &[]).stdout;
    let mut names: Vec<_> = environment
        .lines()
        .filter_map(|line| line.split('=').next())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "KUBECONFIG", "NO_COLOR", "PATH"]);
    assert_eq!(shell.stdin("piped\n").run("cat", &[]).stdout, "piped\n");
}

#[test]
fn a_cluster_survives_its_server() {
    let control_plane = ControlPlane::start(&["alone"]);
    let shell = Shell::on(&control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &["alone"]);
    control_plane.stop("alone");
    shell
        .kubectl(&["get", "namespaces"])
        .exits(1)
        .complains("refused");
    control_plane.restart("alone");
    shell.kubectl(&["get", "namespace", &namespace]).success();
}

#[test]
fn the_agent_reaches_a_server_it_can_verify_and_no_other() {
    let shell = Shell::on(ControlPlane::shared());
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let identity = |name: &str, identity: Identity, root: &Authority| -> PathBuf {
        shell.write(&format!("{name}/tls.crt"), identity.certificate_pem);
        shell.write(&format!("{name}/tls.key"), identity.key_pem);
        shell.write(&format!("{name}/ca.crt"), root.ca_pem());
        shell.home().join(name)
    };
    let server = identity("server", ours.server(&[relay::AUTHORITY]), &ours);
    let mut server = RelayServer::start(&shell, &server, None);
    let address = server.address.clone();
    let dial = |tls: &Path, authority: &str| {
        shell.relay(&[
            "dial",
            "--tls",
            &tls.to_string_lossy(),
            "--addr",
            &address,
            "--authority",
            authority,
        ])
    };

    let agent = identity("agent", ours.client("east", &[]), &ours);
    dial(&agent, relay::AUTHORITY).success().prints("SERVING");
    assert_eq!(server.agent(), "[east]");
    dial(&agent, "enterprise-networking")
        .exits(1)
        .complains("certificate is valid for");

    let mistrusting = identity("mistrusting", ours.client("east", &[]), &theirs);
    dial(&mistrusting, relay::AUTHORITY)
        .exits(1)
        .complains("signed by unknown authority");
    let foreign = identity("foreign", theirs.client("east", &[]), &ours);
    dial(&foreign, relay::AUTHORITY)
        .exits(1)
        .complains("remote error: tls: certificate required");
}

#[test]
fn the_relay_issues_agents_from_openssl_keys_of_either_format() {
    let shell = Shell::on(ControlPlane::shared());
    let openssl = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        shell.run("openssl", &arguments).success();
    };
    openssl("req -x509 -newkey rsa:2048 -noenc -keyout root.key -out root.crt -days 2 -subj /CN=root");
    openssl("genrsa -traditional -out pkcs1.key 2048");
    openssl("pkcs8 -topk8 -nocrypt -in pkcs1.key -out pkcs8.key");
    openssl(
        "req -x509 -CA root.crt -CAkey root.key -key pkcs1.key -out signing.crt -days 2 -subj /CN=signing \
         -addext keyUsage=keyCertSign",
    );
    for key in ["pkcs1.key", "pkcs8.key"] {
        let issue = [
            "issue",
            "--ca-cert",
            "signing.crt",
            "--ca-key",
            key,
            "--root",
            "root.crt",
        ];
        shell
            .relay(&[&issue[..], &["--cluster", "east", "--out", "agent"]].concat())
            .success();
        let verify = [
            "verify",
            "--ca",
            "agent/ca.crt",
            "--cert",
            "agent/tls.crt",
            "--usage",
        ];
        shell
            .relay(&[&verify[..], &["client", "--name", "east"]].concat())
            .success();
        shell
            .relay(&[&verify[..], &["client", "--name", "west"]].concat())
            .exits(1)
            .complains("valid for east");
        shell
            .relay(&[&verify[..], &["server", "--name", "east"]].concat())
            .exits(1)
            .complains("key usage");
    }
    let issue = [
        "issue",
        "--ca-cert",
        "signing.crt",
        "--ca-key",
        "root.key",
        "--root",
        "root.crt",
    ];
    shell
        .relay(&[&issue[..], &["--cluster", "east", "--out", "agent"]].concat())
        .exits(1)
        .complains("doesn't match parent's PublicKey");
}

/// Not a test by itself: the process that [`nothing_outlives_a_killed_run`] kills.
#[test]
fn holds_a_control_plane_if_told() {
    if env::var_os(HOLD).is_none() {
        return;
    }
    let _control_plane = ControlPlane::start(&["held"]);
    writeln!(io::stdout(), "holding").expect("the killer listens");
    thread::sleep(Duration::from_secs(600));
}

#[test]
fn nothing_outlives_a_killed_run() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut run = Command::new(env::current_exe().expect("the path of this program"))
        .args(["--exact", "harness::holds_a_control_plane_if_told", "--nocapture"])
        .env(HOLD, "1")
        .env("TMPDIR", directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this program starts once more");
    let mut lines = BufReader::new(run.stdout.take().expect("stdout is piped")).lines();
    let held = lines.any(|line| line.is_ok_and(|line| line.ends_with("holding")));
    // etcd, one kube-apiserver and a leash for each.
    let servers = processes_in(directory.path());
    run.kill().expect("the run can be killed");
    run.wait().expect("the run can be waited for");
    assert!(held, "the run ended before it held a control plane");
    assert_eq!(servers.len(), 4, "{servers:#?}");

    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let processes = processes_in(directory.path());
        let files: Vec<_> = fs::read_dir(directory.path())
            .expect("the directory is readable")
            .collect();
        if processes.is_empty() && files.is_empty() {
            return;
        }
        assert!(
            Instant::now() < deadline,
            "left behind: {processes:#?} {files:#?}"
        );
        thread::sleep(Duration::from_millis(50));
    }
}

/// The command lines that mention a directory, without those of the dead.
fn processes_in(directory: &Path) -> Vec<String> {
    let output = Command::new("ps")
        .args(["-axww", "-o", "stat=", "-o", "command="])
        .output()
        .expect("ps runs");
    let mentions = |line: &&str| line.contains(&*directory.to_string_lossy()) && !line.starts_with('Z');
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter(mentions)
        .map(str::to_owned)
        .collect()
}
