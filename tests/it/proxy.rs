//! The proxy that other tests break things with: curl and kubectl see each fault
//! for what it is.

use std::time::{Duration, Instant};

use relay_tests::{
    ControlPlane, Kubeconfig, Proxy, Shell, fixtures,
    proxy::{Fault, Midway, Request, Unreachable},
};
use serde_json::json;

const PATH: &str = "/api/v1/namespaces/default";

/// A shell with curl's files, behind a proxy.
fn behind_proxy() -> (Proxy, Shell) {
    let proxy = Proxy::before(ControlPlane::shared().cluster("mgmt"));
    let shell = Shell::new(&Kubeconfig::new().through("mgmt", &proxy, "").current("mgmt"));
    shell.write("ca.crt", proxy.ca_pem());
    (proxy, shell)
}

fn curl(shell: &Shell, proxy: &Proxy) -> relay_tests::Transcript {
    let token = format!("Authorization: Bearer {}", proxy.token());
    let url = format!("{}{PATH}", proxy.url());
    let arguments = [
        "--silent",
        "--show-error",
        "--max-time",
        "2",
        "--cacert",
        "ca.crt",
    ];
    let answer = [
        "--header",
        &token,
        "--write-out",
        "\n%{http_code} %header{retry-after}",
        &url,
    ];
    shell.run("curl", &[&arguments[..], &answer].concat())
}

#[test]
fn every_fault_is_what_it_says() {
    #[track_caller]
    fn check(fault: Fault, code: i32, shown: &str) {
        let (proxy, shell) = behind_proxy();
        let struck = proxy.break_nth(2, fault);
        curl(&shell, &proxy).success().prints("\n200 ");
        assert!(struck.try_recv().is_err(), "the first one is not struck");
        let request = Request {
            method: "GET".to_owned(),
            path: PATH.to_owned(),
        };
        curl(&shell, &proxy).exits(code).prints(shown);
        struck.try_recv().expect("the second one is");
        assert_eq!(proxy.requests(), [request.clone(), request.clone()]);
        let struck = proxy.break_request(&request, 1, fault);
        curl(&shell, &proxy).exits(code);
        struck.try_recv().expect("by its path, too");
        proxy.heal();
        curl(&shell, &proxy).success().prints("\n200 ");
    }
    check(Fault::Answer(401), 0, "\"Unauthorized\"");
    check(Fault::Answer(404), 0, "404 page not found\n\n404 ");
    check(Fault::Answer(500), 0, "\n500 ");
    check(Fault::Busy(7), 0, "\n429 7");
    check(Fault::Reset, 56, "");
    check(Fault::Lose, 56, "");
    check(Fault::Cut, 18, "\"kind\": \"Namespace\"");
    check(Fault::Truncate, 0, "\n200 ");
    check(Fault::Slow(Duration::from_millis(20)), 0, "\n200 ");
    check(Fault::Drip, 28, "{  ");
    check(Fault::WebPage, 0, "Please log in");
    check(Fault::Garbage, 1, "");
    check(Fault::Hang, 28, "");
    check(Fault::Withhold, 28, "");
}

#[test]
fn a_watch_breaks_after_its_first_event() {
    #[track_caller]
    fn check(how: Midway, code: i32, shown: &str) {
        let (proxy, shell) = behind_proxy();
        let request = Request {
            method: "WATCH".to_owned(),
            path: "/api/v1/namespaces".to_owned(),
        };
        let struck = proxy.break_request(&request, 1, Fault::Midway(how));
        let token = format!("Authorization: Bearer {}", proxy.token());
        let query = "watch=true&fieldSelector=metadata.name%3Ddefault&timeoutSeconds=60";
        let url = format!("{}{}?{query}", proxy.url(), request.path);
        let arguments = ["--silent", "--max-time", "2", "--cacert", "ca.crt", "--header"];
        let watched = shell.run("curl", &[&arguments[..], &[&token, &url]].concat());
        watched
            .exits(code)
            .prints("{\"type\":\"ADDED\",\"object\":{\"kind\":\"Namespace\"")
            .prints(shown);
        struck.try_recv().expect("it was struck");
        assert!(proxy.is_watched());
    }
    check(Midway::Reset, 56, "");
    check(Midway::Cut, 18, "");
    check(Midway::Hang, 28, "");
    check(Midway::Truncate, 0, "{\"kind\":\"Serv");
    check(Midway::Garbage, 0, "no event");
    check(Midway::Gone, 0, "\"reason\":\"Expired\"");
    check(Midway::Expire, 0, "");
}

#[test]
fn a_watch_that_has_expired_is_not_gone_on_with() {
    let (proxy, shell) = behind_proxy();
    let request = Request {
        method: "WATCH".to_owned(),
        path: "/api/v1/namespaces".to_owned(),
    };
    let watch = |version: &str| {
        let token = format!("Authorization: Bearer {}", proxy.token());
        let query = format!("watch=true&timeoutSeconds=1&resourceVersion={version}");
        let url = format!("{}{}?{query}", proxy.url(), request.path);
        let arguments = ["--silent", "--cacert", "ca.crt", "--header", &token, &url];
        shell.run("curl", &arguments)
    };
    let _struck = proxy.break_request(&request, 1, Fault::Midway(Midway::Expire));
    for (version, shown) in [("", "ADDED"), ("1", "\"code\":410"), ("", "ADDED")] {
        watch(version).success().prints(shown);
    }
}

#[test]
fn connections_are_refused_or_led_astray() {
    for (how, code) in [(Unreachable::Refuse, 7), (Unreachable::Impostor, 60)] {
        let (proxy, shell) = behind_proxy();
        proxy.break_connections(2, how);
        curl(&shell, &proxy).success();
        curl(&shell, &proxy).exits(code);
        curl(&shell, &proxy).exits(code);
        proxy.heal();
        curl(&shell, &proxy).success();
    }
}

#[test]
fn a_write_that_is_lost_is_done_and_one_that_is_reset_is_not() {
    let (proxy, shell) = behind_proxy();
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    let direct = Shell::on(ControlPlane::shared());
    for (fault, done) in [
        (Fault::Lose, true),
        (Fault::Withhold, true),
        (Fault::Reset, false),
        (Fault::Hang, false),
    ] {
        let name = format!("{fault:?}").to_lowercase();
        let request = Request {
            method: "POST".to_owned(),
            path: format!("/api/v1/namespaces/{namespace}/configmaps"),
        };
        let struck = proxy.break_request(&request, 1, fault);
        let create = [
            "create",
            "configmap",
            &name,
            "--namespace",
            &namespace,
            "--request-timeout=2s",
        ];
        shell.kubectl(&create).exits(1);
        struck.try_recv().expect("it was struck");
        let get = ["get", "configmap", &name, "--namespace", &namespace];
        direct.kubectl(&get).exits(if done { 0 } else { 1 });
    }
}

#[test]
fn one_server_is_a_fleet_and_far_away() {
    let (proxy, shell) = behind_proxy();
    let name = fixtures::fresh_namespace(&shell, &[]);
    let proxy = proxy.with_remotes(&name);
    let kubeconfig =
        Kubeconfig::new()
            .through("one", &proxy, "/remote/1")
            .through("two", &proxy, "/remote/2");
    let fleet = Shell::new(&kubeconfig.current("one"));
    for context in ["one", "two"] {
        let place = ["--context", context, "--namespace", &name];
        let kubectl = |what: &[&str]| fleet.kubectl(&[&place[..], what].concat());
        // Not `create`, which speaks protobuf.
        let object = |kind: &str, name: &str| json!({ "apiVersion": "v1", "kind": kind, "metadata": { "name": name } });
        fleet.apply(context, object("Namespace", &name));
        let configmap = object("ConfigMap", context).to_string();
        fleet
            .stdin(configmap)
            .kubectl(&[&place[..], &["apply", "-f", "-"]].concat())
            .success();
        let listed = kubectl(&["get", "configmaps", "-o", "name"]);
        assert_eq!(listed.success().stdout, format!("configmap/{context}\n"));
    }
    let there = |number| format!("get configmaps -o name -n {name}-r{number}");
    let two = there(2);
    let direct = shell.kubectl(&two.split(' ').collect::<Vec<_>>());
    assert_eq!(direct.success().stdout, "configmap/two\n");

    // Of TCP, of TLS and of the request.
    proxy.set_round_trip(Duration::from_millis(200));
    let request = |_| {
        let start = Instant::now();
        curl(&shell, &proxy).success();
        start.elapsed().as_millis()
    };
    // Whatever else the machine does makes it longer, and not every time.
    let taken = (0..5).map(request).min().expect("there were some");
    assert!((600..900).contains(&taken), "{taken} ms");
}

#[test]
fn watches_stream() {
    let (_proxy, shell) = behind_proxy();
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell
        .kubectl(&["create", "configmap", "early", "-n", &namespace])
        .success();
    let wait = [
        "wait",
        "configmap/early",
        "-n",
        &namespace,
        "--for",
        "jsonpath={.data.late}=yes",
        "--timeout=30s",
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(1));
            let patch = [
                "patch",
                "configmap",
                "early",
                "-n",
                &namespace,
                "--patch",
                r#"{"data":{"late":"yes"}}"#,
            ];
            shell.kubectl(&patch).success();
        });
        shell.kubectl(&wait).success().prints("condition met");
    });
}
