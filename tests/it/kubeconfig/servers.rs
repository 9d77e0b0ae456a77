//! Which server is reached, whom it is taken for, and by which proxy.

use serde_json::{Value, json};

use super::{BY_TOKEN, Case, HOME, World, file, token, with};

#[test]
fn servers_are_those_of_kubectl() {
    let world = World::new();
    let check = |cluster: Value, flags: &[&str], want: Option<&[&str]>| {
        let files = &[("a", file(world.cluster(cluster), token("t")))];
        let case = Case {
            files,
            environment: HOME,
            flags,
        };
        match want {
            Some(lines) => world.arrives(&case, &[lines, &[BY_TOKEN]].concat()),
            None => world.is_refused(&case),
        }
    };
    let to_name: Option<&[&str]> = Some(&["server: tls to api.example"]);
    let (url, path) = (
        world.server.url(),
        format!("{}/k8s/clusters/c-1/", world.server.url()),
    );
    let none = json!({});
    check(json!({ "tls-server-name": "api.example" }), &[], to_name);
    check(json!({ "tls-server-name": "other.example" }), &[], None);
    check(
        json!({ "tls-server-name": "api.example" }),
        &["--server", &url],
        Some(&[]),
    );
    check(none.clone(), &["--tls-server-name", "api.example"], to_name);
    check(
        none.clone(),
        &["--tls-server-name", "api.example", "--server", &url],
        to_name,
    );
    check(json!({ "certificate-authority-data": world.other_ca }), &[], None);
    check(json!({ "certificate-authority-data": null }), &[], None);
    check(json!({ "certificate-authority-data": "" }), &[], None);
    check(json!({ "certificate-authority-data": "!" }), &[], None);
    check(json!({ "certificate-authority": "dir/ca.crt" }), &[], None);
    let by_path = json!({ "certificate-authority-data": null, "certificate-authority": "dir/ca.crt" });
    check(by_path.clone(), &[], Some(&[]));
    check(
        with(by_path, json!({ "certificate-authority": "missing" })),
        &[],
        None,
    );
    let wrong = json!({ "certificate-authority-data": world.other_ca });
    check(
        wrong.clone(),
        &["--certificate-authority", "dir/ca.crt"],
        Some(&[]),
    );
    check(wrong.clone(), &["--insecure-skip-tls-verify"], Some(&[]));
    check(wrong.clone(), &["--insecure-skip-tls-verify=false"], None);
    check(
        with(wrong, json!({ "insecure-skip-tls-verify": true })),
        &[],
        None,
    );
    let unchecked = json!({ "insecure-skip-tls-verify": true, "certificate-authority-data": null });
    check(unchecked.clone(), &[], Some(&[]));
    check(unchecked, &["--certificate-authority", "dir/ca.crt"], Some(&[]));
    check(
        none,
        &[
            "--certificate-authority",
            "dir/ca.crt",
            "--insecure-skip-tls-verify",
        ],
        None,
    );
    check(json!({ "server": path }), &[], Some(&[]));
    check(json!({ "server": "ftp://127.0.0.1" }), &[], None);
    check(json!({ "server": null }), &[], None);
    check(json!({ "server": null }), &["--server", &url], Some(&[]));
}

#[test]
fn proxies_are_those_of_kubectl() {
    let world = World::new();
    let check = |cluster: Value, environment: &[(&str, &str)], want: Option<&[&str]>| {
        let files = &[("a", file(cluster, token("t")))];
        let environment = &[HOME, environment].concat();
        let case = Case {
            files,
            environment,
            flags: &[],
        };
        match want {
            Some(lines) => world.arrives(&case, &[lines, &[BY_TOKEN]].concat()),
            None => world.is_refused(&case),
        }
    };
    let via = |url: String| world.elsewhere(json!({ "proxy-url": url }));
    let user = |url: String| url.replace("://", "://me:p%40ss@");
    let name = "server: tls to api.example";
    let connect = "http: CONNECT api.example:6443";
    let through: Option<&[&str]> = Some(&[connect, name]);
    let basic = "http: proxy-authorization: Basic bWU6cEBzcw==";
    let (http, https, socks) = (world.http.url(), world.https.url(), world.socks.url());
    check(via(http.clone()), &[], through);
    check(via(user(http.clone())), &[], Some(&[connect, basic, name]));
    check(
        via(https.clone()),
        &[],
        Some(&["https: CONNECT api.example:6443", name]),
    );
    check(
        via(socks.clone()),
        &[],
        Some(&["socks: socks api.example:6443", name]),
    );
    check(
        via(user(socks.clone())),
        &[],
        Some(&["socks: socks me:p@ss@api.example:6443", name]),
    );
    check(via("ftp://127.0.0.1".to_owned()), &[], None);
    check(via("http://127.0.0.1:1".to_owned()), &[], None);
    // A proxy of the kubeconfig counts whatever the environment says.
    check(
        via(http.clone()),
        &[("NO_PROXY", "*"), ("HTTPS_PROXY", "http://127.0.0.1:1")],
        through,
    );
    let here = world.cluster(json!({ "proxy-url": http }));
    let to_here = format!("http: CONNECT {}", world.server.address());
    check(here, &[("NO_PROXY", "127.0.0.1")], Some(&[&to_here]));

    let elsewhere = || world.elsewhere(json!({}));
    let address = world.http.address();
    check(elsewhere(), &[], None);
    check(elsewhere(), &[("HTTPS_PROXY", &http)], through);
    check(elsewhere(), &[("https_proxy", &http)], through);
    check(elsewhere(), &[("HTTPS_PROXY", &address)], through);
    check(
        elsewhere(),
        &[("HTTPS_PROXY", &user(http.clone()))],
        Some(&[connect, basic, name]),
    );
    check(
        elsewhere(),
        &[("HTTPS_PROXY", &socks)],
        Some(&["socks: socks api.example:6443", name]),
    );
    check(elsewhere(), &[("HTTP_PROXY", &http)], None);
    check(elsewhere(), &[("ALL_PROXY", &http)], None);
    check(elsewhere(), &[("HTTPS_PROXY", "ftp://127.0.0.1")], None);
    check(world.cluster(json!({})), &[("HTTPS_PROXY", &http)], Some(&[]));
    for (list, is_exempt) in [
        ("*", true),
        ("example", true),
        ("api.example", true),
        ("API.example:6443", true),
        (".example,", true),
        ("x, *.example", true),
        ("api.example:443", false),
        (".api.example", false),
        ("127.0.0.0/8,::1,xample", false),
    ] {
        let environment = [("HTTPS_PROXY", http.as_str()), ("NO_PROXY", list)];
        check(
            elsewhere(),
            &environment,
            (!is_exempt).then_some(&[connect, name]),
        );
    }
}
