//! Several admins run `relay-certs init` at once, each on a machine of their own.

use std::thread;

use relay_tests::{ControlPlane, Shell, Transcript, fixtures};
use serde_json::Value;

const CONTEXTS: [&str; 3] = ["mgmt", "east", "west"];
const ROUNDS: usize = 20;
const ADMINS: usize = 3;

#[test]
fn many_admins_at_once_end_with_one_set() {
    let mut won = 0;
    for _ in 0..ROUNDS {
        let shells: Vec<_> = (0..ADMINS).map(|_| Shell::on(ControlPlane::shared())).collect();
        let namespace = fixtures::fresh_namespace(&shells[0], &[]);
        let init = |shell: &Shell| {
            let words = "init --remote-context east,west --key-algorithm ecdsa-p256 --namespace";
            let words: Vec<_> = words.split(' ').chain([namespace.as_str()]).collect();
            shell.run("kubectl-relay_certs", &words)
        };
        let transcripts: Vec<_> = thread::scope(|scope| {
            let runs: Vec<_> = shells.iter().map(|shell| scope.spawn(|| init(shell))).collect();
            runs.into_iter().map(|run| run.join().expect("it ends")).collect()
        });
        won += transcripts.iter().filter(|run| run.code == Some(0)).count();
        for run in &transcripts {
            assert!(run.code == Some(0) || was_told(run), "not told:\n{run}");
        }
        assert_is_one_set(&shells[0], &namespace, &transcripts);
        // Whoever was told to do so runs again, and gets what there is.
        let elsewhere = Shell::on(ControlPlane::shared());
        init(&elsewhere).success();
        assert_is_one_set(&elsewhere, &namespace, &transcripts);
    }
    let runs = ROUNDS * ADMINS;
    assert!(
        (ROUNDS..runs).contains(&won),
        "{won} of {runs} won, so that none ever raced"
    );
}

/// What is in the way and what to do: before any Secret was written where the root is
/// another one's, and otherwise at the first that somebody else has made of the same.
fn was_told(run: &Transcript) -> bool {
    let wrote = run
        .stdout
        .lines()
        .any(|line| line.contains("secret/") && line.ends_with("created"));
    let says = |hint: &str| run.stderr.contains(hint);
    let of_another_root =
        says("Another run made the root first") || says("if somebody is making it at this moment");
    let of_the_same = says("somebody made it since it was looked for");
    run.code == Some(1) && (of_the_same || (of_another_root && !wrote))
}

#[track_caller]
fn assert_is_one_set(shell: &Shell, namespace: &str, runs: &[Transcript]) {
    let mut roots: Vec<Value> = Vec::new();
    for context in CONTEXTS {
        let place = ["--context", context, "--namespace", namespace];
        let secrets = shell.kubectl(&[&place[..], &["get", "secrets", "-o", "json"]].concat());
        let secrets = secrets.success().json();
        let items = secrets["items"].as_array().into_iter().flatten();
        roots.extend(items.map(|secret| secret["data"]["ca.crt"].clone()));
    }
    roots.dedup();
    let shown: Vec<_> = runs.iter().map(ToString::to_string).collect();
    assert_eq!(roots.len(), 1, "several roots after:\n{}", shown.join("\n"));
}
