//! The plugins' whole job, for real, without any cluster of yours: a management
//! and two remote control planes on loopback.
//!
//! `cargo run --bin sandbox -- --keep` ends in a shell that reaches them.

use std::{
    env,
    io::{self, Write as _},
    process::{ExitCode, Stdio},
};

use relay_tests::{
    ControlPlane, Shell,
    binaries::{self, Tool},
    fixtures,
};

const NAMESPACE: &str = "gloo-mesh";

/// An address for documentation (RFC 5737): no control plane has a cloud.
const LOAD_BALANCER: &str = "203.0.113.10";

fn main() -> ExitCode {
    let keep = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--keep" => true,
        _ => {
            say("usage: cargo run --bin sandbox [-- --keep]");
            return ExitCode::from(2);
        }
    };
    say("# Starting three control planes on loopback: mgmt, east and west.");
    let control_plane = ControlPlane::start(&["mgmt", "east", "west"]);
    let shell = Shell::on(&control_plane);
    shell
        .kubectl(&["--context", "mgmt", "create", "namespace", NAMESPACE])
        .success();
    let service = fixtures::relay_service(NAMESPACE, "ClusterIP");
    shell.apply("mgmt", &service);

    let done = [
        step(
            &shell,
            "Nothing can reach the relay server yet.",
            &["relay-address"],
            1,
        ),
        step(
            &shell,
            "Expose it.",
            &["relay-ingress", "apply", "--via", "loadbalancer"],
            0,
        ),
        {
            let status = fixtures::load_balancer(&[LOAD_BALANCER]);
            shell.patch_status("mgmt", "service/enterprise-networking", NAMESPACE, &status);
            step(
                &shell,
                "A cloud would make a load balancer now; the sandbox writes the\n\
                 # address into the Service instead. It is what clusters register with.",
                &["relay-address"],
                0,
            )
        },
        step(
            &shell,
            "Make the certificates, and place them in all three clusters.",
            &INIT,
            0,
        ),
        step(&shell, "Run it again: nothing changes.", &INIT, 0),
        step(
            &shell,
            "What an agent in a remote cluster needs is there.",
            &["--context", "west", "-n", NAMESPACE, "get", "secrets"],
            0,
        ),
    ];
    if done.contains(&false) {
        say("# A command did not end as it should have.");
        return ExitCode::FAILURE;
    }
    match keep {
        true => try_more(&shell),
        false => {
            say("# Done; the control planes are gone. `-- --keep` leaves you in a shell with them.");
            ExitCode::SUCCESS
        }
    }
}

const INIT: [&str; 8] = [
    "relay-certs",
    "init",
    "--mgmt-context",
    "mgmt",
    "--remote-context",
    "east",
    "--remote-context",
    "west",
];

/// Runs a command as a user would, and tells whether it ended as expected.
fn step(shell: &Shell, why: &str, arguments: &[&str], code: i32) -> bool {
    let transcript = shell.kubectl(arguments);
    say(&format!(
        "\n# {why}\n$ {}\n{}",
        transcript.command_line,
        format!("{}{}", transcript.stdout, transcript.stderr).trim_end(),
    ));
    transcript.code == Some(code)
}

/// A shell in which `kubectl` reaches the three clusters, until its user leaves it.
fn try_more(shell: &Shell) -> ExitCode {
    let directories = [
        binaries::plugins(),
        Tool::Kubectl.path().map(|path| path.parent().unwrap_or(path)),
    ];
    let mut path: Vec<_> = directories.into_iter().flatten().map(ToOwned::to_owned).collect();
    path.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let path = env::join_paths(path).unwrap_or_default();
    let mut command = shell.command(&env::var("SHELL").unwrap_or_else(|_| "sh".to_owned()));
    command.envs(env::vars_os().filter(|(name, _)| name == "TERM" || name == "LANG"));
    command.env("PATH", &path).stdin(Stdio::inherit());
    say(&format!(
        "\n# The contexts mgmt, east and west are yours until you `exit`. In another terminal:\n\
         export KUBECONFIG={}/kubeconfig PATH={}",
        shell.home().display(),
        path.display(),
    ));
    match command.status() {
        Ok(_) => ExitCode::SUCCESS,
        Err(err) => {
            say(&format!("failed to start a shell: {err}"));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
