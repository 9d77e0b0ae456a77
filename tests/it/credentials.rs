//! Credential plugins, which are scripts here: how often they run, what they are
//! told, and what is shown of them.

use std::{fs, io::Read as _, os::unix::fs::PermissionsExt as _, process::Stdio, thread, time::Duration};

use relay_tests::{
    Cluster, ControlPlane, Kubeconfig, Shell, Transcript, authority::Identity,
    control_plane::TOKEN_EVERYWHERE, fixtures,
};
use serde_json::{Value, json};

use crate::certs::init;

const V1: &str = "client.authentication.k8s.io/v1";

/// A user whose credential comes from a script beside the kubeconfig, which finds
/// its name and what follows among its arguments.
fn user(name: &str, more: Value) -> Value {
    let mut exec = json!({
        "apiVersion": V1,
        "command": "./login",
        "args": [name],
        "interactiveMode": "Never",
    });
    let more = more.as_object().cloned().unwrap_or_default();
    exec.as_object_mut().expect("is one").extend(more);
    json!({ "exec": exec })
}

/// A shell with that user in every context, and the script. It notes its runs.
fn shell(users: &[(&str, Value)], script: &str) -> Shell {
    let control_plane = ControlPlane::shared();
    let kubeconfig = users
        .iter()
        .fold(Kubeconfig::new(), |kubeconfig, (context, user)| {
            kubeconfig.entry(context, control_plane.cluster(context), user.clone())
        });
    let shell = Shell::new(&kubeconfig.current(users[0].0));
    write_script(&shell, script);
    shell
}

fn write_script(shell: &Shell, script: &str) {
    let script = format!("#!/bin/sh\necho \"$1\" >> \"$HOME/runs\"\ncd \"$HOME\"\n{script}\n");
    let path = shell.write("login", script);
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("it is ours");
}

/// The names by which the script was run, in that order.
fn runs(shell: &Shell) -> Vec<String> {
    let runs = fs::read_to_string(shell.home().join("runs")).unwrap_or_default();
    runs.lines().map(str::to_owned).collect()
}

fn response(status: &Value) -> String {
    json!({ "kind": "ExecCredential", "apiVersion": V1, "status": status }).to_string()
}

/// The line of a script that prints a token.
fn print(token: &str) -> String {
    format!("echo '{}'", response(&json!({ "token": token })))
}

fn print_certificate(identity: &Identity, token: Option<&str>) -> String {
    let status = json!({
        "clientCertificateData": identity.certificate_pem,
        "clientKeyData": identity.key_pem,
        "token": token,
    });
    format!("cat <<'END'\n{}\nEND", response(&status))
}

/// Looks for the address in a namespace that has none: one request, then an error
/// that only who was let in can see.
#[track_caller]
fn look(shell: &Shell, more: &[&str]) -> Transcript {
    shell.kubectl(&[&["relay-address", "-n", "nowhere"], more].concat())
}

#[track_caller]
fn was_let_in(transcript: &Transcript) {
    transcript
        .exits(1)
        .complains("the relay server has no address yet");
}

#[test]
fn one_run_serves_all_clusters() {
    let status = json!({ "token": TOKEN_EVERYWHERE, "expirationTimestamp": "2999-01-01T00:00:00Z" });
    let users = ["mgmt", "east", "west"].map(|context| (context, user("everyone", json!({}))));
    let shell = shell(
        &users,
        &format!(
            "echo 'sign in at https://login.example' >&2\necho '{}'",
            response(&status)
        ),
    );
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    init(&shell, &namespace, &["east", "west"], &["-v=9"])
        .success()
        .complains("sign in at https://login.example\n")
        .conceals(TOKEN_EVERYWHERE)
        .conceals("ExecCredential");
    assert_eq!(runs(&shell), ["everyone"]);
}

#[test]
fn identities_are_asked_side_by_side() {
    let control_plane = ControlPlane::shared();
    let users = ["mgmt", "east", "west"].map(|context| {
        let token = &control_plane.cluster(context).token;
        (
            context,
            user(context, json!({ "env": [{ "name": "TOKEN", "value": token }] })),
        )
    });
    // Each waits until it has seen all of them.
    let shell = shell(
        &users,
        r#"touch "started-$1"
for _ in $(seq 300); do
    if [ -e started-mgmt ] && [ -e started-east ] && [ -e started-west ]; then
        echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"'"$TOKEN"'"}}'
        exit
    fi
    sleep 0.1
done
exit 1"#,
    );
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    init(&shell, &namespace, &["east", "west"], &[]).success();
    let mut names = runs(&shell);
    names.sort_unstable();
    assert_eq!(names, ["east", "mgmt", "west"]);
}

#[test]
fn what_is_refused_or_has_expired_is_replaced_once() {
    #[track_caller]
    fn check(first: &str, second: &str, want_runs: usize) {
        let users = ["mgmt", "east"].map(|context| (context, user("everyone", json!({}))));
        let script = format!("if [ $(wc -l < runs) = 1 ]; then\n{first}\nelse\n{second}\nfi");
        let shell = shell(&users, &script);
        let namespace = fixtures::fresh_namespace(&shell, &[]);
        init(&shell, &namespace, &["east"], &[]).success();
        assert_eq!(runs(&shell).len(), want_runs);
    }
    let good = print(TOKEN_EVERYWHERE);
    check(&good, "exit 1", 1);
    check(&print("refused"), &good, 2);
    let expired = json!({ "token": TOKEN_EVERYWHERE, "expirationTimestamp": "2000-01-01T00:00:00Z" });
    check(&format!("echo '{}'", response(&expired)), &good, 2);
}

#[test]
fn who_is_refused_twice_is_told_so() {
    let shell = shell(&[("mgmt", user("nobody", json!({})))], &print("refused"));
    look(&shell, &[])
        .exits(1)
        .complains("error: You must be logged in to the server (Unauthorized)")
        .complains("where: context \"mgmt\"");
    assert_eq!(runs(&shell).len(), 2);
}

#[test]
fn certificates_are_used_and_replaced() {
    let control_plane = ControlPlane::shared();
    let mgmt = control_plane.cluster("mgmt");
    let certificate = |cluster: &Cluster| cluster.client_certificate("carol", &["system:masters"]);
    let (known, unknown) = (certificate(mgmt), certificate(control_plane.cluster("east")));
    let known_alone = print_certificate(&known, None);
    let unknown_alone = print_certificate(&unknown, None);
    let unknown_with_token = print_certificate(&unknown, Some(&mgmt.token));
    for (script, want_runs) in [
        (known_alone.clone(), 1),
        // A token beside it counts, too.
        (unknown_with_token, 1),
        (
            format!("if [ $(wc -l < runs) = 1 ]; then\n{unknown_alone}\nelse\n{known_alone}\nfi"),
            2,
        ),
    ] {
        let shell = shell(&[("mgmt", user("carol", json!({})))], &script);
        let transcript = look(&shell, &["-v=9"]);
        was_let_in(&transcript);
        transcript.conceals("PRIVATE KEY");
        assert_eq!(runs(&shell).len(), want_runs);
    }

    let swapped = Identity {
        key_pem: unknown.key_pem,
        ..known
    };
    let shell = shell(
        &[("mgmt", user("carol", json!({})))],
        &print_certificate(&swapped, None),
    );
    look(&shell, &[])
        .exits(1)
        .complains("error: getting credentials: failed parsing client key/certificate: ")
        .conceals("PRIVATE KEY");
}

#[test]
fn failures_are_told_in_kubectls_words() {
    #[track_caller]
    fn check(more: Value, script: &str) -> Transcript {
        let shell = shell(&[("mgmt", user("me", more))], script);
        let kubectl = shell.kubectl(&["get", "--raw", "/version"]);
        let words = kubectl.exits(1).stderr.lines().find(|line| *line != "on stderr");
        let words = words.expect("kubectl says something");
        let words = words
            .trim_start_matches("Unable to connect to the server: ")
            .trim_start_matches("error: ");
        let transcript = look(&shell, &["-v=9"]);
        transcript
            .exits(1)
            .complains(&format!("error: {words}\n  where: context \"mgmt\""))
            .conceals("s3cret");
        transcript
    }
    let missing = json!({ "command": "no-such-login", "installHint": "install it\nwith brew" });
    check(missing, "").complains("\n  hint: install it\n        with brew\n");
    check(json!({ "command": "no-such-login" }), "")
        .complains("hint: it looks like a client-go credential plugin");
    check(json!({ "interactiveMode": "Always" }), "exit 1");
    check(json!({ "interactiveMode": null }), "exit 1");
    check(json!({ "apiVersion": "v1" }), "exit 1");
    check(json!({ "command": null }), "exit 1");
    check(json!({}), "echo on stderr >&2; echo s3cret; exit 3").complains("on stderr\n");
    check(json!({}), &print("s3cret").replace("/v1", "/v1beta1"));
    check(
        json!({}),
        &format!("echo '{}'", response(&json!({ "clientKeyData": "s3cret" }))),
    );
    check(json!({}), &format!("echo '{}'", response(&json!({}))));
    check(json!({}), &format!("echo '{}'", response(&Value::Null)));

    // Here kubectl repeats what the plugin printed.
    let shell = shell(&[("mgmt", user("me", json!({})))], "echo s3cret");
    look(&shell, &["-v=9"])
        .exits(1)
        .complains("error: getting credentials: decoding stdout: it is not an ExecCredential")
        .conceals("s3cret");
    assert_eq!(runs(&shell).len(), 1);
}

#[test]
fn a_plugin_is_told_what_kubectl_tells_it() {
    let env = json!([{ "name": "LOGIN_HOST", "value": "login.example" }]);
    let more = json!({ "provideClusterInfo": true, "env": env });
    let users = ["mgmt", "east"].map(|context| (context, user("me", more.clone())));
    let mut kubeconfig = users
        .iter()
        .fold(Kubeconfig::new(), |kubeconfig, (context, user)| {
            kubeconfig.entry(context, ControlPlane::shared().cluster(context), user.clone())
        });
    kubeconfig = kubeconfig.current("mgmt");
    let mut kubeconfig_json = kubeconfig.to_json();
    let cluster = &mut kubeconfig_json["clusters"][0]["cluster"];
    cluster["extensions"] =
        json!([{ "name": "client.authentication.k8s.io/exec", "extension": { "audience": "a" } }]);
    cluster["tls-server-name"] = json!("localhost");
    let shell = Shell::new(&kubeconfig);
    shell.write("kubeconfig", kubeconfig_json.to_string());
    let told = r#"printf '%s' "$KUBERNETES_EXEC_INFO" > told-$(wc -l < runs)
env | grep -c '^LOGIN_HOST=login.example$' >> hosts"#;
    write_script(&shell, &format!("{told}\n{}", print(TOKEN_EVERYWHERE)));

    shell.kubectl(&["get", "--raw", "/version"]).success();
    was_let_in(&look(&shell, &[]));
    // Another cluster makes another identity.
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    init(&shell, &namespace, &["east"], &[]).success();
    assert_eq!(runs(&shell).len(), 4);
    assert_eq!(
        fs::read_to_string(shell.home().join("hosts")).expect("is there"),
        "1\n1\n1\n1\n"
    );
    let told = |run: usize| -> Value {
        let text = fs::read(shell.home().join(format!("told-{run}"))).expect("was told");
        serde_json::from_slice(&text).expect("is JSON")
    };
    assert_eq!(told(1)["spec"]["cluster"]["config"]["audience"], "a");
    assert_eq!(told(1), told(2));
}

#[test]
fn those_that_ask_a_person_run_one_at_a_time() {
    let control_plane = ControlPlane::shared();
    let users = ["mgmt", "east"].map(|context| {
        let token = &control_plane.cluster(context).token;
        let env = json!([{ "name": "TOKEN", "value": token }]);
        (
            context,
            user(context, json!({ "env": env, "interactiveMode": "IfAvailable" })),
        )
    });
    let shell = shell(
        &users,
        r#"mkdir asking || exit 1
printf 'PIN of %s? ' "$1" >&2
read -r pin
sleep 0.5
printf '[%s, thank you]\n' "$pin" >&2
rmdir asking
echo '{"kind":"ExecCredential","apiVersion":"client.authentication.k8s.io/v1","status":{"token":"'"$TOKEN"'"}}'"#,
    );
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    let command = format!("stty cols 80; kubectl relay-certs init -n {namespace} --remote-context east");
    // It gives a command a terminal, and types for it.
    let typed = shell
        .stdin("1234\n5678\n")
        .env("TERM", "xterm")
        .run("script", &["-qec", &command, "/dev/null"]);
    typed
        .success()
        .prints("reading clusters")
        .conceals(&control_plane.cluster("mgmt").token);
    assert_eq!(runs(&shell).len(), 2);
    for (pin, begin) in ["1234", "5678"]
        .into_iter()
        .zip(typed.stdout.match_indices("PIN of "))
    {
        let rest = &typed.stdout[begin.0..];
        let end = rest
            .find(", thank you]")
            .unwrap_or_else(|| panic!("no end:\n{typed}"));
        assert!(rest[..end].ends_with(pin), "{typed}");
        assert!(
            !rest[..end].contains("reading clusters"),
            "progress goes on:\n{typed}"
        );
    }
}

#[test]
fn no_time_limit_but_ctrl_c_ends_a_plugin() {
    let shell = shell(
        &[("mgmt", user("me", json!({})))],
        &format!("sleep 1.5\n{}", print(TOKEN_EVERYWHERE)),
    );
    was_let_in(&look(&shell, &["--request-timeout=1s"]));

    write_script(&shell, "echo waiting >&2\nexec sleep 600");
    let mut plugin = shell
        .command("kubectl-relay_address")
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut stderr = plugin.stderr.take().expect("is piped");
    let mut text = [0; 8];
    stderr.read_exact(&mut text).expect("it runs");
    thread::sleep(Duration::from_millis(100));
    shell.run("kill", &["-INT", &plugin.id().to_string()]).success();
    // To its end, which is that of the script, too.
    let mut rest = String::new();
    stderr.read_to_string(&mut rest).expect("is text");
    assert_eq!(plugin.wait().expect("it ends").code(), Some(130), "{rest}");
    assert!(rest.starts_with("error: interrupted\n"), "{rest}");
}

#[test]
fn a_kuberc_decides_which_plugins_run() {
    let shell = shell(&[("mgmt", user("one", json!({})))], &print(TOKEN_EVERYWHERE));
    let kuberc = |preference: &str| {
        let head = "apiVersion: kubectl.config.k8s.io/v1beta1\nkind: Preference\n";
        shell.write(".kube/kuberc", format!("{head}{preference}\n"));
    };
    let allow = |name: &str| {
        kuberc(&format!(
            "credentialPluginPolicy: Allowlist\ncredentialPluginAllowlist: [{{name: {name}}}]"
        ));
    };
    let services = ["get", "service", "none", "-n", "nowhere"];
    kuberc("credentialPluginPolicy: DenyAll");
    let denied = "not allowed: policy set to \"DenyAll\"";
    shell.kubectl(&services).exits(1).complains(denied);
    look(&shell, &[]).exits(1).complains(denied);
    allow("other");
    let not_permitted = "is not permitted by the credential plugin allowlist";
    shell.kubectl(&services).exits(1).complains(not_permitted);
    look(&shell, &[]).exits(1).complains(not_permitted);
    assert_eq!(runs(&shell), Vec::<String>::new());
    allow(&shell.home().join("login").display().to_string());
    shell.kubectl(&services).exits(1).complains("NotFound");
    was_let_in(&look(&shell, &[]));
    assert_eq!(runs(&shell), ["one", "one"]);
}
