//! The plugins' whole job, for real, without any cluster of yours: a management
//! and two remote control planes on loopback.
//!
//! `cargo run --bin sandbox -- --keep` ends in a shell that reaches them;
//! `-- --svg krew/recording.svg` draws what was shown, for the README.

use std::{
    env, fs,
    io::{self, Write as _},
    process::{ExitCode, Stdio},
    slice,
};

use relay_tests::{
    ControlPlane, Shell, Transcript,
    binaries::{self, Tool},
    fixtures,
    recording::{self, Kind},
};

const NAMESPACE: &str = "gloo-mesh";

/// An address for documentation (RFC 5737): no control plane has a cloud.
const LOAD_BALANCER: &str = "203.0.113.10";

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let (keep, svg) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => (false, None),
        ["--keep"] => (true, None),
        ["--svg", path] => (false, Some(path)),
        _ => {
            say("usage: cargo run --bin sandbox [-- --keep | --svg FILE]");
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

    let steps = [
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
                 address into the Service instead. It is what clusters register with.",
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
    if steps.iter().any(|step| step.transcript.code != Some(step.code)) {
        say("# A command did not end as it should have.");
        return ExitCode::FAILURE;
    }
    if let Some(path) = svg
        && let Err(err) = fs::write(path, recording::svg(&lines(&steps[..RECORDED])))
    {
        say(&format!("# failed to write `{path}`: {err}"));
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

/// How many steps the recording shows: up to the end of the job.
const RECORDED: usize = 4;

/// A command and what it did.
struct Step {
    why: &'static str,
    transcript: Transcript,
    /// The exit code it should have.
    code: i32,
}

/// Runs a command as a user would, and shows it.
fn step(shell: &Shell, why: &'static str, arguments: &[&str], code: i32) -> Step {
    let transcript = shell.kubectl(arguments);
    let step = Step {
        why,
        transcript,
        code,
    };
    for (_, line) in lines(slice::from_ref(&step)) {
        say(&line);
    }
    step
}

/// What steps look like on a terminal, an empty line before each.
fn lines(steps: &[Step]) -> Vec<(Kind, String)> {
    let mut lines = Vec::new();
    for Step {
        why,
        transcript,
        code,
    } in steps
    {
        let kind = match code {
            0 => Kind::Output,
            _ => Kind::Failure,
        };
        let mut add = |kind, text: String| lines.extend(text.lines().map(|line| (kind, line.to_owned())));
        add(Kind::Remark, format!("\n# {}", why.replace('\n', "\n# ")));
        add(Kind::Command, format!("$ {}", transcript.command_line));
        add(
            kind,
            format!("{}{}", transcript.stdout, transcript.stderr)
                .trim_end()
                .to_owned(),
        );
    }
    lines
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
