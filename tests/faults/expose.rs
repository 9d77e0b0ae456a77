//! `relay-ingress apply`, by the relay's own Service, by Istio and by Gateway API, and
//! `relay-address --wait`.

use relay_tests::{ControlPlane, Shell, fixtures};
use serde_json::json;

use crate::{
    scenario::{Prints, Scenario, Step},
    snapshot::Place,
};

const SERVICES: &str = "api/v1/namespaces/NAMESPACE/services";
const GATEWAYS: &str = "apis/networking.istio.io/v1/namespaces/NAMESPACE/gateways";
const VIRTUAL_SERVICES: &str = "apis/networking.istio.io/v1/namespaces/NAMESPACE/virtualservices";

const API_GATEWAYS: &str = "apis/gateway.networking.k8s.io/v1/namespaces/NAMESPACE/gateways";
const TLS_ROUTES: &str = "apis/gateway.networking.k8s.io/v1/namespaces/NAMESPACE/tlsroutes";

/// What the cloud makes of a load balancer.
pub(crate) const ADDRESS: &str = "192.0.2.7";

/// A namespace, and the relay's Service in it.
pub(crate) fn prepare(shell: &Shell, namespace: &str, service_type: &str) {
    let objects = [
        json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } }),
        fixtures::relay_service(namespace, service_type),
    ];
    let list = json!({ "apiVersion": "v1", "kind": "List", "items": objects });
    let create = ["create", "--validate=false", "--filename", "-"];
    shell.stdin(list).kubectl(&create).success();
}

const LOAD_BALANCER: &[Step] = &[
    Step::new(&["apply", "--via", "loadbalancer"], |place| {
        is_of_type(place, "LoadBalancer")
    }),
    Step::new(&["apply", "--via", "nodeport"], |place| {
        is_of_type(place, "NodePort")
    }),
];

pub(crate) const BY_SERVICE: Scenario = Scenario {
    name: "apply --via loadbalancer, then nodeport",
    program: "kubectl-relay_ingress",
    contexts: &["mgmt"],
    writes: &[SERVICES],
    prepare: |shell, namespace| prepare(shell, namespace, "ClusterIP"),
    steps: LOAD_BALANCER,
};

#[test]
fn apply_by_service_survives_every_fault_at_every_request() {
    BY_SERVICE.try_every_point();
}

fn is_of_type(place: &Place<'_>, wanted: &str) -> Vec<String> {
    let service = place.object("mgmt", "service/enterprise-networking");
    let spec = service.map(|service| &service["spec"]);
    let is_exposed = spec.is_some_and(|spec| spec["type"] == wanted && spec["ports"][0]["port"] == 9900);
    match is_exposed {
        true => Vec::new(),
        false => vec![format!("the service is not of type {wanted}: {service:?}")],
    }
}

const ISTIO: &[Step] = &[Step::new(&["apply", "--via", "istio"], is_routed)];

pub(crate) const BY_ISTIO: Scenario = Scenario {
    name: "apply --via istio",
    program: "kubectl-relay_ingress",
    contexts: &["west"],
    writes: &[GATEWAYS, VIRTUAL_SERVICES],
    prepare: |shell, namespace| prepare(shell, namespace, "ClusterIP"),
    steps: ISTIO,
};

/// Istio with a gateway, beside all namespaces in which it is tried.
pub(crate) fn install_istio(control_plane: &ControlPlane) {
    let direct = Shell::on(control_plane);
    fixtures::install_istio_crds(&direct, "west");
    let namespace = fixtures::fresh_namespace(&direct, &["west"]);
    let mut gateway = fixtures::ingress_gateway(&namespace, "LoadBalancer");
    gateway["status"] = fixtures::load_balancer(&[ADDRESS]);
    let pod = fixtures::gateway_pod("gateway-1", &namespace, "node-1", true);
    fixtures::create(&direct, "west", &[gateway, pod]);
}

#[test]
fn apply_by_istio_survives_every_fault_at_every_request() {
    install_istio(ControlPlane::shared());
    BY_ISTIO.try_every_point();
}

/// Both objects, as the page has them.
fn is_routed(place: &Place<'_>) -> Vec<String> {
    let spec = |kind: &str| {
        let object = format!("{kind}.networking.istio.io/gloo-mesh-ingress");
        place.object("west", &object).map(|object| &object["spec"])
    };
    let host = json!(format!("enterprise-networking.{}", place.namespace));
    let gateway = spec("gateway").map(|spec| &spec["servers"][0]);
    let virtual_service = spec("virtualservice").map(|spec| &spec["tls"][0]["match"][0]);
    let mut defects = Vec::new();
    if gateway.is_none_or(|server| server["hosts"][0] != host || server["tls"]["mode"] != "PASSTHROUGH") {
        defects.push(format!("there is no Gateway for the relay: {gateway:?}"));
    }
    if virtual_service.is_none_or(|matches| matches["sniHosts"][0] != host) {
        defects.push(format!(
            "there is no VirtualService for the relay: {virtual_service:?}"
        ));
    }
    defects
}

const GATEWAY_API: &[Step] = &[Step::new(
    &["apply", "--via", "gateway-api"],
    is_routed_by_gateway_api,
)];

pub(crate) const BY_GATEWAY_API: Scenario = Scenario {
    name: "apply --via gateway-api",
    program: "kubectl-relay_ingress",
    contexts: &["east"],
    writes: &[API_GATEWAYS, TLS_ROUTES],
    prepare: |shell, namespace| prepare(shell, namespace, "ClusterIP"),
    steps: GATEWAY_API,
};

/// Gateway API with a class, which a controller would bring up.
pub(crate) fn install_gateway_api(control_plane: &ControlPlane) {
    let direct = Shell::on(control_plane);
    fixtures::install_gateway_api_crds(&direct, "east");
    let class = json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "GatewayClass",
        "metadata": { "name": "some" }, "spec": { "controllerName": "example.com/controller" },
    });
    direct.apply("east", class);
}

#[test]
fn apply_by_gateway_api_survives_every_fault_at_every_request() {
    install_gateway_api(ControlPlane::shared());
    BY_GATEWAY_API.try_every_point();
}

/// A Gateway that passes TLS through for the relay, and the route from it.
fn is_routed_by_gateway_api(place: &Place<'_>) -> Vec<String> {
    let spec = |kind: &str| {
        let object = format!("{kind}.gateway.networking.k8s.io/gloo-mesh-ingress");
        place.object("east", &object).map(|object| &object["spec"])
    };
    let host = json!(format!("enterprise-networking.{}", place.namespace));
    let listener = spec("gateway").map(|spec| &spec["listeners"][0]);
    let route = spec("tlsroute");
    let mut defects = Vec::new();
    if listener.is_none_or(|one| one["hostname"] != host || one["tls"]["mode"] != "Passthrough") {
        defects.push(format!("there is no Gateway for the relay: {listener:?}"));
    }
    if route.is_none_or(|spec| spec["hostnames"][0] != host) {
        defects.push(format!("there is no TLSRoute for the relay: {route:?}"));
    }
    defects
}

const WAIT: &[Step] = &[Step {
    arguments: &["--wait=15s"],
    is_broken: true,
    prints: Prints::Line("192.0.2.7:9900\n"),
    meanwhile: Some(|shell, namespace| {
        let status = fixtures::load_balancer(&[ADDRESS]);
        shell.patch_status("mgmt", "service/enterprise-networking", namespace, &status);
    }),
    defects: |_| Vec::new(),
}];

#[test]
fn waiting_survives_every_fault_at_every_request() {
    let scenario = Scenario {
        name: "relay-address --wait",
        program: "kubectl-relay_address",
        contexts: &["mgmt"],
        writes: &[SERVICES],
        prepare: |shell, namespace| prepare(shell, namespace, "LoadBalancer"),
        steps: WAIT,
    };
    scenario.try_every_point();
}
