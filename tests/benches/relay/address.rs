//! `relay-address`, against curl and the page's script.

use relay_tests::{ControlPlane, Shell, binaries, fixtures};

use crate::figure::{Figure, command, median, milliseconds, ratio, run};

const PAIRS: usize = 60;

/// What the page has its reader type.
const PAGE: &str = r#"
MGMT_INGRESS_ADDRESS=$(kubectl -n "$NS" get service enterprise-networking -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
MGMT_INGRESS_PORT=$(kubectl -n "$NS" get service enterprise-networking -o jsonpath='{.spec.ports[?(@.name=="grpc")].port}')
RELAY_ADDRESS=${MGMT_INGRESS_ADDRESS}:${MGMT_INGRESS_PORT}
"#;

pub(crate) fn figures(in_earnest: bool) -> Vec<Figure> {
    let pairs = if in_earnest { PAIRS } else { 1 };
    let control_plane = ControlPlane::start(&["mgmt"]);
    let mut shell = Shell::on(&control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell.set_env("NS", &namespace);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "LoadBalancer"));
    shell.patch_status(
        "mgmt",
        "service/enterprise-networking",
        &namespace,
        &fixtures::load_balancer(&["203.0.113.10"]),
    );

    let plugins = binaries::plugins().unwrap_or_else(|err| panic!("{err}"));
    let plugin = plugins.join("kubectl-relay_address").display().to_string();
    let address = || command(&shell, &plugin, &["--namespace", &namespace]);
    let cluster = control_plane.cluster("mgmt");
    let ca = shell.write("ca.crt", &cluster.ca_pem).display().to_string();
    let url = format!(
        "{}/api/v1/namespaces/{namespace}/services/enterprise-networking",
        cluster.server
    );
    let token = format!("Authorization: Bearer {}", cluster.token);
    let curl = || {
        let arguments = [
            "--silent",
            "--show-error",
            "--fail",
            "--cacert",
            &ca,
            "--header",
            &token,
            &url,
        ];
        command(&shell, "curl", &arguments)
    };
    let page = || command(&shell, "sh", &["-euc", PAGE]);
    let version = || command(&shell, &plugin, &["--version"]);

    vec![
        ratio("relay-address / curl, one GET", 0.6, pairs, address, curl),
        ratio("relay-address / the page's script", 0.08, pairs, address, page),
        Figure {
            what: "start to --version".to_owned(),
            value: median((0..pairs).map(|_| milliseconds(run(version()).wall))),
            unit: "ms",
            limit: 3.0,
            of: None,
        },
        Figure {
            what: "peak memory of relay-address".to_owned(),
            value: median((0..pairs).map(|_| run(address()).peak as f64 / 1024.0 / 1024.0)),
            unit: "MiB",
            limit: 15.0,
            of: None,
        },
    ]
}
