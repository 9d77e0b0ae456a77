//! kubectl's 19 connection flags, proven by what arrives at a server, beside what
//! the real kubectl sends for the same words.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript};
use serde_json::{Value, json};

/// An HTTP server that knows no object, and writes down what it is asked.
struct Recorder {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = format!("http://{}", listener.local_addr().expect("is bound"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let record = requests.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let record = record.clone();
                thread::spawn(move || answer(stream, &record));
            }
        });
        Self { address, requests }
    }

    /// What was asked for since the last time: the path of the Service and the
    /// headers that are the user's, sorted.
    #[track_caller]
    fn taken(&self, transcript: &Transcript) -> Vec<String> {
        let taken = std::mem::take(&mut *self.requests.lock().expect("no test panicked in here"));
        let service = taken.iter().find(|request| request.contains("/services/"));
        let request = service.unwrap_or_else(|| panic!("asked for {taken:#?} by\n{transcript}"));
        let mut lines: Vec<_> = request
            .lines()
            .filter(|line| is_the_users(line))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    }
}

fn is_the_users(line: &str) -> bool {
    let name = line.split(':').next().unwrap_or_default().to_ascii_lowercase();
    line.starts_with("get ") || name == "authorization" || name.starts_with("impersonate-")
}

fn answer(stream: TcpStream, record: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    let mut writer = stream;
    loop {
        let mut request = String::new();
        loop {
            let before = request.len();
            match reader.read_line(&mut request) {
                Ok(0) | Err(_) => return,
                Ok(2) => break,
                Ok(_) => {}
            }
            // Header names in any case are the same; so are trailing blanks.
            let line = request[before..].trim_end().to_owned();
            request.truncate(before);
            let line = match line.split_once(": ") {
                Some((name, value)) => format!("{}: {value}", name.to_ascii_lowercase()),
                // `GET PATH?QUERY HTTP/1.1`
                None => {
                    let path = line.split(['?', ' ']).nth(1).unwrap_or_default();
                    format!("get {path}")
                }
            };
            request.push_str(&line);
            request.push('\n');
        }
        let (status, body) = body_for(request.lines().next().unwrap_or_default());
        let length = body.len();
        record.lock().expect("no test panicked in here").push(request);
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/json\r\n");
        if write!(writer, "{head}Content-Length: {length}\r\n\r\n{body}").is_err() {
            return;
        }
    }
}

/// What kubectl discovers before it asks for a Service; and no Service.
fn body_for(line: &str) -> (&'static str, String) {
    let discovered = match line {
        "get /api" => json!({ "kind": "APIVersions", "versions": ["v1"] }),
        "get /apis" => json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
        "get /api/v1" => json!({
            "kind": "APIResourceList", "groupVersion": "v1",
            "resources": [{ "name": "services", "kind": "Service", "namespaced": true, "verbs": ["get"] }],
        }),
        _ => Value::Null,
    };
    if !discovered.is_null() {
        return ("200 OK", discovered.to_string());
    }
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not here",
        "reason": "NotFound", "code": 404, "details": { "name": "enterprise-networking", "kind": "services" },
    });
    ("404 Not Found", status.to_string())
}

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
    let recorder = Recorder::start();
    let mut shell = Shell::on(ControlPlane::shared());
    let path = shell.write("recorded", kubeconfig(&recorder.address).to_string());
    let other = shell.write("other", kubeconfig("http://127.0.0.1:2").to_string());
    let address = recorder.address.as_str();
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
        &["--context", "two", "--request-timeout", "7s"],
        &["--context", "two", "--disable-compression"],
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
    // One more that no other flag shows: the file that is named is the only one.
    shell.set_env("KUBECONFIG", &other);
    let named = shell.kubectl(&["relay-address", "--kubeconfig", &recorded, "--context", "two"]);
    assert!(!sent_by(&recorder, named).is_empty());
}

#[track_caller]
fn sent_by(recorder: &Recorder, transcript: Transcript) -> Vec<String> {
    transcript.exits(1);
    recorder.taken(&transcript)
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
