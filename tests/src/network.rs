//! A network of a test's own, in which every port is free and every address may be
//! given out: a user and a network namespace of Linux, which need no root.

use std::{
    env,
    path::Path,
    process::{Command, Stdio},
};

/// Set in the process that runs in the namespaces.
const INSIDE: &str = "RELAY_TESTS_NETWORK";

/// What has to be allowed for it.
const HINT: &str = "this test runs in a user and a network namespace of its own (`unshare -rn`), which needs \
    no root but has to be allowed: on Ubuntu by `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, \
    elsewhere by kernel.unprivileged_userns_clone=1 and user.max_user_namespaces above 0, in a container by a \
    seccomp profile that permits unshare; it also needs util-linux and iproute2";

/// Runs the body of a test, given by its path as the test runner names it, in a
/// network that has nothing but loopback and those addresses. The test is started
/// once more in there; what it prints is shown if it fails.
///
/// # Panics
///
/// If the body does, or if there can be no such network: it is never skipped.
#[track_caller]
pub fn alone(test: &str, addresses: &[&str], body: impl FnOnce()) {
    if env::var_os(INSIDE).is_some() {
        return body();
    }
    let mut setup = "ip link set lo up".to_owned();
    for address in addresses {
        setup += &format!(" && ip address add {address} dev lo");
    }
    let inside = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--map-root-user", "--net", "sh", "-c", script, "sh"]);
        // Where Debian has `ip`, which is not on everybody's PATH.
        let path = env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        unshare.env("PATH", path).stdin(Stdio::null());
        unshare
    };
    let run = |mut command: Command| {
        let output = command.output();
        output.unwrap_or_else(|err| panic!("failed to run unshare: {err}; {HINT}"))
    };
    let tried = run(inside(&setup));
    let complaint = String::from_utf8_lossy(&tried.stderr);
    assert!(
        tried.status.success(),
        "there is no network apart: {complaint}\n{HINT}"
    );

    let program = env::current_exe().unwrap_or_else(|err| panic!("failed to find this program: {err}"));
    let mut command = inside(&format!("{setup} && exec \"$@\""));
    command
        .arg::<&Path>(&program)
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1");
    let ended = run(command);
    let shown = String::from_utf8_lossy(&ended.stdout);
    // A name that matches no test would pass.
    let ran = shown.contains("test result: ok. 1 passed");
    assert!(
        ended.status.success() && ran,
        "in a network apart:\n{shown}\n{}",
        String::from_utf8_lossy(&ended.stderr)
    );
}
