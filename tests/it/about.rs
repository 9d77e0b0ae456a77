//! What every plugin has besides its own job: completion, version, manual page.

use std::{fs, os::unix::fs::PermissionsExt as _};

use relay_tests::{ControlPlane, Kubeconfig, Shell, binaries, fixtures, plugin::PLUGINS};

/// A shell in which kubectl finds the completion of every plugin.
fn completing_shell() -> Shell {
    let mut shell = Shell::on(ControlPlane::shared());
    for plugin in PLUGINS {
        let script = shell
            .kubectl(&[plugin, "completion", "kubectl"])
            .success()
            .stdout
            .clone();
        let name = format!("bin/kubectl_complete-{}", plugin.replace('-', "_"));
        let path = shell.write(&name, script);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("is ours");
    }
    let path = shell.run("sh", &["-c", "printf %s \"$PATH\""]).stdout;
    shell.set_env("PATH", format!("{}/bin:{path}", shell.home().display()));
    shell
}

/// What kubectl itself offers after some words: the candidates, without help.
#[track_caller]
fn offers(shell: &Shell, words: &[&str]) -> Vec<String> {
    let answer = shell.kubectl(&[&["__complete"], words].concat());
    let lines = answer.success().stdout.lines();
    lines
        .map(|line| line.split('\t').next().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn kubectl_completes_from_the_command_the_kubeconfig_and_the_cluster() {
    let shell = completing_shell();
    let namespace = fixtures::fresh_namespace(&shell, &["mgmt", "west"]);
    shell.apply("mgmt", fixtures::relay_service(&namespace, "ClusterIP"));
    let check = |words: &[&str], want: &[&str]| assert_eq!(offers(&shell, words), want, "{words:?}");

    check(&["relay-certs", "in"], &["init", "inspect", ":4"]);
    check(
        &["relay-ingress", "apply", "--via", ""],
        &["loadbalancer", "nodeport", "istio", "gateway-api", "auto", ":4"],
    );
    check(&["relay-address", "--via=s"], &["--via=service", ":4"]);
    check(
        &["relay-certs", "init", "--remote-context", ""],
        &["mgmt", "east", "west", ":4"],
    );
    check(
        &["relay-certs", "init", "--remote-context", "west,e"],
        &["west,east", ":4"],
    );
    check(&["relay-address", "--context", "e"], &["east", ":4"]);
    check(&["relay-address", "--mgmt-context", "w"], &["west", ":4"]);
    // Like no other test's.
    let own = format!("own-{namespace}");
    shell.kubectl(&["create", "namespace", &own]).success();
    let typed = &own[..own.len() - 1];
    check(&["relay-address", "-n", typed], &[&own, ":4"]);
    check(
        &["relay-address", "-n", &namespace, "--service", ""],
        &["enterprise-networking", ":4"],
    );
    let elsewhere = [
        "relay-address",
        "--context",
        "west",
        "-n",
        &namespace,
        "--service",
        "",
    ];
    check(&elsewhere, &[":4"]);
    let elsewhere = Kubeconfig::new().context("north", ControlPlane::shared().cluster("west"));
    shell.write("north.yaml", elsewhere.to_json().to_string());
    let words = ["relay-certs", "init", "--remote-kubeconfig", "north.yaml"];
    check(
        &[&words[..], &["--remote-context", "n"]].concat(),
        &["north", ":4"],
    );
    check(&["relay-certs", "init", "--kubeconfig", ""], &[":0"]);
    check(&["relay-certs", "init", "--pki-dir", "r"], &[":16"]);
    check(
        &["relay-certs", "init", "--kubeconfig", "/missing", "--context", ""],
        &[":4"],
    );
}

#[test]
fn every_shell_gets_a_script_it_can_read() {
    let shell = Shell::on(ControlPlane::shared());
    for plugin in PLUGINS {
        for name in ["bash", "zsh", "fish", "powershell"] {
            let script = shell.kubectl(&[plugin, "completion", name]);
            script.success().prints(&plugin.replace('-', "_"));
        }
        let bash = shell.kubectl(&[plugin, "completion", "bash"]).stdout;
        shell.stdin(&bash).run("bash", &["-n"]).success();
        shell.kubectl(&[plugin, "completion", "tcsh"]).exits(2);
    }
}

#[test]
fn version_and_manual_say_what_this_is() {
    let shell = Shell::on(ControlPlane::shared());
    let commit = std::process::Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .current_dir(binaries::workspace())
        .output()
        .expect("git runs");
    let commit = String::from_utf8_lossy(&commit.stdout);
    for plugin in PLUGINS {
        let version = shell.kubectl(&[plugin, "version"]).success().stdout.clone();
        assert_eq!(
            version,
            format!("Version: v{}\nCommit: {commit}", env!("CARGO_PKG_VERSION"))
        );
        // Flags may come before the command, as kubectl's.
        shell
            .kubectl(&[plugin, "--context", "east", "version"])
            .success()
            .prints(&version);
        let server = shell.kubectl(&["version", "-o", "json"]).json()["serverVersion"]["gitVersion"].clone();
        shell
            .kubectl(&[plugin, "version", "--with-server"])
            .success()
            .prints(&format!(
                "Server Version: {}\n",
                server.as_str().expect("has a version")
            ));
    }
}

#[test]
fn the_manual_page_describes_every_command_and_flag() {
    let shell = Shell::on(ControlPlane::shared());
    let heading = |line: &str| {
        let heading = line.strip_prefix(".SH ").or_else(|| line.strip_prefix(".SS "));
        heading.map(|heading| heading.trim_matches('"').to_owned())
    };
    for (plugin, command, flag) in [
        ("relay-address", "version", "check"),
        ("relay-certs", "rotate server", "server-lifetime"),
        ("relay-ingress", "apply", "gateway-selector"),
    ] {
        let page = shell.kubectl(&[plugin, "man"]).success().stdout.clone();
        // Roff may break a line at a hyphen that is not escaped.
        let page = page.replace(r"\-", "-");
        let headings: Vec<_> = page.lines().filter_map(heading).collect();
        let section = format!("kubectl {plugin} {command}").to_uppercase();
        for wanted in ["NAME", "SYNOPSIS", "CONNECTION", "EXAMPLES", &section, "VERSION"] {
            let is_there = headings.iter().any(|heading| heading == wanted);
            assert!(is_there, "{plugin}: {wanted} is not in {headings:?}");
        }
        let bold = format!(r"\fB--{flag}\fR");
        assert!(page.contains(&bold), "{plugin}: {flag} is not described");
        let lines: Vec<_> = page.lines().collect();
        for pair in lines.windows(2) {
            let [header, body] = pair else { unreachable!() };
            let is_bare = header.starts_with(r"\fB--") && body.is_empty();
            assert!(!is_bare, "{plugin}: no description of {header}");
        }
        for line in &lines {
            assert!(!line.contains("(1)"), "{plugin} refers to a page: {line}");
        }
        assert!(!page.contains('\x1b'), "{plugin} has an escape sequence");
    }
}
