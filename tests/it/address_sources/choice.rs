//! Which of many addresses is taken.

use relay_tests::fixtures;
use serde_json::json;

use super::Cluster;

/// Every way of `--node-port`, `--node-address-type`, `--prefer`, `--ip-family`, `--all`
/// and external IPs.
#[test]
fn one_of_many_addresses_is_chosen_by_flags() {
    let cluster = Cluster::start();
    let mut relay = fixtures::relay_service("gloo-mesh", "LoadBalancer");
    relay["spec"]["ports"][0]["nodePort"] = json!(30900);
    relay["spec"]["externalIPs"] = json!(["203.0.113.99"]);
    cluster.create(&[
        relay.clone(),
        fixtures::node(
            "node-a",
            &[
                ("InternalIP", "192.0.2.1"),
                ("ExternalDNS", "a.example.com"),
                ("Hostname", "node-a"),
            ],
            true,
        ),
        fixtures::node("node-b", &[("InternalIP", "192.0.2.2")], true),
    ]);
    // A load balancer that is pending is not replaced by what comes after it.
    cluster.prints(&[], "203.0.113.99:9900");
    relay["spec"]["externalIPs"] = json!([]);
    cluster.create(&[relay.clone()]);
    let pending = cluster.address(&[]);
    pending
        .exits(1)
        .complains("its load balancer has no address yet")
        .complains("`kubectl relay-address --wait`")
        .complains("`kubectl relay-address --node-port`")
        .conceals("30900");
    cluster.prints(&["--node-port"], "a.example.com:30900");
    cluster.prints(
        &["--node-port", "--node-address-type", "InternalIP"],
        "192.0.2.1:30900",
    );
    cluster.prints(
        &["--node-port", "--node-address-type=hostname,internalip"],
        "node-a:30900",
    );
    cluster.prints(
        &["--node-port", "--all", "--via", "service"],
        "a.example.com:30900\n192.0.2.2:30900\n192.0.2.1:30900\nnode-a:30900",
    );

    relay["spec"]["externalIPs"] = json!(["203.0.113.99"]);
    let ingress = json!([
        { "hostname": "lb.example.com" },
        { "ip": "203.0.113.1" },
        { "ip": "2001:db8::1", "hostname": "lb6.example.com" },
        { "ip": "203.0.113.1" },
    ]);
    let status = json!({ "loadBalancer": { "ingress": ingress } });
    cluster.create(&[fixtures::with_status(relay, status)]);
    cluster.prints(&[], "lb.example.com:9900");
    cluster.prints(&["--prefer", "ip"], "203.0.113.1:9900");
    cluster.prints(&["--prefer", "hostname"], "lb.example.com:9900");
    cluster.prints(&["--ip-family", "ipv6"], "lb.example.com:9900");
    cluster.prints(&["--ip-family", "ipv6", "--prefer", "ip"], "[2001:db8::1]:9900");
    // Kubernetes spells it IPv6.
    cluster.prints(&["--ip-family=IPv6", "--prefer=IP"], "[2001:db8::1]:9900");
    cluster.prints(
        &["--all"],
        "lb.example.com:9900\n203.0.113.1:9900\n[2001:db8::1]:9900\nlb6.example.com:9900\n203.0.113.99:9900",
    );
    cluster.prints(&["--port-name", "9900"], "lb.example.com:9900");
}

#[test]
fn a_dual_stack_service_is_reached_by_either_family() {
    let cluster = Cluster::start();
    let mut relay = fixtures::relay_service("gloo-mesh", "NodePort");
    relay["spec"]["ports"][0]["nodePort"] = json!(30900);
    let addresses = [
        ("InternalIP", "192.0.2.1"),
        ("InternalIP", "2001:db8::1"),
        ("Hostname", "node-a"),
    ];
    cluster.create(&[relay.clone(), fixtures::node("node-a", &addresses, true)]);
    let (v4, v6) = ("192.0.2.1:30900", "[2001:db8::1]:30900");
    // Of one family, a node does not answer on the other's addresses.
    cluster.prints(&["--all", "--via", "service"], &format!("{v4}\nnode-a:30900"));
    relay["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
    cluster.create(&[relay.clone()]);
    let all = format!("{v4}\n{v6}\nnode-a:30900");
    cluster.prints(&["--all", "--via", "service"], &all);
    cluster.prints(&[], v4);
    cluster.prints(&["--ip-family", "ipv4"], v4);
    cluster.prints(&["--ip-family", "ipv6"], v6);

    // The same of a load balancer with an address of each.
    relay["spec"]["type"] = json!("LoadBalancer");
    let balancer = fixtures::load_balancer(&["203.0.113.1", "2001:db8::9"]);
    cluster.create(&[fixtures::with_status(relay, balancer)]);
    cluster.prints(&[], "203.0.113.1:9900");
    cluster.prints(&["--ip-family", "ipv6"], "[2001:db8::9]:9900");
}
