//! `relay-certs init` over fleets of 1 to 1,000 remotes, near and far: each remote is
//! a namespace of its own on a real kube-apiserver behind a proxy.

use std::{
    collections::BTreeMap,
    fs,
    process::Command,
    time::{Duration, Instant},
};

use relay_tests::{
    ControlPlane, Kubeconfig, Proxy, Shell, binaries, control_plane::TOKEN_EVERYWHERE, fixtures,
    proxy::Request,
};
use serde_json::{Value, json};

use crate::figure::{Figure, Run, command, milliseconds, run};

const SIZES: [usize; 5] = [1, 10, 50, 200, 1_000];
const FAR: Duration = Duration::from_millis(50);

/// A management cluster and its remotes.
struct Fleet {
    shell: Shell,
    namespace: String,
    management: Proxy,
    remotes: Vec<Proxy>,
}

/// What one run took.
struct Taken {
    run: Run,
    /// From the first write on.
    writing: Duration,
    /// The most requests that any remote was sent.
    requests: usize,
}

pub(crate) fn figures(in_earnest: bool) -> Vec<Figure> {
    let sizes = if in_earnest { &SIZES[..] } else { &[3] };
    let control_plane = ControlPlane::start(&["mgmt", "one", "two"]);
    let mut figures = Vec::new();
    let figure = |what: String, value: f64, unit, limit| Figure {
        what,
        value,
        unit,
        limit,
        of: None,
    };
    for &size in sizes {
        let many = match size {
            1 => "1 remote".to_owned(),
            size => format!("{size} remotes"),
        };
        let [near, far] = [Duration::ZERO, FAR].map(|round_trip| {
            let fleet = Fleet::new(&control_plane, size, Login::Token);
            fleet.set_round_trip(round_trip);
            let first = fleet.init();
            let again = fleet.init();
            (first, again)
        });
        let trips = |far: Duration, near: Duration| (far.saturating_sub(near)).div_duration_f64(FAR);
        // Fifty at a time, each a namespace and a secret, behind what settles the root.
        let allowed = (2.0 + 2.0 * (size as f64 / 50.0).ceil()).max(4.0);
        figures.extend([
            figure(
                format!("{many}: whole init, near"),
                milliseconds(near.0.run.wall),
                "ms",
                f64::INFINITY,
            ),
            figure(
                format!("{many}: whole init, 50 ms away"),
                milliseconds(far.0.run.wall),
                "ms",
                f64::INFINITY,
            ),
            figure(
                format!("{many}: round trips of the writes"),
                trips(far.0.writing, near.0.writing),
                "trips",
                allowed,
            ),
            figure(
                format!("{many}: peak memory"),
                far.0.run.peak.max(near.0.run.peak) as f64 / 1024.0 / 1024.0,
                "MiB",
                150.0,
            ),
            figure(
                format!("{many}: requests each, first run"),
                near.0.requests.max(far.0.requests) as f64,
                "requests",
                6.0,
            ),
            figure(
                format!("{many}: requests each, unchanged"),
                near.1.requests.max(far.1.requests) as f64,
                "requests",
                2.0,
            ),
        ]);
    }
    let size = *sizes.last().expect("there are some");
    let fleet = Fleet::new(&control_plane, size, Login::Plugin);
    let taken = fleet.init();
    let runs = fs::read_to_string(fleet.shell.home().join("logins")).expect("it logged in");
    figures.extend([
        figure(
            format!("{size} remotes: whole init, login of 1 s"),
            milliseconds(taken.run.wall),
            "ms",
            f64::INFINITY,
        ),
        figure(
            "runs of a login shared by all contexts".to_owned(),
            runs.lines().count() as f64,
            "runs",
            1.0,
        ),
    ]);
    figures
}

/// How contexts prove who they are.
enum Login {
    Token,
    /// A credential plugin that takes a second.
    Plugin,
}

impl Fleet {
    fn new(control_plane: &ControlPlane, size: usize, login: Login) -> Self {
        let scratch = Shell::on(control_plane);
        let namespace = fixtures::fresh_namespace(&scratch, &[]);
        let management = Proxy::before(control_plane.cluster("mgmt"));
        let remotes =
            ["one", "two"].map(|name| Proxy::before(control_plane.cluster(name)).with_remotes(&namespace));
        let mut kubeconfig = Kubeconfig::new().through("mgmt", &management, "");
        for number in 0..size {
            let proxy = &remotes[number % remotes.len()];
            kubeconfig = kubeconfig.through(&format!("r{number}"), proxy, &format!("/remote/{number}"));
        }
        let kubeconfig = kubeconfig.current("mgmt");
        let mut shell = Shell::new(&kubeconfig);
        if let Login::Plugin = login {
            let config = with_plugin(kubeconfig.to_json(), TOKEN_EVERYWHERE);
            let path = shell.write("kubeconfig", config.to_string());
            shell.set_env("KUBECONFIG", path);
        }
        Self {
            shell,
            namespace,
            management,
            remotes: remotes.into(),
        }
    }

    fn set_round_trip(&self, round_trip: Duration) {
        for proxy in self.proxies() {
            proxy.set_round_trip(round_trip);
        }
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        std::iter::once(&self.management).chain(&self.remotes)
    }

    fn init(&self) -> Taken {
        let run = run(self.command());
        let end = Instant::now();
        let first = self.proxies().filter_map(Proxy::first_write).min();
        let mut each: BTreeMap<String, usize> = BTreeMap::new();
        for Request { path, .. } in self.remotes.iter().flat_map(Proxy::requests) {
            let remote = path.split('/').nth(2).unwrap_or_default();
            *each.entry(remote.to_owned()).or_default() += 1;
        }
        self.management.requests();
        Taken {
            run,
            writing: first.map_or(Duration::ZERO, |first| end - first),
            requests: each.into_values().max().unwrap_or_default(),
        }
    }

    fn command(&self) -> Command {
        let plugins = binaries::plugins().unwrap_or_else(|err| panic!("{err}"));
        let plugin = plugins.join("kubectl-relay_certs").display().to_string();
        let arguments = [
            "init",
            "--remote-context",
            "r*",
            "--namespace",
            &self.namespace,
            // What RSA keys take is measured elsewhere.
            "--key-algorithm",
            "ecdsa-p256",
        ];
        command(&self.shell, &plugin, &arguments)
    }
}

/// All contexts log in by the same program, which writes a line each time.
fn with_plugin(mut kubeconfig: Value, token: &str) -> Value {
    let credential = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "kind": "ExecCredential",
        "status": { "token": token },
    });
    let script = format!("echo login >>logins; sleep 1; echo '{credential}'");
    let exec = json!({
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": "sh",
        "args": ["-c", script],
        "interactiveMode": "Never",
    });
    for user in kubeconfig["users"].as_array_mut().into_iter().flatten() {
        user["user"] = json!({ "exec": exec });
    }
    kubeconfig
}
