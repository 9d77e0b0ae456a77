//! How fast the plugins are, as ratios to what they replace: `cargo bench`.
//!
//! Each pair of commands runs alternately, so that whatever else the machine does
//! hits both; a ratio is the median over the pairs. The table goes to stdout, and
//! as JSON into `target/bench.json`. `RELAY_BIN_DIR` measures other binaries, such
//! as those that are shipped.

use std::{
    io::{self, Write as _},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use relay_tests::{ControlPlane, Shell, binaries, fixtures};
use serde_json::{Value, json};
use wait4::Wait4 as _;

const PAIRS: usize = 60;

/// What the page has its reader type.
const PAGE: &str = r#"
MGMT_INGRESS_ADDRESS=$(kubectl -n "$NS" get service enterprise-networking -o jsonpath='{.status.loadBalancer.ingress[0].ip}')
MGMT_INGRESS_PORT=$(kubectl -n "$NS" get service enterprise-networking -o jsonpath='{.spec.ports[?(@.name=="grpc")].port}')
RELAY_ADDRESS=${MGMT_INGRESS_ADDRESS}:${MGMT_INGRESS_PORT}
"#;

/// A figure and the most that it may be.
struct Figure {
    what: &'static str,
    value: f64,
    unit: &'static str,
    limit: f64,
    /// The medians that a ratio is made of, in milliseconds.
    of: Option<(f64, f64)>,
}

/// What one run of a command took.
struct Run {
    wall: Duration,
    /// The most memory it had at a time, in bytes.
    peak: u64,
}

fn main() -> ExitCode {
    // Without it, as in `cargo test --benches`, one pair shows that all still run.
    let pairs = match std::env::args().any(|argument| argument == "--bench") {
        true => PAIRS,
        false => 1,
    };
    let control_plane = ControlPlane::start(&["mgmt"]);
    let mut shell = Shell::on(&control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt"]);
    shell.set_env("NS", &namespace);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "LoadBalancer"));
    shell.patch_status(
        "mgmt",
        "service/enterprise-networking",
        &namespace,
        &fixtures::load_balancer(&["203.0.113.10"]),
    );

    let plugins = binaries::plugins().unwrap_or_else(|err| panic!("{err}"));
    let plugin = plugins.join("kubectl-relay_address").display().to_string();
    let address = || command(&shell, &plugin, &["--namespace", &namespace]);
    let cluster = control_plane.cluster("mgmt");
    let ca = shell.write("ca.crt", &cluster.ca_pem).display().to_string();
    let url = format!(
        "{}/api/v1/namespaces/{namespace}/services/enterprise-networking",
        cluster.server
    );
    let token = format!("Authorization: Bearer {}", cluster.token);
    let curl = || {
        let arguments = [
            "--silent",
            "--show-error",
            "--fail",
            "--cacert",
            &ca,
            "--header",
            &token,
            &url,
        ];
        command(&shell, "curl", &arguments)
    };
    let page = || command(&shell, "sh", &["-euc", PAGE]);
    let version = || command(&shell, &plugin, &["--version"]);

    let figures = [
        ratio("relay-address / curl, one GET", 0.6, pairs, address, curl),
        ratio("relay-address / the page's script", 0.08, pairs, address, page),
        Figure {
            what: "start to --version",
            value: median((0..pairs).map(|_| milliseconds(run(version()).wall))),
            unit: "ms",
            limit: 3.0,
            of: None,
        },
        Figure {
            what: "peak memory of relay-address",
            value: median((0..pairs).map(|_| run(address()).peak as f64 / 1024.0 / 1024.0)),
            unit: "MiB",
            limit: 15.0,
            of: None,
        },
    ];
    match report(&figures) {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => panic!("failed to write the figures: {err}"),
    }
}

/// The median of how long `ours` takes for each unit of time that `theirs` takes.
fn ratio(
    what: &'static str,
    limit: f64,
    pairs: usize,
    ours: impl Fn() -> Command,
    theirs: impl Fn() -> Command,
) -> Figure {
    // The first run of each reads its program from the disk.
    run(ours());
    run(theirs());
    let pairs = (0..pairs).map(|turn| match turn % 2 {
        0 => {
            let ours = run(ours());
            (ours, run(theirs()))
        }
        _ => {
            let theirs = run(theirs());
            (run(ours()), theirs)
        }
    });
    let pairs: Vec<_> = pairs
        .map(|(ours, theirs)| (milliseconds(ours.wall), milliseconds(theirs.wall)))
        .collect();
    Figure {
        what,
        value: median(pairs.iter().map(|(ours, theirs)| ours / theirs)),
        unit: "",
        limit,
        of: Some((
            median(pairs.iter().map(|pair| pair.0)),
            median(pairs.iter().map(|pair| pair.1)),
        )),
    }
}

fn command(shell: &Shell, program: &str, arguments: &[&str]) -> Command {
    let mut command = shell.command(program);
    command.args(arguments).stdout(Stdio::null());
    command
}

/// Runs a command to its end, which has to be a good one.
fn run(mut command: Command) -> Run {
    let start = Instant::now();
    let ended = command.spawn().and_then(|mut child| child.wait4());
    let ended = ended.unwrap_or_else(|err| panic!("failed to run {command:?}: {err}"));
    assert!(ended.status.success(), "{command:?} ended with {}", ended.status);
    Run {
        wall: start.elapsed(),
        peak: ended.rusage.maxrss,
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(figures: &[Figure]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "{:<36} {:>10} {:>10}  MEDIANS",
        "FIGURE", "MEASURED", "AT MOST"
    )?;
    for figure in figures {
        let Figure {
            what,
            value,
            unit,
            limit,
            ..
        } = figure;
        let [value, limit] = [value, limit].map(|number| match unit.is_empty() {
            true => format!("{number:.3}"),
            false => format!("{number:.1} {unit}"),
        });
        let of = figure
            .of
            .map(|(ours, theirs)| format!("  {ours:.1} / {theirs:.1} ms"));
        writeln!(
            out,
            "{what:<36} {value:>10} {limit:>10}{}",
            of.unwrap_or_default()
        )?;
    }
    let figures: Vec<_> = figures.iter().map(Figure::to_json).collect();
    let path = binaries::target_directory().join("bench.json");
    std::fs::write(&path, format!("{:#}\n", Value::from(figures)))?;
    writeln!(out, "\nAlso in {}.", path.display())
}

impl Figure {
    fn to_json(&self) -> Value {
        json!({
            "figure": self.what,
            "measured": self.value,
            "atMost": self.limit,
            "unit": self.unit,
            "milliseconds": self.of.map(|(ours, theirs)| json!({ "ours": ours, "theirs": theirs })),
        })
    }
}
