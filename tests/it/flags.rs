//! kubectl's 19 connection flags, proven by what arrives at a server, beside what
//! the real kubectl sends for the same words.

use relay_tests::{ControlPlane, Kubeconfig, Recorder, Shell, Transcript};
use serde_json::{Value, json};

fn kubeconfig(address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "one",
        "clusters": [
            { "name": "one", "cluster": { "server": "http://127.0.0.1:1" } },
            { "name": "two", "cluster": { "server": address } },
        ],
        "users": [
            { "name": "one", "user": { "token": "token-of-one" } },
            { "name": "two", "user": { "username": "name", "password": "word" } },
            { "name": "as", "user": { "as": "root", "as-groups": ["wheel"], "token": "t" } },
        ],
        "contexts": [
            { "name": "one", "context": { "cluster": "one", "user": "one", "namespace": "team" } },
            { "name": "two", "context": { "cluster": "two", "user": "two" } },
            { "name": "as", "context": { "cluster": "two", "user": "as" } },
        ],
    })
}

#[test]
fn what_arrives_at_a_server_is_what_kubectl_sends() {
    let recorder = Recorder::http();
    let mut shell = Shell::on(ControlPlane::shared());
    let path = shell.write("recorded", kubeconfig(&recorder.url()).to_string());
    let other = shell.write("other", kubeconfig("http://127.0.0.1:2").to_string());
    let address = recorder.url();
    let address = address.as_str();
    shell.set_env("KUBECONFIG", &path);
    let recorded = path.to_string_lossy();

    let table: &[&[&str]] = &[
        &["--context", "two"],
        &["--cluster", "two"],
        &["--server", address],
        &["-s", address],
        &["--context", "two", "--user", "one"],
        &["--cluster", "two", "--user", "two"],
        &["--cluster", "two", "--token", "another"],
        &["--context", "two", "-n", "elsewhere"],
        &["--context", "two", "--namespace=elsewhere"],
        &["--context", "two", "--as", "jane"],
        &[
            "--context",
            "two",
            "--as",
            "jane",
            "--as-group",
            "a",
            "--as-group",
            "b",
        ],
        &["--context", "two", "--as", "jane", "--as-uid", "7"],
        &[
            "--context",
            "two",
            "--as",
            "jane",
            "--as-user-extra",
            "k=v",
            "--as-user-extra",
            "k=w",
        ],
        &["--context", "as"],
        &["--context", "as", "--as", "jane"],
        &["--kubeconfig", &recorded, "--context", "two"],
        // What is empty was not given, and the last one counts.
        &[
            "--context",
            "two",
            "--user=",
            "--cluster=",
            "--server=",
            "--token=",
        ],
        &["--context=", "--server", address],
        &["--context", "as", "--as=", "--as-uid=", "--request-timeout="],
        &[
            "--context",
            "two",
            "--tls-server-name=",
            "--certificate-authority=",
            "--client-certificate=",
            "--client-key=",
            "--cache-dir=",
            "--kubeconfig=",
        ],
        &["--context", "one", "--context", "two", "--as", "a", "--as", "b"],
        &[
            "--context",
            "two",
            "--insecure-skip-tls-verify=1",
            "--disable-compression=F",
        ],
        &["--context", "two", "--request-timeout", "7s"],
        &["--context", "two", "--cache-dir", "cache"],
        &["--context", "two", "--insecure-skip-tls-verify"],
        &["--context", "two", "--tls-server-name", "name"],
    ];
    for flags in table {
        // kubectl takes the namespace from the context; we say gloo-mesh.
        let namespace: &[&str] = match flags
            .iter()
            .any(|flag| flag.starts_with("-n") || flag.contains("namespace"))
        {
            true => &[],
            false => &["-n", "gloo-mesh"],
        };
        let kubectl = [&["get", "services", "enterprise-networking"], namespace, flags].concat();
        let sent = sent_by(&recorder, shell.kubectl(&kubectl));
        for plugin in [
            &["relay-address", "--via", "service"][..],
            &["relay-ingress", "apply", "--via", "loadbalancer"],
            &["relay-certs", "init"],
        ] {
            let plugin = [plugin, flags].concat();
            assert_eq!(sent_by(&recorder, shell.kubectl(&plugin)), sent, "{plugin:?}");
        }
    }
    // kubectl has this flag and asks for compressed answers all the same.
    let plain = shell.kubectl(&["relay-address", "--context", "two", "--disable-compression"]);
    let asked = |heard: &[String]| heard.iter().any(|line| line == "accept-encoding: gzip");
    assert!(!asked(&sent_by(&recorder, plain)));
    assert!(asked(&sent_by(
        &recorder,
        shell.kubectl(&["relay-address", "--context", "two"])
    )));
    // One more that no other flag shows: the file that is named is the only one.
    shell.set_env("KUBECONFIG", &other);
    let named = shell.kubectl(&["relay-address", "--kubeconfig", &recorded, "--context", "two"]);
    assert!(!sent_by(&recorder, named).is_empty());
}

#[track_caller]
fn sent_by(recorder: &Recorder, transcript: Transcript) -> Vec<String> {
    transcript.exits(1);
    let mut heard = recorder.heard();
    // Plugins go on to ask for the service of the other generation.
    heard.retain(|line| !line.contains("gloo-mesh-mgmt-server"));
    assert!(!heard.is_empty(), "nothing arrived from\n{transcript}");
    heard
}

#[test]
fn tls_flags_reach_a_real_server() {
    let control_plane = ControlPlane::shared();
    let mgmt = control_plane.cluster("mgmt");
    let shell = Shell::on(control_plane);
    let identity = mgmt.client_certificate("jane", &["relay"]);
    let ca = shell.write("ca.crt", &mgmt.ca_pem).display().to_string();
    let crt = shell
        .write("jane.crt", &identity.certificate_pem)
        .display()
        .to_string();
    let key = shell.write("jane.key", &identity.key_pem).display().to_string();
    let empty = Kubeconfig::new().write(&shell.home().join("."));
    let empty = empty.display().to_string();
    let with = |flags: &[&str]| {
        let plugin = ["relay-address", "--kubeconfig", &empty, "--server", &mgmt.server];
        shell.kubectl(&[&plugin[..], flags].concat())
    };
    let jane = ["--client-certificate", &crt, "--client-key", &key];
    let forbidden = |transcript: Transcript, user: &str| {
        transcript.exits(1).complains(&format!(
            "services \"enterprise-networking\" is forbidden: User \"{user}\""
        ));
    };

    forbidden(
        with(&[&["--certificate-authority", &ca][..], &jane].concat()),
        "jane",
    );
    forbidden(
        with(&[&["--insecure-skip-tls-verify"][..], &jane].concat()),
        "jane",
    );
    forbidden(
        with(&["--certificate-authority", &ca, "--token", &mgmt.token_of("dev")]),
        "dev",
    );
    with(&jane)
        .exits(1)
        .complains("Unable to connect to the server: ")
        .complains("certificate");
    let name = ["--certificate-authority", &ca, "--tls-server-name", "localhost"];
    forbidden(with(&[&name[..], &jane].concat()), "jane");
    let name = [
        "--certificate-authority",
        &ca,
        "--tls-server-name",
        "elsewhere.example",
    ];
    with(&[&name[..], &jane].concat())
        .exits(1)
        .complains("certificate");
    with(&["--certificate-authority", &ca, "--insecure-skip-tls-verify"])
        .exits(2)
        .complains("exclude each other");
}
