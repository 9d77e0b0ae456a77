//! The kubeconfig, as kubectl reads it: the same files, flags and environment for the
//! real kubectl and for a plugin, and what arrives from each.

mod servers;

use std::{fs, os::unix::fs::PermissionsExt as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use relay_tests::{Kubeconfig, Recorder, Shell, authority::Authority};
use serde_json::{Value, json};

/// A home with everything that a kubeconfig may refer to, and servers that listen.
struct World {
    shell: Shell,
    ca: String,
    other_ca: String,
    jane: (String, String),
    server: Recorder,
    plain: Recorder,
    http: Recorder,
    https: Recorder,
    socks: Recorder,
}

/// What both are given. `{}` in an environment variable stands for the home directory.
#[derive(Default)]
struct Case<'a> {
    files: &'a [(&'a str, Value)],
    environment: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
}

impl World {
    fn new() -> Self {
        let authority = Authority::new("servers");
        let identity = authority.server(&["api.example", "127.0.0.1"]);
        let jane = authority.client("jane", &["relay"]);
        let server = Recorder::https(&identity, &authority);
        let shell = Shell::new(&Kubeconfig::new());
        shell.write("dir/ca.crt", authority.ca_pem());
        shell.write("dir/jane.crt", &jane.certificate_pem);
        shell.write("dir/jane.key", &jane.key_pem);
        shell.write("dir/token", "token-of-a-file\n");
        let login = json!({
            "kind": "ExecCredential", "apiVersion": "client.authentication.k8s.io/v1",
            "status": { "token": "token-of-a-plugin" },
        });
        let login = shell.write("dir/login", format!("#!/bin/sh\necho '{login}'\n"));
        fs::set_permissions(login, fs::Permissions::from_mode(0o700)).expect("it is ours");
        Self {
            plain: Recorder::http(),
            http: Recorder::http_proxy(&server),
            https: Recorder::https_proxy(&server, &identity, &authority),
            socks: Recorder::socks_proxy(&server),
            ca: STANDARD.encode(authority.ca_pem()),
            other_ca: STANDARD.encode(Authority::new("others").ca_pem()),
            jane: (
                STANDARD.encode(&jane.certificate_pem),
                STANDARD.encode(&jane.key_pem),
            ),
            server,
            shell,
        }
    }

    /// The cluster that is reached directly, with more fields or others.
    fn cluster(&self, more: Value) -> Value {
        let server = json!({ "server": self.server.url(), "certificate-authority-data": self.ca });
        with(server, more)
    }

    /// The cluster that only a proxy leads to.
    fn elsewhere(&self, more: Value) -> Value {
        self.cluster(with(json!({ "server": "https://api.example:6443" }), more))
    }

    fn heard(&self) -> Vec<String> {
        let named = [
            ("server", &self.server),
            ("plain", &self.plain),
            ("http", &self.http),
            ("https", &self.https),
            ("socks", &self.socks),
        ];
        let heard = named.into_iter().flat_map(|(name, recorder)| {
            let heard = recorder.heard().into_iter();
            heard.map(move |line| format!("{name}: {line}"))
        });
        heard.collect()
    }

    /// Runs both and returns what arrived from each of them, which has to be the same.
    #[track_caller]
    fn run(&self, case: &Case<'_>) -> Vec<String> {
        let home = self.shell.home();
        for (name, content) in case.files {
            match content {
                Value::String(text) => self.shell.write(name, text),
                value => self.shell.write(name, value.to_string()),
            };
        }
        let run = |program: &str, arguments: &[&str]| {
            let mut command = self.shell.env("RUST_BACKTRACE", "0");
            for (name, value) in case.environment {
                command = command.env(name, value.replace("{}", &home.to_string_lossy()));
            }
            let transcript = command.run(program, &[arguments, case.flags].concat());
            assert_ne!(transcript.code, Some(0), "there is no Service, for\n{transcript}");
            (self.heard(), transcript)
        };
        let arguments = ["get", "services", "enterprise-networking", "-n", "gloo-mesh"];
        let (want, kubectl) = run("kubectl", &arguments);
        let (got, plugin) = run(
            "kubectl-relay_address",
            &["--via", "service", "--service", "enterprise-networking"],
        );
        assert_eq!(got, want, "\n{plugin}\nbeside\n{kubectl}");
        for (name, _) in case.files {
            let path = home.join(name);
            let _ = fs::remove_file(path);
        }
        got
    }

    #[track_caller]
    fn arrives(&self, case: &Case<'_>, lines: &[&str]) {
        let mut heard = self.run(case);
        heard.retain(|line| !line.contains("accept-encoding: "));
        let path = "/api/v1/namespaces/gloo-mesh/services/enterprise-networking";
        assert!(heard.iter().any(|line| line.ends_with(path)), "{heard:#?}");
        for line in lines {
            assert!(heard.iter().any(|heard| heard == line), "{line:?} in {heard:#?}");
        }
        let more = heard
            .iter()
            .filter(|heard| !heard.ends_with(path) && !lines.contains(&heard.as_str()));
        assert_eq!(more.collect::<Vec<_>>(), Vec::<&String>::new());
    }

    #[track_caller]
    fn is_refused(&self, case: &Case<'_>) {
        assert_eq!(self.run(case), Vec::<String>::new());
    }
}

fn with(mut base: Value, more: Value) -> Value {
    for (name, value) in more.as_object().expect("is one") {
        match value {
            Value::Null => base.as_object_mut().expect("is one").remove(name),
            value => base
                .as_object_mut()
                .expect("is one")
                .insert(name.clone(), value.clone()),
        };
    }
    base
}

/// A file with one context, `c`, which is current.
fn file(cluster: Value, user: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": cluster }],
        "users": [{ "name": "c", "user": user }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c", "namespace": "team" } }],
    })
}

fn token(token: &str) -> Value {
    json!({ "token": token })
}

/// What arrives of that user, `t`.
const BY_TOKEN: &str = "server: authorization: Bearer t";

const HOME: &[(&str, &str)] = &[("KUBECONFIG", "{}/a")];

#[test]
fn files_merge_as_for_kubectl() {
    let world = World::new();
    let (a, b) = (
        file(world.cluster(json!({})), token("a")),
        file(world.cluster(json!({})), token("b")),
    );
    let files = &[("a", a.clone()), ("b", b.clone())];
    let check = |environment: &[(&str, &str)], flags: &[&str], want: Option<&str>| {
        let case = Case {
            files,
            environment,
            flags,
        };
        match want {
            Some(line) => world.arrives(&case, &[line]),
            None => world.is_refused(&case),
        }
    };
    let (by_a, by_b) = (
        Some("server: authorization: Bearer a"),
        Some("server: authorization: Bearer b"),
    );
    check(&[("KUBECONFIG", "{}/a:{}/b")], &[], by_a);
    check(&[("KUBECONFIG", "{}/b:{}/a")], &[], by_b);
    check(&[("KUBECONFIG", "{}/missing::{}/b:")], &[], by_b);
    check(&[("KUBECONFIG", "a:b")], &[], by_a);
    check(&[("KUBECONFIG", ":")], &[], None);
    check(&[("KUBECONFIG", "{}/missing")], &[], None);
    check(&[("KUBECONFIG", "{}/a")], &["--kubeconfig", "b"], by_b);
    check(&[("KUBECONFIG", "{}/a")], &["--kubeconfig", "missing"], None);
    check(&[("KUBECONFIG", "{}/missing")], &["--kubeconfig", "b"], by_b);
    check(&[("KUBECONFIG", "{}/a")], &["--context", "other"], None);
    check(&[("KUBECONFIG", "{}/a")], &["--user", "other"], None);
    check(&[("KUBECONFIG", "{}/a")], &["--cluster", "other"], None);
    // Where there is a kubeconfig, a pod's cluster is not used.
    let pod = [
        ("KUBERNETES_SERVICE_HOST", "127.0.0.1"),
        ("KUBERNETES_SERVICE_PORT", "1"),
    ];
    check(&[("KUBECONFIG", "{}/a"), pod[0], pod[1]], &[], by_a);
    check(&[("KUBECONFIG", ""), pod[0], pod[1]], &[], None);

    let check = |files: &[(&str, Value)], want: Option<&str>| {
        let case = Case {
            files,
            environment: &[("KUBECONFIG", "{}/a:{}/b")],
            ..Case::default()
        };
        match want {
            Some(line) => world.arrives(&case, &[line]),
            None => world.is_refused(&case),
        }
    };
    let current = |context: &str| json!({ "apiVersion": "v1", "kind": "Config", "current-context": context });
    check(&[("a", current("")), ("b", b.clone())], by_b);
    check(&[("a", json!("")), ("b", b.clone())], by_b);
    check(&[("a", current("other")), ("b", b.clone())], None);
    check(&[("a", with(a.clone(), json!({ "current-context": "" })))], None);
    check(&[("a", json!("users: ["))], None);
    check(&[("a", json!("users: [")), ("b", b.clone())], None);
    // Each name on its own: the user of the first file, the cluster of the second.
    let user = with(a.clone(), json!({ "clusters": null }));
    check(&[("a", user), ("b", b.clone())], by_a);
    let dangling = json!([{ "name": "c", "context": { "cluster": "none", "user": "c" } }]);
    check(&[("a", with(a, json!({ "contexts": dangling }))), ("b", b)], None);
}

#[test]
fn users_are_those_of_kubectl() {
    let world = World::new();
    let check_at = |cluster: Value, user: Value, flags: &[&str], want: Option<&[&str]>| {
        let files = &[("a", file(world.cluster(cluster), user))];
        let case = Case {
            files,
            environment: HOME,
            flags,
        };
        match want {
            Some(lines) => world.arrives(&case, lines),
            None => world.is_refused(&case),
        }
    };
    let check = |user: Value, flags: &[&str], want: Option<&[&str]>| check_at(json!({}), user, flags, want);
    let by_jane = format!("server: tls by {}", last(&world.jane.0));
    let by_jane: &[&str] = &[&by_jane];
    let (crt, key) = (&world.jane.0, &world.jane.1);
    let basic = json!({ "username": "jane", "password": "word" });
    check(
        basic.clone(),
        &[],
        Some(&["server: authorization: Basic amFuZTp3b3Jk"]),
    );
    check(basic.clone(), &["--token", "t"], None);
    check(with(basic, token("t")), &[], None);
    check(
        json!({ "token": "t", "tokenFile": "dir/token" }),
        &[],
        Some(&["server: authorization: Bearer token-of-a-file"]),
    );
    check(
        json!({ "tokenFile": "dir/token" }),
        &["--token", "t"],
        Some(&["server: authorization: Bearer token-of-a-file"]),
    );
    check(json!({ "tokenFile": "missing" }), &[], None);
    check(
        json!({ "token": "t", "tokenFile": "missing" }),
        &[],
        Some(&[BY_TOKEN]),
    );
    let data = json!({ "client-certificate-data": crt, "client-key-data": key });
    check(data.clone(), &[], Some(by_jane));
    let paths = json!({ "client-certificate": "dir/jane.crt", "client-key": "dir/jane.key" });
    check(paths.clone(), &[], Some(by_jane));
    let flags = [
        "--client-certificate",
        "dir/jane.crt",
        "--client-key",
        "dir/jane.key",
    ];
    check(json!({}), &flags, Some(by_jane));
    check(data.clone(), &flags, Some(by_jane));
    check(data.clone(), &flags[..2], Some(by_jane));
    check(with(data.clone(), paths.clone()), &[], None);
    check(json!({ "client-certificate-data": crt }), &[], None);
    check(
        json!({ "client-certificate-data": "!", "client-key-data": key }),
        &[],
        None,
    );
    check(with(paths, json!({ "client-key": "missing" })), &[], None);
    let with_token = with(data.clone(), token("t"));
    check(with_token, &[], Some(&[BY_TOKEN, by_jane[0]]));
    let exec = json!({ "exec": {
        "apiVersion": "client.authentication.k8s.io/v1", "command": "dir/login", "interactiveMode": "Never",
    } });
    check(
        exec.clone(),
        &[],
        Some(&["server: authorization: Bearer token-of-a-plugin"]),
    );
    check(exec, &["--token", "t"], Some(&[BY_TOKEN]));
    let groups = json!({ "as": "root", "as-groups": ["wheel"], "as-uid": "7", "as-user-extra": { "k": ["v"] }, "token": "t" });
    let impersonated = [
        "server: impersonate-user: root",
        "server: impersonate-group: wheel",
        "server: impersonate-uid: 7",
        "server: impersonate-extra-k: v",
        BY_TOKEN,
    ];
    check(groups.clone(), &[], Some(&impersonated));
    check(with(groups, json!({ "as": null })), &[], None);
    check(token("t"), &["--as-group", "g"], None);
    // Nothing that proves who we are goes over a connection that anybody can read.
    let plain = world.plain.url();
    for server in [&plain, &world.plain.address()] {
        check_at(
            json!({ "server": server }),
            with(data.clone(), token("t")),
            &[],
            Some(&[]),
        );
    }
}

#[test]
fn who_has_no_credential_is_not_asked_for_one() {
    // kubectl reads a name and a password from standard input, which may be meant for
    // somebody else; we ask as nobody, and a server that minds says so.
    let world = World::new();
    world
        .shell
        .write("a", file(world.cluster(json!({})), json!({})).to_string());
    let plugin = ["--via", "service", "--kubeconfig", "a"];
    world.shell.run("kubectl-relay_address", &plugin).exits(1);
    let mut heard = world.heard();
    heard.retain(|line| !line.contains("accept-encoding: "));
    assert!(
        !heard.is_empty() && heard.iter().all(|line| line.contains("GET ")),
        "{heard:#?}"
    );
}

#[test]
fn a_pod_without_a_kubeconfig_reaches_its_own_cluster() {
    let world = World::new();
    let address = world.server.address();
    let (host, port) = address.split_once(':').expect("has a port");
    // Where a pod has its service account, in a mount namespace of our own.
    let account = "mount -t tmpfs none /run && mkdir -p /run/secrets/kubernetes.io \
                   && cp -r pod /run/secrets/kubernetes.io/serviceaccount && exec \"$@\"";
    let ca = fs::read_to_string(world.shell.home().join("dir/ca.crt")).expect("is there");
    for (name, content) in [("ca.crt", &*ca), ("token", "t"), ("namespace", "team")] {
        world.shell.write(&format!("pod/{name}"), content);
    }
    let run = |words: &[&str]| {
        let pod = world
            .shell
            .env("KUBERNETES_SERVICE_HOST", host)
            .env("KUBERNETES_SERVICE_PORT", port);
        let pod = pod.env("KUBECONFIG", "");
        let transcript = pod.run("unshare", &[&["-rm", "sh", "-c", account, "sh"], words].concat());
        (world.heard(), transcript)
    };
    let get = [
        "kubectl",
        "get",
        "services",
        "enterprise-networking",
        "-n",
        "gloo-mesh",
    ];
    let service = [
        "kubectl-relay_address",
        "--via",
        "service",
        "--service",
        "enterprise-networking",
    ];
    let check = |flags: &[&str], authorization: &str| {
        let (want, kubectl) = run(&[&get[..], flags].concat());
        let (got, plugin) = run(&[&service[..], flags].concat());
        assert_eq!(got, want, "\n{plugin}\nbeside\n{kubectl}");
        assert!(got.iter().any(|line| line == authorization), "{got:#?}\n{plugin}");
        plugin.complains("where: context \"in-cluster\"");
    };
    check(&[], BY_TOKEN);
    check(&["--token", "another"], "server: authorization: Bearer another");
    check(&["--certificate-authority", "dir/ca.crt"], BY_TOKEN);
    // kubectl passes over this one in silence, and acts as itself.
    let (got, plugin) = run(&[&service[..], &["--as", "jane"]].concat());
    let jane = "server: impersonate-user: jane";
    assert!(got.iter().any(|line| line == jane), "{got:#?}\n{plugin}");
}

/// How a recorder names a client certificate.
fn last(data: &str) -> String {
    let pem = STANDARD.decode(data).expect("is base64");
    let pem = String::from_utf8(pem).expect("is text");
    let der: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    der[der.len() - 16..].to_owned()
}
