//! `--wait`: ends with the address as soon as there is one, or with the reason.

use std::{thread, time::Duration};

use relay_tests::{
    Kubeconfig, Proxy, Shell, fixtures,
    proxy::{Fault, Midway, Request},
};
use serde_json::{Value, json};

use super::{Cluster, entrance, gateway, installed, tls_route};

#[test]
fn waiting_ends_with_the_address_or_the_reason() {
    let cluster = Cluster::start();
    let pending = "its type is LoadBalancer, and its load balancer has no address yet";
    cluster.create(&[fixtures::relay_service("gloo-mesh", "LoadBalancer")]);
    let waited = cluster.address(&["--via", "service", "--wait=1s"]);
    waited
        .exits(1)
        .complains(&format!(
            "waiting: {pending} (service gloo-mesh/enterprise-networking)\n"
        ))
        .complains(&format!(
            "error: service gloo-mesh/enterprise-networking has no address: {pending}\n"
        ));
    assert!(waited.duration.as_secs() < 10, "{waited}");
    assert_eq!(waited.stderr.matches("waiting: ").count(), 1, "{waited}");
    // On a terminal of 80 columns the whole reason is beside the spinner.
    let terminal = cluster.shell.run(
        "script",
        &[
            "-qec",
            "stty cols 80; kubectl relay-address --via service --wait=1s",
            "/dev/null",
        ],
    );
    assert!(
        terminal.stdout.contains(&format!(" waiting: {pending}")),
        "{terminal}"
    );

    thread::scope(|scope| {
        let waiting = scope.spawn(|| cluster.address(&["--wait", "-v", "6"]));
        thread::sleep(Duration::from_secs(4));
        let address = fixtures::load_balancer(&["203.0.113.10"]);
        cluster
            .shell
            .patch_status("alone", "service/enterprise-networking", "gloo-mesh", &address);
        let waited = waiting.join().expect("it ends");
        waited.success();
        assert_eq!(waited.stdout, "203.0.113.10:9900\n", "{waited}");
        // Nothing is asked for while nothing changes: the first look, the watches, what
        // was there as they began, and the change.
        let looks = waited.stderr.matches("/services/enterprise-networking ").count();
        assert!(looks <= 4, "{waited}");
        waited.complains("watch=true");
    });
}

#[test]
fn waiting_outlasts_a_server_that_is_away_and_says_so_once() {
    let cluster = Cluster::start();
    cluster.create(&[fixtures::relay_service("gloo-mesh", "LoadBalancer")]);
    thread::scope(|scope| {
        let waiting = scope.spawn(|| cluster.address(&["--wait=2m"]));
        thread::sleep(Duration::from_secs(3));
        cluster.control_plane.stop("alone");
        thread::sleep(Duration::from_secs(4));
        cluster.control_plane.restart("alone");
        let address = fixtures::load_balancer(&["203.0.113.10"]);
        cluster
            .shell
            .patch_status("alone", "service/enterprise-networking", "gloo-mesh", &address);
        let waited = waiting.join().expect("it ends");
        waited.success();
        assert_eq!(waited.stdout, "203.0.113.10:9900\n", "{waited}");
        let refused = "watching again every second: The connection to the server ";
        assert_eq!(waited.stderr.matches(refused).count(), 1, "{waited}");
    });
}

/// A watch that was opened to go on, and is answered 410, begins with what there is.
#[test]
fn waiting_begins_anew_where_the_server_has_forgotten() {
    let cluster = Cluster::start();
    cluster.create(&[fixtures::relay_service("gloo-mesh", "LoadBalancer")]);
    let proxy = Proxy::before(cluster.control_plane.cluster("alone"));
    let shell = Shell::new(&Kubeconfig::new().through("alone", &proxy, "").current("alone"));
    let watch = Request {
        method: "WATCH".to_owned(),
        path: "/api/v1/namespaces/gloo-mesh/services".to_owned(),
    };
    let wait = [
        "relay-address",
        "--service",
        "enterprise-networking",
        "--wait=1m",
        "-v6",
        "--via",
        "service",
    ];
    let _struck = proxy.break_request(&watch, 1, Fault::Midway(Midway::Expire));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| shell.kubectl(&wait));
        while proxy.watches() < 3 && !waiting.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
        let address = fixtures::load_balancer(&["203.0.113.10"]);
        cluster
            .shell
            .patch_status("alone", "service/enterprise-networking", "gloo-mesh", &address);
        let waited = waiting.join().expect("it ends");
        waited
            .success()
            .complains("watching again every second: broken on purpose");
        assert_eq!(waited.stdout, "203.0.113.10:9900\n", "{waited}");
        let watches = waited.stderr.lines().filter(|line| line.contains("watch=true"));
        let outcomes: Vec<_> = watches
            .map(|line| (line.contains("resourceVersion= "), line.contains(" 200 OK ")))
            .collect();
        assert_eq!(
            outcomes[..3],
            [(true, true), (false, false), (true, true)],
            "{waited}"
        );
    });
}

#[test]
fn waiting_is_for_what_is_to_come() {
    let cluster = Cluster::start();
    cluster.create(&[fixtures::ingress_gateway("istio-system", "LoadBalancer")]);
    // The relay service itself is to stay inside.
    cluster.address(&["--wait=1s"]).exits(1).complains(
        "waiting: its type is LoadBalancer, and its load balancer has no address yet (service \
         istio-system/istio-ingressgateway)\n",
    );
}

#[test]
fn waiting_notices_kinds_that_are_installed_meanwhile() {
    let cluster = Cluster::start();
    let wait = |flags: &[&str]| cluster.address(&[flags, &["--wait=1m"]].concat());
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&["--via", "istio"]));
        thread::sleep(Duration::from_secs(2));
        fixtures::install_istio_crds(&cluster.shell, "alone");
        cluster.create(&installed("edge-gw", "edge", "ingress", "203.0.113.2"));
        cluster.create(&[gateway("relay", "v1", "ingress", "PASSTHROUGH", "*.gloo-mesh")]);
        let waited = waiting.join().expect("it ends");
        waited.success();
        assert_eq!(waited.stdout, "203.0.113.2:443\n", "{waited}");
    });

    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&["--via", "gateway-api"]));
        thread::sleep(Duration::from_secs(2));
        fixtures::install_gateway_api_crds(&cluster.shell, "alone");
        let addresses = json!([{ "type": "IPAddress", "value": "203.0.113.4" }]);
        cluster.create(&[entrance("relay", addresses), tls_route()]);
        let waited = waiting.join().expect("it ends");
        waited.success();
        assert_eq!(waited.stdout, "203.0.113.4:8443\n", "{waited}");
    });
}

#[test]
fn who_may_not_watch_looks_again_from_time_to_time() {
    let cluster = Cluster::start();
    let shell = &cluster.shell;
    cluster.create(&[fixtures::relay_service("gloo-mesh", "LoadBalancer")]);
    let balance = |status: &Value| {
        shell.patch_status("alone", "service/enterprise-networking", "gloo-mesh", status);
    };
    let exposed = || balance(&fixtures::load_balancer(&["203.0.113.10"]));
    let wait = |flags: &[&str]| cluster.address(&[&["--context", "dev"], flags].concat());

    // Without the right to read there is nothing to wait for.
    let refused = wait(&["--wait", "1m"]);
    refused
        .exits(1)
        .complains("error: nothing that may expose the relay server can be read\n");
    assert!(refused.duration < Duration::from_secs(30), "{refused}");

    // What may not be watched is said once, in the order in which it was looked at, and
    // what can be read is read again.
    fixtures::grant(shell, "alone", "gloo-mesh", "dev", "get", "services");
    let waited = wait(&["--wait=8s"]);
    waited
        .exits(1)
        .complains("error: the relay server has no address yet\n");
    assert!(waited.duration >= Duration::from_secs(8), "{waited}");
    let lines = waited.stderr.lines();
    let refusals = lines.filter_map(|line| line.strip_prefix("looking again from time to time: "));
    let refused: Vec<_> = refusals
        .filter_map(|refusal| refusal.split_once(" is forbidden: User \"dev\" cannot watch"))
        .collect();
    let refused: Vec<_> = refused.iter().map(|(object, _)| *object).collect();
    let definition = "customresourcedefinitions.apiextensions.k8s.io";
    assert_eq!(
        refused,
        [
            "services \"enterprise-networking\"",
            "services \"gloo-mesh-mgmt-server\"",
            &format!("{definition} \"gateways.networking.istio.io\""),
            "services \"istio-ingressgateway\"",
            &format!("{definition} \"gateways.gateway.networking.k8s.io\""),
            &format!("{definition} \"tlsroutes.gateway.networking.k8s.io\""),
        ],
        "{waited}"
    );
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&["--via", "service", "--wait=1m"]));
        thread::sleep(Duration::from_secs(2));
        exposed();
        let waited = waiting.join().expect("it ends");
        assert_eq!(waited.success().stdout, "203.0.113.10:9900\n", "{waited}");
    });

    // The right to watch may come later.
    balance(&json!({ "loadBalancer": null }));
    thread::scope(|scope| {
        let waiting = scope.spawn(|| wait(&["--via", "service", "--wait=1m", "-v6"]));
        thread::sleep(Duration::from_secs(2));
        fixtures::grant(shell, "alone", "gloo-mesh", "dev", "watch", "services");
        // It is tried again after 1, 3, 7 and 15 s.
        thread::sleep(Duration::from_secs(8));
        exposed();
        let waited = waiting.join().expect("it ends");
        assert_eq!(waited.success().stdout, "203.0.113.10:9900\n", "{waited}");
        let watches = waited.stderr.lines().filter(|line| line.contains("watch=true"));
        assert!(watches.clone().any(|line| line.contains(" 200 OK ")), "{waited}");
    });
}
