//! Istio for real: istiod beside a cluster's kube-apiserver, and the Envoy of its
//! ingress gateway, for a test [in a network of its own](crate::network).
//!
//! There is no kubelet and no kube-proxy. What they would do is played: the
//! gateway's pod and the relay server are at [`GATEWAY`] and [`RELAY`], and the load
//! balancer at [`LOAD_BALANCER`] passes connections on to the gateway.

use std::{
    io,
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    Cluster, Kubeconfig, Shell,
    binaries::{self, Tool},
    fixtures,
    kubeconfig::write_private,
    leash::Leashed,
};

/// The address of the relay server's pod. Like the others it is one for
/// documentation (RFC 5737): Kubernetes takes no loopback address for an endpoint.
pub const RELAY: &str = "192.0.2.10";
/// The address of the ingress gateway's pod, which [`fixtures::gateway_pod`] has too.
pub const GATEWAY: &str = "192.0.2.20";
/// The address that the cloud gives the ingress gateway's Service.
pub const LOAD_BALANCER: &str = "203.0.113.50";

/// All of them.
pub const ADDRESSES: [&str; 3] = ["192.0.2.10/32", "192.0.2.20/32", "203.0.113.50/32"];

/// The namespace of istiod and of the ingress gateway.
pub const NAMESPACE: &str = "istio-system";

/// How long Istio may take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

const XDS: ([u8; 4], u16) = ([127, 0, 0, 1], 15010);

/// istiod, Envoy, and the load balancer before it. Dropping it kills the servers.
#[derive(Debug)]
pub struct DataPlane {
    envoy: Leashed,
    istiod: Leashed,
}

/// Builds what is missing, for which there is no network later.
///
/// # Panics
///
/// If something cannot be built.
pub fn prepare() {
    use Tool::{Envoy, Etcd, Istioctl, Istiod, KubeApiserver, Kubectl, Relay};
    for tool in [Etcd, KubeApiserver, Kubectl, Relay, Istiod, Istioctl, Envoy] {
        tool.path().unwrap_or_else(|err| panic!("{err}"));
    }
    binaries::plugins().unwrap_or_else(|err| panic!("{err}"));
    binaries::leash().unwrap_or_else(|err| panic!("{err}"));
}

impl DataPlane {
    /// Installs an ingress gateway into a cluster and starts what it consists of. The
    /// relay server's Service in `namespace` gets its endpoint.
    ///
    /// # Panics
    ///
    /// With the end of a server's log if that does not get ready.
    #[track_caller]
    pub fn start(shell: &Shell, cluster: &Cluster, relay_service: &str, namespace: &str) -> Self {
        fixtures::install_istio_crds(shell, &cluster.name);
        let context = ["--context", &cluster.name];
        shell
            .kubectl(&[&context[..], &["create", "namespace", NAMESPACE]].concat())
            .success();
        let gateway = fixtures::ingress_gateway(NAMESPACE, "LoadBalancer");
        let balanced = fixtures::load_balancer(&[LOAD_BALANCER]);
        let objects = [
            fixtures::with_status(gateway, balanced),
            fixtures::gateway_pod("istio-ingressgateway-1", NAMESPACE, "node-1", true),
            endpoints(NAMESPACE, "istio-ingressgateway", GATEWAY, &[("https", 8443)]),
            endpoints(namespace, relay_service, RELAY, &[("grpc", 9900)]),
        ];
        fixtures::create(shell, &cluster.name, &objects);

        let started = || {
            let mut istiod = start_istiod(cluster)?;
            wait_for("istiod", &mut istiod, SocketAddr::from(XDS))?;
            let envoy = start_envoy()?;
            forward(LOAD_BALANCER, 443, GATEWAY, 8443)
                .map_err(|err| format!("failed to play the load balancer: {err}"))?;
            Ok(Self { envoy, istiod })
        };
        started().unwrap_or_else(|err: String| panic!("{err}"))
    }

    /// The end of what both servers wrote.
    pub fn logs(&self) -> String {
        format!(
            "the end of Envoy's log:\n{}\nand of istiod's:\n{}",
            self.envoy.log_tail(),
            self.istiod.log_tail()
        )
    }
}

fn start_istiod(cluster: &Cluster) -> Result<Leashed, String> {
    let environment = [
        ("POD_NAMESPACE", NAMESPACE),
        ("POD_NAME", "istiod"),
        ("CLUSTER_ID", "Kubernetes"),
        ("ENABLE_CA_SERVER", "false"),
        // Stock Envoy has no such filter, and refuses clusters that want it.
        ("PILOT_ENABLE_METADATA_EXCHANGE", "false"),
    ];
    Leashed::start(Tool::Istiod.path()?, &environment, |directory| {
        let kubeconfig = Kubeconfig::new()
            .context("admin", cluster)
            .current("admin")
            .write(directory);
        // Otherwise clusters wait for certificates from an agent beside Envoy.
        let mesh = write_private(&directory.join("mesh.yaml"), "enableAutoMtls: false\n");
        let arguments = [
            ("kubeconfig", kubeconfig.display().to_string()),
            ("meshConfig", mesh.display().to_string()),
            ("grpcAddr", SocketAddr::from(XDS).to_string()),
            ("httpAddr", "127.0.0.1:18080".to_owned()),
            ("httpsAddr", String::new()),
            ("secureGRPCAddr", String::new()),
            ("monitoringAddr", "127.0.0.1:15014".to_owned()),
        ];
        let arguments = arguments.map(|(flag, value)| format!("--{flag}={value}"));
        Ok([&["discovery".to_owned()], &arguments[..]].concat())
    })
}

fn start_envoy() -> Result<Leashed, String> {
    Leashed::start(Tool::Envoy.path()?, &[], |directory| {
        let bootstrap = format!("{:#}", bootstrap());
        let path = write_private(&directory.join("envoy.json"), &bootstrap);
        Ok(vec!["--config-path".to_owned(), path.display().to_string()])
    })
}

/// All that Envoy knows by itself: who it is, and that istiod knows the rest.
fn bootstrap() -> Value {
    let address =
        |address: &str, port: u16| json!({ "socket_address": { "address": address, "port_value": port } });
    let ads = json!({ "ads": {}, "resource_api_version": "V3" });
    let http2 = json!({
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": { "http2_protocol_options": {} },
    });
    json!({
        "node": {
            "id": format!("router~{GATEWAY}~istio-ingressgateway-1.{NAMESPACE}~{NAMESPACE}.svc.cluster.local"),
            "cluster": "istio-ingressgateway",
            "metadata": {
                "LABELS": { "app": "istio-ingressgateway", "istio": "ingressgateway" },
                "NAMESPACE": NAMESPACE,
                "CLUSTER_ID": "Kubernetes",
            },
        },
        "admin": { "address": address("127.0.0.1", 15000) },
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{ "envoy_grpc": { "cluster_name": "istiod" } }],
            },
            "cds_config": ads,
            "lds_config": ads,
        },
        "static_resources": {
            "clusters": [{
                "name": "istiod",
                "type": "STATIC",
                "connect_timeout": "5s",
                "typed_extension_protocol_options": {
                    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2,
                },
                "load_assignment": {
                    "cluster_name": "istiod",
                    "endpoints": [{
                        "lb_endpoints": [{ "endpoint": { "address": address("127.0.0.1", XDS.1) } }],
                    }],
                },
            }],
        },
    })
}

/// A Service's endpoint, as the controller that does not run would write it.
fn endpoints(namespace: &str, service: &str, address: &str, ports: &[(&str, u16)]) -> Value {
    let port = |&(name, port): &(&str, u16)| json!({ "name": name, "port": port, "protocol": "TCP" });
    json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": format!("{service}-1"),
            "namespace": namespace,
            "labels": { "kubernetes.io/service-name": service },
        },
        "addressType": "IPv4",
        "endpoints": [{ "addresses": [address], "conditions": { "ready": true } }],
        "ports": ports.iter().map(port).collect::<Vec<_>>(),
    })
}

/// Waits until a server takes connections.
fn wait_for(name: &str, server: &mut Leashed, address: SocketAddr) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let problem = match server.ended() {
            Some(status) => format!("ended with {status}"),
            None if Instant::now() > deadline => format!("was not ready after {} s", PATIENCE.as_secs()),
            None => {
                thread::sleep(Duration::from_millis(50));
                continue;
            }
        };
        return Err(format!(
            "{name} {problem}; the end of its log:\n{}",
            server.log_tail()
        ));
    }
    Ok(())
}

/// Passes connections on for as long as the process lives; one that cannot be passed
/// on is closed.
fn forward(from: &str, from_port: u16, to: &'static str, to_port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((from, from_port))?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || -> io::Result<()> {
                let server = TcpStream::connect((to, to_port))?;
                let answers = (server.try_clone()?, client.try_clone()?);
                thread::spawn(move || copy(answers.0, answers.1));
                copy(client, server);
                Ok(())
            });
        }
    });
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}
