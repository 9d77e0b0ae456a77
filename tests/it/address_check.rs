//! `kubectl relay-address --check`: what it proves against servers that are as they
//! should be, and what it says of those that are not.

mod roots;
mod trust;

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
};

use relay_tests::{
    ControlPlane, Shell, Transcript,
    authority::{Authority, Identity},
    fixtures,
    relay::RelayServer,
};
use serde_json::{Value, json};

const CONTEXTS: [&str; 3] = ["mgmt", "east", "west"];

/// A relay in a namespace of its own, of whichever address a test says.
struct Site {
    shell: Shell,
    namespace: String,
    root: Authority,
}

impl Site {
    /// Every cluster has the root.
    fn new() -> Self {
        let shell = Shell::on(ControlPlane::shared());
        let namespace = fixtures::fresh_namespace(&shell, &CONTEXTS);
        let site = Self {
            shell,
            namespace,
            root: Authority::new("relay-root"),
        };
        for context in CONTEXTS {
            site.trusts(context, &site.root.ca_pem());
        }
        site
    }

    fn host(&self) -> String {
        format!("enterprise-networking.{}", self.namespace)
    }

    /// Gives a cluster another root.
    fn trusts(&self, context: &str, root: &str) {
        let secret = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": "relay-root-tls-secret", "namespace": self.namespace },
            "stringData": { "ca.crt": root },
        });
        self.shell.apply(context, secret);
    }

    /// Writes what a server serves by into a directory.
    fn identity(&self, name: &str, identity: &Identity, root: &Authority) -> PathBuf {
        self.shell
            .write(&format!("{name}/tls.crt"), &identity.certificate_pem);
        self.shell.write(&format!("{name}/tls.key"), &identity.key_pem);
        self.shell.write(&format!("{name}/ca.crt"), root.ca_pem());
        self.shell.home().join(name)
    }

    /// A relay server whose certificate has these names.
    fn server(&self, names: &[&str]) -> RelayServer {
        let directory = self.identity("server", &self.root.server(names), &self.root);
        RelayServer::start(&self.shell, &directory, None)
    }

    /// Makes the relay's address be this one.
    fn expose(&self, host: &str, port: u16) {
        let mut service = fixtures::relay_service(&self.namespace, "LoadBalancer");
        service["spec"]["ports"][0]["port"] = json!(port);
        let service = fixtures::with_status(service, fixtures::load_balancer(&[host]));
        fixtures::create(&self.shell, "mgmt", &[service]);
    }

    fn expose_server(&self, server: &RelayServer) {
        let (host, port) = server.address.rsplit_once(':').expect("has a port");
        self.expose(host, port.parse().expect("is a port"));
    }

    fn check(&self, flags: &[&str]) -> Transcript {
        let check = ["relay-address", "--check", "-n", &self.namespace];
        self.shell.kubectl(&[&check[..], flags].concat())
    }
}

/// The result of each step, as `NAME RESULT`.
#[track_caller]
fn results(transcript: &Transcript) -> Vec<String> {
    let document = transcript.json();
    let steps = document["checks"].as_array().expect("is a list").iter();
    let text = |step: &Value, key: &str| step[key].as_str().expect("is text").to_owned();
    steps
        .map(|step| format!("{} {}", text(step, "name"), text(step, "result")))
        .collect()
}

/// Asserts how a check ended and what its only step of note says.
#[track_caller]
fn ends(transcript: &Transcript, code: i32, name: &str, result: &str, detail: &str) {
    transcript.exits(code);
    let document = transcript.json();
    let steps = document["checks"].as_array().expect("is a list").iter();
    let of_note: Vec<_> = steps
        .filter(|step| step["result"] != "ok" && step["result"] != "skipped")
        .collect();
    assert_eq!(of_note.len(), 1, "{transcript}");
    assert_eq!(
        (&of_note[0]["name"], &of_note[0]["result"]),
        (&json!(name), &json!(result))
    );
    let found = of_note[0]["detail"].as_str().expect("is text");
    assert!(found.contains(detail), "expected {detail:?}\n{transcript}");
    let hint = of_note[0]["hint"].as_str().expect("is text");
    assert!(!hint.is_empty(), "there is no hint\n{transcript}");
}

#[test]
fn a_relay_server_that_every_cluster_trusts_passes() {
    let site = Site::new();
    let server = site.server(&[&site.host()]);
    site.expose_server(&server);
    let remotes = ["--remote-context", "east,west"];
    let checked = site.check(&remotes);
    checked
        .success()
        .prints(&format!("address: {}\n", server.address))
        .prints(
            "\nCHECK    RESULT        TIME   DETAIL\ndns      ok               -   127.0.0.1 needs none\n",
        )
        .prints(" accepts connections\n")
        .prints("   HTTP/2\n")
        .prints("   context \"mgmt\": it is signed under \"CN=relay-root\"")
        .prints("   context \"east\": it is signed under \"CN=relay-root\"")
        .prints("   context \"west\": it is signed under \"CN=relay-root\"")
        .prints("   it asks for a client certificate\n")
        .prints("   it expires on 2049-12-31, in ");
    assert_eq!(checked.stderr, "");

    let checked = site.check(&[&remotes[..], &["-o", "json"]].concat());
    checked.success();
    let want = [
        "dns ok",
        "tcp ok",
        "tls ok",
        "alpn ok",
        "cert ok",
        "name ok",
        "trust ok",
        "trust ok",
        "trust ok",
        "client ok",
        "expiry ok",
    ];
    assert_eq!(results(&checked), want);
    let document = checked.json();
    assert_eq!(document["address"], json!(server.address));
    let tls = &document["checks"][2];
    assert_eq!(tls["detail"], json!(format!("TLS 1.3 as {}", site.host())));
    assert!(tls["milliseconds"].as_f64().is_some_and(|ms| ms > 0.0));

    // A name is resolved first.
    let (_, port) = server.address.rsplit_once(':').expect("has a port");
    site.expose("localhost", port.parse().expect("is a port"));
    site.check(&[]).success().prints("   localhost is ");
}

#[test]
fn a_certificate_has_to_carry_the_name() {
    let site = Site::new();
    let json = ["-o", "json"];
    let wildcard = format!("*.{}", site.namespace);
    let server = site.server(&[&wildcard]);
    site.expose_server(&server);
    ends(
        &site.check(&json),
        0,
        "name",
        "warning",
        "which Go takes and OpenSSL, curl and rustls refuse",
    );
    let other = ["--server-name", "relay.example.org", "-o", "json"];
    let detail = format!("it is for {wildcard}, not for relay.example.org");
    ends(&site.check(&other), 3, "name", "failed", &detail);
}

#[test]
fn an_address_that_leads_nowhere_says_where_it_ends() {
    let site = Site::new();
    let json = ["-o", "json"];
    let closed = {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        listener.local_addr().expect("it has an address").port()
    };
    site.expose("127.0.0.1", closed);
    ends(&site.check(&json), 3, "tcp", "failed", " refuses connections");
    assert_eq!(
        results(&site.check(&json)),
        [
            "dns ok",
            "tcp failed",
            "tls skipped",
            "alpn skipped",
            "cert skipped",
            "name skipped",
            "trust skipped",
            "client skipped",
            "expiry skipped",
        ]
    );
    site.expose("no-such-relay.invalid", 443);
    ends(&site.check(&json), 3, "dns", "failed", "");

    // As Envoy does where no route passes the name through, and as anything else may.
    for (answer, detail) in [
        ("", "it closes the connection during the handshake"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "it does not speak TLS"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        site.expose(
            "127.0.0.1",
            listener.local_addr().expect("it has an address").port(),
        );
        let answering = thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("somebody dials");
            // The hello is read first, so that closing is no reset.
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer.as_bytes());
        });
        ends(&site.check(&json), 3, "tls", "failed", detail);
        answering.join().expect("it answers");
    }
}

/// `openssl s_server` for what a relay server never does; ends when it is dropped.
struct OpenSsl(Child);

impl OpenSsl {
    #[track_caller]
    fn serve(site: &Site, directory: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new("openssl")
            .args(["s_server", "-accept", "127.0.0.1:0"])
            .args(["-cert", "tls.crt", "-key", "tls.key"])
            .args(flags)
            .current_dir(directory)
            // It ends with its input.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("openssl starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout is piped")).lines();
        let listening = lines.find_map(|line| {
            let line = line.expect("is text");
            line.strip_prefix("ACCEPT 127.0.0.1:")?.trim().parse().ok()
        });
        site.expose("127.0.0.1", listening.expect("openssl says where it listens"));
        // What it says from now on is read by nobody, and must not hold it up.
        thread::spawn(move || lines.count());
        Self(child)
    }
}

impl Drop for OpenSsl {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn what_no_relay_server_does_is_told() {
    let site = Site::new();
    let json = ["-o", "json"];
    let identity = site.root.server(&[&site.host()]);
    let directory = site.identity("plain", &identity, &site.root);
    let server = OpenSsl::serve(&site, &directory, &["-alpn", "h2"]);
    ends(
        &site.check(&json),
        0,
        "client",
        "warning",
        "it does not ask for a client certificate",
    );
    drop(server);
    let server = OpenSsl::serve(&site, &directory, &["-verify", "1"]);
    ends(
        &site.check(&json),
        3,
        "alpn",
        "failed",
        "it does not choose HTTP/2",
    );
    drop(server);
    // TLS 1.2 is enough, also where a client without a certificate is turned away.
    for verify in ["-verify", "-Verify"] {
        let _server = OpenSsl::serve(&site, &directory, &["-alpn", "h2", verify, "1", "-tls1_2"]);
        site.check(&[])
            .success()
            .prints("   TLS 1.2 as\n")
            .prints("   HTTP/2\n")
            .prints("   it asks for a client certificate\n");
    }
    // And what it shows is judged.
    let _server = OpenSsl::serve(&site, &directory, &["-Verify", "1", "-tls1_2"]);
    ends(
        &site.check(&json),
        3,
        "alpn",
        "failed",
        "it does not choose HTTP/2",
    );
}

#[test]
fn a_certificate_that_ends_is_due_and_then_wrong() {
    let site = Site::new();
    let json = ["-o", "json"];
    site.shell.write("root.key", site.root.key_pem());
    site.shell.write("root.crt", site.root.ca_pem());
    site.shell.write("ending/.keep", "");
    let openssl = |arguments: &str| {
        let arguments: Vec<_> = arguments.split(' ').collect();
        site.shell.run("openssl", &arguments).success();
    };
    openssl(&format!(
        "req -x509 -newkey rsa:2048 -noenc -keyout ending/tls.key -out ending/tls.crt -CA root.crt -CAkey \
         root.key -days 20 -subj /CN=server -addext subjectAltName=DNS:{} -addext \
         basicConstraints=critical,CA:FALSE",
        site.host()
    ));
    let flags = ["-alpn", "h2", "-verify", "1"];
    let server = OpenSsl::serve(&site, &site.shell.home().join("ending"), &flags);
    // 19 days and so many hours, or 20 within the second that it was made in.
    ends(&site.check(&json), 4, "expiry", "due", "it expires on ");
    drop(server);
    let expired = site.root.expired_server(&[&site.host()]);
    let directory = site.identity("expired", &expired, &site.root);
    let _server = OpenSsl::serve(&site, &directory, &flags);
    let expired = "it has expired (2020-01-01 to 2024-02-01)";
    ends(&site.check(&json), 3, "expiry", "failed", expired);
}

#[test]
fn flags_that_make_no_sense_together_are_wrong_usage() {
    let shell = Shell::on(ControlPlane::shared());
    for flags in [
        &["--remote-context", "east"][..],
        &["--ca-file", "root.pem"],
        &["--check", "--all"],
        &["--check", "--explain"],
        &["--check", "-o", "env"],
        &["--check", "-o", "wide"],
    ] {
        let refused = shell.kubectl(&[&["relay-address"], flags].concat());
        refused.exits(2).complains("error: ");
        assert_eq!(refused.stdout, "");
    }
}
