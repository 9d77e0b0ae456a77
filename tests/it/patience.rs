//! What is shown of the requests, what is tried again, and what Ctrl-C does.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStderr, Stdio},
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use relay_tests::{ControlPlane, Kubeconfig, Proxy, Shell, fixtures, proxy::Fault};
use serde_json::json;

/// An API server that gives the same answers one after the other, in plain HTTP,
/// and then none; it returns how its requests began.
struct Scripted {
    address: String,
    served: thread::JoinHandle<Vec<String>>,
}

impl Scripted {
    fn answering(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let address = format!("http://{}", listener.local_addr().expect("is bound"));
        let served = thread::spawn(move || {
            answers
                .iter()
                .map(|answer| {
                    let (stream, _) = listener.accept().expect("a client");
                    serve(stream, answer)
                })
                .collect()
        });
        Self { address, served }
    }

    fn shell(&self) -> Shell {
        let mut shell = Shell::on(ControlPlane::shared());
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "scripted",
            "clusters": [{ "name": "c", "cluster": { "server": self.address } }],
            "contexts": [{ "name": "scripted", "context": { "cluster": "c", "user": "u" } }],
            "users": [{ "name": "u", "user": { "token": "s3cret-token" } }],
        });
        let path = shell.write("scripted", kubeconfig.to_string());
        shell.set_env("KUBECONFIG", path);
        shell
    }
}

fn serve(mut stream: TcpStream, answer: &str) -> String {
    let first = request(&stream);
    stream.write_all(answer.as_bytes()).expect("it reads");
    first
}

/// Reads a whole request and returns how it began.
fn request(stream: &TcpStream) -> String {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).expect("a request");
    let mut length = 0;
    let mut line = String::new();
    while reader.read_line(&mut line).expect("headers") > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
            length = value.trim().parse().expect("is a number");
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).expect("a body");
    first.trim_end().to_owned()
}

fn answer(status: &str, headers: &str, body: &serde_json::Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n{body}",
        body.len()
    )
}

fn busy() -> String {
    let status = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "too many requests",
        "reason": "TooManyRequests", "code": 429, "details": { "retryAfterSeconds": 1 },
    });
    answer("429 Too Many Requests", "Retry-After: 1\r\n", &status)
}

fn exposed() -> serde_json::Value {
    let service = fixtures::relay_service("gloo-mesh", "LoadBalancer");
    fixtures::with_status(service, fixtures::load_balancer(&["192.0.2.1"]))
}

#[test]
fn requests_and_warnings_are_shown_and_credentials_are_not() {
    let warnings = "Warning: 299 - \"v1 Service is old\"\r\nWarning: 299 - \"v1 Service is old\", 299 - \"zu alt für Gloo\"\r\n";
    let quiet = Scripted::answering(vec![answer("200 OK", warnings, &exposed())]);
    let transcript = quiet.shell().kubectl(&["relay-address"]);
    assert_eq!(transcript.success().stdout, "192.0.2.1:9900\n");
    assert_eq!(
        transcript.stderr,
        "Warning: v1 Service is old (context \"scripted\")\nWarning: zu alt für Gloo (context \"scripted\")\n"
    );

    let service = "/api/v1/namespaces/gloo-mesh/services/enterprise-networking";
    for level in ["-v6", "--v=6", "-v=9"] {
        let server = Scripted::answering(vec![answer("200 OK", "", &exposed())]);
        let transcript = server.shell().kubectl(&["relay-address", level]);
        transcript
            .success()
            .complains(&format!("GET {}{service} 200 OK in ", server.address))
            .conceals("s3cret-token");
        assert_eq!(transcript.stderr.contains("> user-agent: "), level == "-v=9");
        assert_eq!(
            server.served.join().expect("served"),
            [format!("GET {service} HTTP/1.1")]
        );
    }
}

#[test]
fn a_token_is_shown_at_no_verbosity() {
    let shell = Shell::on(ControlPlane::shared());
    let transcript = shell.kubectl(&["relay-address", "-v99"]);
    transcript
        .exits(1)
        .complains("> authorization: <redacted>")
        .conceals(&ControlPlane::shared().cluster("mgmt").token);
}

#[test]
fn a_busy_server_is_asked_again_a_few_times_and_visibly() {
    let server = Scripted::answering(vec![busy(), answer("200 OK", "", &exposed())]);
    let transcript = server.shell().kubectl(&["relay-address"]);
    assert_eq!(transcript.success().stdout, "192.0.2.1:9900\n");
    let again = "context \"scripted\" answers 429 TooManyRequests: trying again in 1 s";
    assert_eq!(transcript.stderr, format!("{again} (1 of 3)\n"));

    // As a kube-apiserver says it that has not looked at the request.
    let text = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: 2\r\nContent-Type: text/plain; charset=utf-8\r\n\
                Content-Length: 44\r\nConnection: close\r\n\r\nToo many requests, please try again later.\n\n";
    let server = Scripted::answering(vec![text.to_owned(), answer("200 OK", "", &exposed())]);
    let transcript = server.shell().kubectl(&["relay-address"]);
    assert_eq!(transcript.success().stdout, "192.0.2.1:9900\n");
    assert_eq!(
        transcript.stderr,
        format!("{} (1 of 3)\n", again.replace("1 s", "2 s"))
    );

    let server = Scripted::answering(vec![busy(), busy(), busy(), busy()]);
    let transcript = server.shell().kubectl(&["relay-address"]);
    transcript
        .exits(1)
        .complains("(3 of 3)\nError from server (TooManyRequests): too many requests\n")
        .complains("where: context \"scripted\", service gloo-mesh/enterprise-networking");
    assert_eq!(server.served.join().expect("served").len(), 4);
}

#[test]
fn ctrl_c_ends_what_waits() {
    // It accepts, and never answers.
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = format!("http://{}", listener.local_addr().expect("is bound"));
    let shell = Shell::on(ControlPlane::shared());
    let mut plugin = shell
        .command("kubectl-relay_certs")
        .args(["init", "--server", &server])
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let _accepted = listener.accept().expect("it asks");
    thread::sleep(Duration::from_millis(100));
    shell.run("kill", &["-INT", &plugin.id().to_string()]).success();
    let status = plugin.wait().expect("it ends");
    let mut stderr = String::new();
    let pipe = plugin.stderr.as_mut().expect("is piped");
    pipe.read_to_string(&mut stderr).expect("is text");
    assert_eq!(status.code(), Some(130), "{stderr}");
    assert_eq!(
        stderr,
        "error: interrupted\n  hint: run the same command again to go on\n"
    );
    assert!(!shell.home().join("relay-pki").exists());
}

/// An API server that holds no object, allows everything, and takes a write only when told to go on.
fn know_nothing(mut stream: TcpStream, writes: &mpsc::Sender<String>, wait: &Mutex<mpsc::Receiver<()>>) {
    let first = request(&stream);
    let answer = match first.split(' ').next() {
        // A connection that was opened and not needed.
        None | Some("") => return,
        Some("GET") => {
            let absent = json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "message": "not here",
                "reason": "NotFound", "code": 404, "details": { "name": "it" },
            });
            answer("404 Not Found", "", &absent)
        }
        Some(_) if first.contains("selfsubjectaccessreviews") => {
            let allowed = json!({ "spec": {}, "status": { "allowed": true } });
            answer("201 Created", "", &allowed)
        }
        Some(_) => {
            writes.send(first).expect("the test waits");
            let wait = wait.lock().expect("no test panicked in here");
            wait.recv().expect("the test goes on");
            answer("201 Created", "", &json!({}))
        }
    };
    stream.write_all(answer.as_bytes()).expect("it reads");
}

/// A run of init that was interrupted at its first write, and has said so.
struct Interrupted {
    shell: Shell,
    plugin: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    /// What else it writes, and what lets it go on.
    written: mpsc::Receiver<String>,
    go_on: mpsc::Sender<()>,
}

fn interrupted() -> Interrupted {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = format!("http://{}", listener.local_addr().expect("is bound"));
    let (writes, written) = mpsc::channel();
    let (go_on, wait) = mpsc::channel::<()>();
    let wait = Arc::new(Mutex::new(wait));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (writes, wait) = (writes.clone(), wait.clone());
            thread::spawn(move || know_nothing(stream, &writes, &wait));
        }
    });
    let shell = Shell::on(ControlPlane::shared());
    let mut plugin = shell
        .command("kubectl-relay_certs")
        .args(["init", "--server", &server])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let write = written.recv_timeout(Duration::from_secs(60)).expect("it writes");
    assert_eq!(write.split('?').next(), Some("POST /api/v1/namespaces"));
    shell.run("kill", &["-INT", &plugin.id().to_string()]).success();
    let mut stderr = BufReader::new(plugin.stderr.take().expect("is piped"));
    let mut said = String::new();
    while !said.contains("stopping after the writes that are under way") {
        assert_ne!(stderr.read_line(&mut said).expect("is text"), 0, "{said}");
    }
    Interrupted {
        shell,
        plugin,
        stderr,
        said,
        written,
        go_on,
    }
}

#[test]
fn ctrl_c_lets_a_write_end_and_begins_no_other() {
    let Interrupted {
        shell,
        mut plugin,
        mut stderr,
        mut said,
        written,
        go_on,
    } = interrupted();
    go_on.send(()).expect("it waits");

    let mut report = String::new();
    let mut stdout = plugin.stdout.take().expect("is piped");
    stdout.read_to_string(&mut report).expect("is text");
    stderr.read_to_string(&mut said).expect("is text");
    assert_eq!(plugin.wait().expect("it ends").code(), Some(130), "{said}");
    let lines: Vec<_> = report
        .lines()
        .map(|line| line.split_whitespace().skip(1).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        lines,
        [
            "namespace/gloo-mesh created",
            "secret/relay-root-tls-secret not tried",
            "secret/relay-server-tls-secret not tried",
            "secret/relay-tls-signing-secret not tried",
        ],
        "{report}{said}"
    );
    assert!(
        said.ends_with("error: interrupted\n  hint: run the same command again to go on\n"),
        "{said}"
    );
    assert!(written.try_recv().is_err(), "nothing else was sent");
    assert!(shell.home().join("relay-pki/relay-root.key").exists());
}

#[test]
fn ctrl_c_once_more_ends_everything_at_once() {
    let mut run = interrupted();
    assert!(run.said.contains("press Ctrl-C again to stop at once"));
    let pid = run.plugin.id().to_string();
    run.shell.run("kill", &["-INT", &pid]).success();
    // Its write has no answer yet, and would have to wait for one.
    run.stderr.read_to_string(&mut run.said).expect("is text");
    assert_eq!(
        run.plugin.wait().expect("it ends").code(),
        Some(130),
        "{}",
        run.said
    );
    let goes_on = "error: interrupted\n  hint: run the same command again to go on\n";
    assert!(run.said.ends_with(goes_on), "{}", run.said);
    assert!(run.written.try_recv().is_err(), "nothing else was sent");
    drop(run.go_on);
}

#[test]
fn who_is_not_known_is_told_to_log_in() {
    let control_plane = ControlPlane::shared();
    let nobody = json!({ "token": "expired" });
    let kubeconfig = Kubeconfig::new().entry("mgmt", control_plane.cluster("mgmt"), nobody);
    let shell = Shell::new(&kubeconfig.current("mgmt"));
    let kubectl = shell.kubectl(&["get", "service", "x"]);
    let said = kubectl.stderr.lines().last().unwrap_or_default();
    // What is in parentheses is the server's to say, and depends on what it is asked.
    let (said, _) = said.split_once('(').expect("kubectl says why");
    shell.kubectl(&["relay-address"]).exits(1).complains(&format!(
        "{said}(Unauthorized)\n  where: context \"mgmt\", service gloo-mesh/enterprise-networking\n  hint: "
    ));
}

#[test]
fn a_time_limit_ends_a_request() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = format!("http://{}", listener.local_addr().expect("is bound"));
    let shell = Shell::on(ControlPlane::shared());
    shell
        .kubectl(&["relay-address", "--server", &server, "--request-timeout", "1s"])
        .exits(1)
        .complains("Unable to connect to the server: ")
        .complains("where: context \"mgmt\"");
}

#[test]
fn what_is_no_answer_of_an_api_server_is_worded_as_by_kubectl() {
    let resources = |path: &str| {
        let resource = json!({ "name": "services", "kind": "Service", "namespaced": true, "verbs": ["get"] });
        let list = json!({ "kind": "APIResourceList", "groupVersion": "v1", "resources": [resource] });
        let known = [
            ("GET /api ", json!({ "kind": "APIVersions", "versions": ["v1"] })),
            (
                "GET /apis ",
                json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [] }),
            ),
            ("GET /api/v1 ", list),
        ];
        let path = path.replace('?', " ");
        let found = known.into_iter().find(|(start, _)| path.starts_with(start));
        found.map(|(_, body)| answer("200 OK", "", &body))
    };
    let refusals = [
        "401 Unauthorized",
        "403 Forbidden",
        "418 Teapot",
        "429 Too Many Requests",
        "500 Internal Server Error",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ];
    for refusal in refusals {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let server = format!("http://{}", listener.local_addr().expect("is bound"));
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let said = "HTTP/1.1 STATUS\r\nContent-Type: text/html\r\nContent-Length: 9\r\nConnection: close\r\n\r\n<p>no</p>";
                let said = resources(&request(&stream)).unwrap_or(said.replace("STATUS", refusal));
                let _ = stream.write_all(said.as_bytes());
            }
        });
        let shell = Shell::on(ControlPlane::shared());
        let get = ["get", "services", "enterprise-networking", "-n", "gloo-mesh"];
        let kubectl = shell.kubectl(&[&get[..], &["--server", &server]].concat());
        let words = kubectl.exits(1).stderr.lines().last().unwrap_or_default();
        // It adds which request it was; we say which object.
        let words = words.replace(" (get services enterprise-networking)", "");
        let words = words.trim_end_matches("not return more information");
        shell
            .kubectl(&["relay-address", "--server", &server])
            .exits(1)
            .complains(words)
            .complains("where: context \"mgmt\", service gloo-mesh/enterprise-networking");
    }
    let odd = json!({ "kind": "Service", "spec": "s3cret" });
    let server = Scripted::answering(vec![answer("200 OK", "", &odd)]);
    server
        .shell()
        .kubectl(&["relay-address"])
        .exits(1)
        .complains("error: cannot read what the server answered: ")
        .conceals("s3cret");
}

#[test]
fn a_server_that_refuses_is_named_as_by_kubectl() {
    let shell = Shell::on(ControlPlane::shared());
    for server in [
        "https://127.0.0.1:1",
        "http://127.0.0.1:1/k8s/clusters/c",
        "http://me:s3cret@127.0.0.1:1",
    ] {
        let kubectl = shell.kubectl(&["get", "services", "x", "--server", server]);
        let words = kubectl.exits(1).stderr.lines().last().unwrap_or_default();
        shell
            .kubectl(&["relay-address", "--server", server])
            .exits(1)
            .complains(words)
            .conceals("s3cret");
    }
}

/// What is sent is small, and what is in it is not.
#[test]
fn an_answer_that_is_too_long_does_not_take_all_memory() {
    let shell = Shell::on(ControlPlane::shared());
    let pack = "head -c 600000000 /dev/zero | gzip -1 >packed";
    shell.run("sh", &["-c", pack]).success();
    let packed = fs::read(shell.home().join("packed")).expect("was written");
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
    let server = format!("http://{}", listener.local_addr().expect("is bound"));
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        request(&stream);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n";
        let _ = stream.write_all(&[head.as_bytes(), &packed].concat());
    });
    let limited = "ulimit -v 2000000; exec kubectl-relay_address --request-timeout=0 --server \"$0\"";
    shell
        .run("sh", &["-c", limited, &server])
        .exits(1)
        .complains("Unable to connect to the server: its answer is longer than 512 MiB\n")
        .complains("where: context \"mgmt\", service gloo-mesh/enterprise-networking\n  hint: ");
}

#[test]
fn an_answer_that_never_ends_is_not_waited_for() {
    let proxy = Proxy::before(ControlPlane::shared().cluster("mgmt"));
    let shell = Shell::new(&Kubeconfig::new().through("mgmt", &proxy, "").current("mgmt"));
    let _struck = proxy.break_nth(1, Fault::Drip);
    let transcript = shell.kubectl(&["relay-address", "--request-timeout=1s"]);
    transcript
        .exits(1)
        .complains("Unable to connect to the server: no whole answer within 1s\n");
    assert!(transcript.duration < Duration::from_secs(10), "{transcript}");
}
