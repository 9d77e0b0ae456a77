//! `relay-certs init`, against the page's script and against OpenSSL.

use std::{fs, process::Command};

use relay_tests::{ControlPlane, Shell, binaries, fixtures};

use crate::figure::{Figure, command, mean_ratio, ratio};

/// Each pair makes eight processes of kubectl.
const PAIRS: usize = 30;

/// RSA keys take as long as luck has it: a median would leave out the bad luck.
const KEYS: usize = 24;

/// The page's script, from where it has made the certificates.
fn page(namespace: &str) -> String {
    let script = include_str!("../../it/certs/page.sh");
    let from = script.find("MGMT_CLUSTER=").expect("it begins there");
    let names = "RELAY_ROOT_CERT_NAME=relay-root\n\
                 RELAY_SERVER_CERT_NAME=relay-server-tls\n\
                 RELAY_SIGNING_CERT_NAME=relay-tls-signing\n";
    format!("{names}{}", &script[from..])
        .replace("gloo-mesh", namespace)
        .replace("kind-mgmt-cluster", "mgmt")
        .replace("kind-remote-cluster", "east")
}

/// The keys that init makes.
const OPENSSL: &str = "for bits in 4096 2048 2048; do openssl genrsa $bits >key.pem 2>err; done";

pub(crate) fn figures(in_earnest: bool) -> Vec<Figure> {
    let (pairs, keys) = if in_earnest { (PAIRS, KEYS) } else { (1, 1) };
    let control_plane = ControlPlane::start(&["mgmt", "east"]);
    let shell = Shell::on(&control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    let plugins = binaries::plugins().unwrap_or_else(|err| panic!("{err}"));
    let plugin = plugins.join("kubectl-relay_certs").display().to_string();
    let init = ["init", "--remote-context", "east", "--namespace", &namespace];
    // Both begin with the same certificates, in clusters that have no namespace for them.
    shell.run(&plugin, &init).success();
    let clear = || {
        let delete = ["delete", "secrets", "--all", "--namespace", &namespace];
        for context in ["mgmt", "east"] {
            shell
                .kubectl(&[&["--context", context][..], &delete].concat())
                .success();
        }
    };
    // No controller empties a namespace, so that it cannot be made anew: the script
    // gets one that is made in its own time, to be fair to init, which makes none.
    let script = page(&namespace).replace(
        &format!("kubectl --context ${{context}} create namespace {namespace}"),
        "true",
    );
    shell.write("relay-pki/page.sh", script);
    let ours = || -> Command {
        clear();
        command(&shell, &plugin, &init)
    };
    let theirs = || -> Command {
        clear();
        command(&shell, "sh", &["-euc", "cd relay-pki && sh -eu ./page.sh"])
    };
    let secrets = ratio(
        "secrets of 1+1 clusters / the page's script",
        0.08,
        pairs,
        ours,
        theirs,
    );

    let ours = || -> Command {
        clear();
        let _ = fs::remove_dir_all(shell.home().join("relay-pki"));
        command(&shell, &plugin, &init)
    };
    let theirs = || command(&shell, "sh", &["-euc", OPENSSL]);
    vec![
        secrets,
        mean_ratio(
            "whole init / openssl making the same keys",
            1.0,
            keys,
            ours,
            theirs,
        ),
    ]
}
