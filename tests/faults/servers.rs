//! A kube-apiserver is killed under runs, and started again; what it stored is in etcd.

use std::{thread, time::Duration};

use relay_tests::{ControlPlane, Kubeconfig, Proxy, Shell, fixtures};

use crate::{expose, init, rotate};

#[test]
fn a_server_that_is_killed_is_survived_at_every_request() {
    let control_plane = ControlPlane::start(&["mgmt", "east", "west"]);
    init::SCENARIO.kill_servers(&control_plane);
    rotate::SCENARIO.kill_servers(&control_plane);
    expose::BY_SERVICE.kill_servers(&control_plane);
    expose::install_istio(&control_plane);
    expose::BY_ISTIO.kill_servers(&control_plane);
    expose::install_gateway_api(&control_plane);
    expose::BY_GATEWAY_API.kill_servers(&control_plane);
    waiting_goes_on(&control_plane);
}

/// A wait outlives its server, and finds what comes after that.
#[track_caller]
fn waiting_goes_on(control_plane: &ControlPlane) {
    let direct = Shell::on(control_plane);
    let namespace = fixtures::fresh_namespace(&direct, &[]);
    expose::prepare(&direct, &namespace, "LoadBalancer");
    let proxy = Proxy::before(control_plane.cluster("mgmt"));
    let shell = Shell::new(&Kubeconfig::new().through("mgmt", &proxy, "").current("mgmt"));
    let arguments = ["--wait=100s", "--namespace", &namespace];
    let run = thread::scope(|scope| {
        let run = scope.spawn(|| shell.run("kubectl-relay_address", &arguments));
        while !proxy.is_watched() && !run.is_finished() {
            thread::sleep(Duration::from_millis(10));
        }
        control_plane.restart("mgmt");
        let status = fixtures::load_balancer(&[expose::ADDRESS]);
        direct.patch_status("mgmt", "service/enterprise-networking", &namespace, &status);
        run.join().expect("it ends")
    });
    assert_eq!(run.success().stdout, format!("{}:9900\n", expose::ADDRESS));
    // Not only as its time was up.
    run.complains("again in 1 s: ");
    assert!(run.duration < Duration::from_secs(90), "{run}");
}
