//! The README is true: its commands do what it says they do.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use relay_tests::{
    ControlPlane, Shell, binaries, fixtures, readme,
    relay::{self, RelayServer},
};

#[test]
fn its_commands_work_in_the_order_they_are_shown() {
    let control_plane = ControlPlane::start(&["mgmt", "east", "west", "north"]);
    let shell = Shell::on(&control_plane);
    shell
        .kubectl(&["--context", "mgmt", "create", "namespace", "gloo-mesh"])
        .success();
    shell.apply("mgmt", fixtures::relay_service("gloo-mesh", "ClusterIP"));
    fixtures::install_istio_crds(&shell, "mgmt");
    shell
        .kubectl(&["--context", "mgmt", "create", "namespace", "istio-system"])
        .success();
    let gateway = [
        fixtures::with_status(
            fixtures::ingress_gateway("istio-system", "LoadBalancer"),
            fixtures::load_balancer(&["203.0.113.50"]),
        ),
        fixtures::gateway_pod("gateway-1", "istio-system", "node-1", true),
    ];
    fixtures::create(&shell, "mgmt", &gateway);

    let mut ran = 0;
    for command in readme::commands() {
        // Those about krew are run where its archives are packed, in `tests/packaging`.
        if command.starts_with("cargo ") || command == ".ci/run" || command.contains("krew") {
            continue;
        }
        if command.contains("relay-address") {
            let status = fixtures::load_balancer(&["203.0.113.10"]);
            shell.patch_status("mgmt", "service/enterprise-networking", "gloo-mesh", &status);
        }
        shell.run("sh", &["-euc", &command]).success();
        ran += 1;
    }
    // Fewer, and the blocks are no longer found.
    assert_eq!(ran, 23, "of the README's commands");
}

#[test]
fn what_it_shows_is_what_is_printed() {
    let control_plane = ControlPlane::start(&["mgmt", "east", "west"]);
    let shell = Shell::on(&control_plane);
    shell
        .kubectl(&["--context", "mgmt", "create", "namespace", "gloo-mesh"])
        .success();
    let mut service = fixtures::relay_service("gloo-mesh", "LoadBalancer");
    shell.apply("mgmt", &service);
    let init = ["relay-certs", "init", "--remote-context", "east,west"];
    shell.kubectl(&init).success();
    let served = relay::mount(&shell, "mgmt", "gloo-mesh", "relay-server-tls-secret");
    let server = RelayServer::start(&shell, &served, None);
    let (host, port) = server.address.split_once(':').expect("has a port");

    let mut sessions = readme::sessions();
    sessions.sort_by_key(|(command, _)| command.contains("--check"));
    assert_eq!(sessions.len(), 2, "of what the README shows");
    for (command, shown) in sessions {
        if command.contains("--check") {
            service["spec"]["ports"][0]["port"] = port.parse::<u16>().expect("is one").into();
            shell.apply("mgmt", &service);
            let status = fixtures::load_balancer(&[host]);
            shell.patch_status("mgmt", "service/enterprise-networking", "gloo-mesh", &status);
        }
        let ran = shell.run("sh", &["-euc", &command]);
        let printed = format!("{}{}", ran.stdout, ran.stderr)
            .replace(&server.address, "203.0.113.10:9900")
            .replace(host, "203.0.113.10");
        let mut printed = printed.lines();
        for line in shown.lines().take_while(|line| *line != "…") {
            let found = printed.next().unwrap_or_default();
            assert!(is_shown(line, found), "{command}\nshows  {line}\nprints {found}");
        }
    }
}

/// Whether a line of the README stands for one that was printed, word for word: ` …` for
/// the rest of the line, a time for any other, and a root's fingerprint, too.
fn is_shown(line: &str, printed: &str) -> bool {
    if let Some(start) = line.strip_suffix(" …") {
        return printed.starts_with(start);
    }
    let is_time: fn(&str) -> bool = |word| word.contains('.') && word.parse::<f64>().is_ok();
    let is_root: fn(&str) -> bool = |word| word.starts_with('(') && word.ends_with("…)");
    let [shown, printed] = [line, printed].map(|line| line.split_whitespace().collect::<Vec<_>>());
    shown.len() == printed.len()
        && shown.iter().zip(printed).all(|(shown, printed)| {
            let [times, roots] = [is_time, is_root].map(|is| is(shown) && is(printed));
            *shown == printed || times || roots && shown.len() == printed.len()
        })
}

#[test]
fn the_sandbox_does_the_whole_job_and_can_be_kept() {
    // In our own environment: it is started by hand, and may build what is missing.
    let mut sandbox = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .arg("--keep")
        .env("SHELL", "/bin/sh")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the sandbox starts");
    let tried =
        b"kubectl --context west -n gloo-mesh get secret -o name; kubectl relay-address --via service\n";
    let mut stdin = sandbox.stdin.take().expect("is piped");
    stdin.write_all(tried).expect("it reads");
    drop(stdin);
    let output = sandbox.wait_with_output().expect("it ends");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{shown}");
    for text in [
        "$ kubectl relay-ingress apply --via loadbalancer\nmgmt   service/enterprise-networking   configured\n",
        "west   secret/relay-root-tls-secret      created\n",
        "Nothing changed: every cluster holds what it should.\n",
    ] {
        assert!(shown.contains(text), "no {text:?} in:\n{shown}");
    }
    assert!(
        shown.ends_with("secret/relay-root-tls-secret\n203.0.113.10:9900\n"),
        "{shown}"
    );
}

#[test]
fn the_recording_is_of_what_the_sandbox_does() {
    let recorded =
        fs::read_to_string(binaries::workspace().join("krew/recording.svg")).expect("there is one");
    let directory = tempfile::tempdir().expect("a directory");
    let again = directory.path().join("again.svg");
    let sandbox = Command::new(env!("CARGO_BIN_EXE_sandbox"))
        .arg("--svg")
        .arg(&again)
        .output()
        .expect("the sandbox starts");
    assert!(sandbox.status.success(), "{sandbox:?}");
    let again = fs::read_to_string(again).expect("was drawn");
    let [recorded, again] = [recorded, again].map(|svg| masked(&svg));
    assert!(recorded.contains("relay-root.crt          …<"), "{recorded}");
    for (recorded, again) in recorded.lines().zip(again.lines()) {
        assert_eq!(recorded, again, "{RECORD_AGAIN}");
    }
    assert_eq!(recorded.lines().count(), again.lines().count(), "{RECORD_AGAIN}");
}

const RECORD_AGAIN: &str = "record it again: cargo run --bin sandbox -- --svg krew/recording.svg";

/// A picture without what every run makes anew: fingerprints.
fn masked(svg: &str) -> String {
    let words = svg.split_inclusive(|c: char| !c.is_ascii_hexdigit());
    let words = words.map(|word| match word.chars().count() {
        // 64 digits, and the character after them.
        65 => format!("…{}", &word[64..]),
        _ => word.to_owned(),
    });
    words.collect()
}
