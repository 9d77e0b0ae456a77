//! `kubectl relay-certs init`: what it writes, what it leaves alone and what it
//! refuses.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use relay_tests::{ControlPlane, Kubeconfig, Shell, Transcript, fixtures};
use serde_json::{Value, json};

const FILES: [&str; 7] = [
    ".gitignore",
    "relay-root.crt",
    "relay-root.key",
    "relay-server-tls.crt",
    "relay-server-tls.key",
    "relay-tls-signing.crt",
    "relay-tls-signing.key",
];

/// Where each Secret belongs, and the keys it has.
const SECRETS: [(&str, &str, &[&str]); 5] = [
    ("mgmt", "relay-root-tls-secret", &["ca.crt"]),
    (
        "mgmt",
        "relay-server-tls-secret",
        &["ca.crt", "tls.crt", "tls.key"],
    ),
    (
        "mgmt",
        "relay-tls-signing-secret",
        &["ca.crt", "tls.crt", "tls.key"],
    ),
    ("east", "relay-root-tls-secret", &["ca.crt"]),
    ("west", "relay-root-tls-secret", &["ca.crt"]),
];

/// A shell, and a namespace that no cluster has yet.
pub(crate) fn shell_and_namespace() -> (Shell, String) {
    let shell = Shell::on(ControlPlane::shared());
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    (shell, namespace)
}

/// Runs init, and makes sure that no key of its directory is shown.
#[track_caller]
pub(crate) fn init(shell: &Shell, namespace: &str, remotes: &[&str], more: &[&str]) -> Transcript {
    let mut arguments = vec!["relay-certs", "init", "-n", namespace];
    for remote in remotes {
        arguments.extend(["--remote-context", remote]);
    }
    let transcript = shell.kubectl(&[&arguments[..], more].concat());
    for key in ["relay-root.key", "relay-server-tls.key", "relay-tls-signing.key"] {
        let pem = fs::read_to_string(shell.home().join("relay-pki").join(key)).unwrap_or_default();
        for line in pem.lines() {
            transcript.conceals(line);
        }
    }
    transcript
}

fn secret(shell: &Shell, context: &str, namespace: &str, name: &str) -> Value {
    shell.get(context, &format!("secret/{name}"), namespace)
}

/// The version of every Secret there is, so that two states can be compared.
fn versions(shell: &Shell, namespace: &str) -> BTreeMap<String, String> {
    let mut versions = BTreeMap::new();
    for context in ["mgmt", "east", "west"] {
        let list = shell.kubectl(&[
            "--context",
            context,
            "-n",
            namespace,
            "get",
            "secrets",
            "-o",
            "json",
        ]);
        for item in list.success().json()["items"].as_array().into_iter().flatten() {
            let metadata = &item["metadata"];
            versions.insert(
                format!("{context} {}", metadata["name"]),
                metadata["resourceVersion"].to_string(),
            );
        }
    }
    versions
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| {
            let content = fs::read(entry.path()).expect("a file can be read");
            (entry.file_name().to_string_lossy().into_owned(), content)
        })
        .collect()
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).expect("exists").permissions().mode() & 0o777
}

#[test]
fn places_the_pages_secrets_and_a_second_run_changes_nothing() {
    let (shell, namespace) = shell_and_namespace();
    let first = init(&shell, &namespace, &["east", "west"], &["--mgmt-context", "mgmt"]);
    let created = |context: &str, what: &str| format!("{context}   {what}   created\n");
    let mut report = String::new();
    for context in ["mgmt", "east", "west"] {
        report += &created(context, &format!("{:31}", format!("namespace/{namespace}")));
        for (_, name, _) in SECRETS.iter().filter(|(at, ..)| *at == context) {
            report += &created(context, &format!("{:31}", format!("secret/{name}")));
        }
    }
    assert_eq!(first.success().stdout, report);

    let root = secret(&shell, "mgmt", &namespace, "relay-root-tls-secret")["data"]["ca.crt"].clone();
    for (context, name, keys) in SECRETS {
        let secret = secret(&shell, context, &namespace, name);
        let data = secret["data"].as_object().expect("has data");
        assert_eq!(data.keys().collect::<Vec<_>>(), keys, "{context} {name}");
        assert_eq!(data["ca.crt"], root, "{context} {name}");
        assert_eq!(secret["type"], "Opaque");
        assert_eq!(secret["metadata"]["annotations"], Value::Null);
        let with_managers = ["--context", context, "-n", &namespace, "get", "secret", name];
        let with_managers =
            shell.kubectl(&[&with_managers[..], &["-o", "json", "--show-managed-fields"]].concat());
        let managers = &with_managers.success().json()["metadata"]["managedFields"];
        assert_eq!(managers.as_array().map(Vec::len), Some(1));
        assert_eq!(managers[0]["manager"], "kubectl-relay-certs");
    }
    for context in ["east", "west"] {
        let list = shell.kubectl(&[
            "--context",
            context,
            "-n",
            &namespace,
            "get",
            "secrets",
            "-o",
            "name",
        ]);
        assert_eq!(list.success().stdout, "secret/relay-root-tls-secret\n");
    }

    let directory = shell.home().join("relay-pki");
    let written = files(&directory);
    assert_eq!(written.keys().collect::<Vec<_>>(), FILES);
    assert_eq!(written[".gitignore"], b"*\n");
    assert_eq!(mode(&directory), 0o700);
    for file in FILES {
        assert_eq!(mode(&directory.join(file)), 0o600, "{file}");
    }

    let before = versions(&shell, &namespace);
    let second = init(&shell, &namespace, &["east", "west"], &[]);
    assert_eq!(second.success().stdout, report.replace("created", "unchanged"));
    second.complains("Nothing changed: every cluster holds what it should.\n");
    assert_eq!(versions(&shell, &namespace), before);
    assert_eq!(files(&directory), written);
}

#[test]
fn a_remote_can_be_added_without_any_key() {
    let (shell, namespace) = shell_and_namespace();
    init(&shell, &namespace, &["east"], &[]).success();
    let elsewhere = shell.home().join("elsewhere");
    let arguments = ["west", "west", "mgmt"];
    let added = init(
        &shell,
        &namespace,
        &arguments,
        &["--pki-dir", &elsewhere.to_string_lossy()],
    );
    added.success().complains("The root's key is not in");
    let lines = added
        .stdout
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(
        lines.collect::<Vec<_>>(),
        [
            &format!("mgmt namespace/{namespace} unchanged"),
            "mgmt secret/relay-root-tls-secret unchanged",
            "mgmt secret/relay-server-tls-secret unchanged",
            "mgmt secret/relay-tls-signing-secret unchanged",
            &format!("west namespace/{namespace} created"),
            "west secret/relay-root-tls-secret created",
        ]
    );
    assert!(
        !elsewhere.exists(),
        "nothing that was read from a cluster is written to disk"
    );
    let root = |context| secret(&shell, context, &namespace, "relay-root-tls-secret")["data"].clone();
    assert_eq!(root("west"), root("mgmt"));
}

#[test]
fn the_same_command_finishes_what_was_interrupted() {
    let (shell, namespace) = shell_and_namespace();
    init(&shell, &namespace, &["east"], &[]).success();
    let directory = shell.home().join("relay-pki");
    let server = secret(&shell, "mgmt", &namespace, "relay-server-tls-secret");
    let delete = |names: &[&str]| {
        let command = ["--context", "mgmt", "-n", &namespace, "delete", "secret"];
        shell.kubectl(&[&command[..], names].concat()).success();
    };

    // Killed between two writes: the directory has what the cluster has not.
    delete(&["relay-server-tls-secret"]);
    init(&shell, &namespace, &["east"], &[])
        .success()
        .prints("relay-server-tls-secret    created");
    let restored = secret(&shell, "mgmt", &namespace, "relay-server-tls-secret");
    assert_eq!(restored["data"], server["data"]);

    // Killed between a key and its certificate.
    delete(&["relay-server-tls-secret"]);
    fs::remove_file(directory.join("relay-server-tls.crt")).expect("is there");
    let key = fs::read(directory.join("relay-server-tls.key")).expect("is there");
    init(&shell, &namespace, &["east"], &[]).success();
    assert_eq!(
        fs::read(directory.join("relay-server-tls.key")).expect("is there"),
        key
    );
    let issued = secret(&shell, "mgmt", &namespace, "relay-server-tls-secret");
    assert_eq!(issued["data"]["tls.key"], server["data"]["tls.key"]);
    assert_ne!(issued["data"]["tls.crt"], server["data"]["tls.crt"]);

    // Without the root's key nothing can be issued, and nothing is written.
    delete(&["relay-server-tls-secret"]);
    fs::rename(&directory, shell.home().join("moved")).expect("can be moved");
    init(&shell, &namespace, &["east"], &[])
        .exits(1)
        .complains("relay-server-tls has to be issued, and relay-pki has not the key of the root ")
        .complains("hint: give the --pki-dir that this root was made in");
    assert!(!directory.exists());
}

#[test]
fn a_directory_with_another_root_stops_with_both_fingerprints() {
    let (shell, namespace) = shell_and_namespace();
    let (other_shell, other) = shell_and_namespace();
    init(&shell, &namespace, &["east"], &[]).success();
    init(&other_shell, &other, &[], &[]).success();
    let directory = other_shell.home().join("relay-pki");
    let (before, kept) = (versions(&shell, &namespace), files(&directory));

    let refused = init(
        &shell,
        &namespace,
        &["east"],
        &["--pki-dir", &directory.to_string_lossy()],
    );
    refused
        .exits(1)
        .complains("there are different root certificates, and nothing was written");
    for root in [
        shell.home().join("relay-pki/relay-root.crt"),
        directory.join("relay-root.crt"),
    ] {
        let fingerprint = shell.run(
            "openssl",
            &[
                "x509",
                "-noout",
                "-fingerprint",
                "-sha256",
                "-in",
                &root.to_string_lossy(),
            ],
        );
        let (_, colons) = fingerprint
            .success()
            .stdout
            .trim()
            .split_once('=')
            .expect("a fingerprint");
        refused.complains(&colons.replace(':', "").to_lowercase());
    }
    assert_eq!(versions(&shell, &namespace), before);
    assert_eq!(files(&directory), kept);
}

#[test]
fn what_a_person_made_is_completed_and_what_a_program_owns_is_refused() {
    let (shell, namespace) = shell_and_namespace();
    init(&shell, &namespace, &["east"], &[]).success();
    let name = "relay-server-tls-secret";
    let at = ["--context", "mgmt", "-n", &namespace];
    let made = secret(&shell, "mgmt", &namespace, name);
    shell
        .kubectl(&[&at[..], &["delete", "secret", name]].concat())
        .success();
    // As the page's `kubectl apply` leaves it: the key is in an annotation, too.
    let by_hand = json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": { "name": name, "namespace": namespace },
        "data": { "tls.crt": made["data"]["tls.crt"], "tls.key": made["data"]["tls.key"], "note": "aGk=" },
    });
    shell.apply("mgmt", &by_hand);
    let last_applied = "kubectl.kubernetes.io/last-applied-configuration";
    assert!(secret(&shell, "mgmt", &namespace, name)["metadata"]["annotations"][last_applied].is_string());

    let completed = init(&shell, &namespace, &["east"], &[]);
    completed
        .success()
        .prints("relay-server-tls-secret    configured");
    let after = secret(&shell, "mgmt", &namespace, name);
    let mut data = made["data"].clone();
    data["note"] = json!("aGk=");
    assert_eq!(after["data"], data);
    assert_eq!(after["metadata"]["annotations"][last_applied], Value::Null);

    // Sound: used, whoever owns it. To be changed: refused by its owner's name.
    let annotate = ["annotate", "secret", name, "meta.helm.sh/release-name=gloo"];
    shell.kubectl(&[&at[..], &annotate].concat()).success();
    init(&shell, &namespace, &["east"], &[])
        .success()
        .prints("relay-server-tls-secret    unchanged");
    let patch = r#"[{"op": "remove", "path": "/data/ca.crt"}]"#;
    shell
        .kubectl(&[&at[..], &["patch", "secret", name, "--type=json", "-p", patch]].concat())
        .success();
    let before = versions(&shell, &namespace);
    init(&shell, &namespace, &["east", "west"], &[])
        .exits(1)
        .complains("it belongs to Helm release \"gloo\"")
        .complains(&format!("where: context \"mgmt\", secret {namespace}/{name}"));
    assert_eq!(versions(&shell, &namespace), before);
}

#[test]
fn nothing_is_written_unless_every_cluster_can_be_worked_with() {
    let control_plane = ControlPlane::shared();
    let east = control_plane.cluster("east");
    let mut kubeconfig = Kubeconfig::new()
        .context("mgmt", control_plane.cluster("mgmt"))
        .user_context("forbidden", east, "dev")
        .context("down", east)
        .current("mgmt")
        .to_json();
    let down = kubeconfig["clusters"].as_array_mut().expect("a list").iter_mut();
    let down = down
        .into_iter()
        .find(|entry| entry["name"] == "down")
        .expect("is there");
    down["cluster"]["server"] = json!("https://127.0.0.1:1");
    let mut shell = Shell::on(control_plane);
    let namespace = fixtures::fresh_namespace(&shell, &[]);
    let admin = Shell::on(control_plane);
    let path = shell.write("bent", kubeconfig.to_string());
    shell.set_env("KUBECONFIG", path);

    let refused = init(&shell, &namespace, &["forbidden", "down"], &[]);
    refused
        .exits(1)
        .complains("error: 2 of 3 clusters cannot be worked with\n")
        .complains(
            "Error from server (Forbidden): secrets \"relay-root-tls-secret\" is forbidden: User \"dev\"",
        )
        .complains("where: context \"forbidden\"")
        .complains("The connection to the server 127.0.0.1:1 was refused")
        .complains("where: context \"down\"")
        .complains("hint: nothing was written; mend them and run again");
    init(&shell, &namespace, &["dwon"], &[])
        .exits(2)
        .complains("context \"dwon\" does not exist")
        .complains("did you mean \"down\"? known contexts: mgmt, forbidden, down");
    assert_eq!(refused.stdout, "");
    assert!(!shell.home().join("relay-pki").exists());
    let found = admin.kubectl(&["--context", "mgmt", "get", "namespace", &namespace]);
    found.exits(1).complains("NotFound");
}

#[test]
fn what_the_pages_script_made_is_kept() {
    let (shell, namespace) = shell_and_namespace();
    let directory = PathBuf::from(shell.home()).join("relay-pki");
    fs::create_dir(&directory).expect("is new");
    fs::set_permissions(&directory, fs::Permissions::from_mode(0o755)).expect("is ours");
    let script = shell.write("page.sh", PAGE);
    for context in ["mgmt", "east"] {
        shell
            .kubectl(&["--context", context, "create", "namespace", &namespace])
            .success();
    }
    shell
        .env("NS", &namespace)
        .run("sh", &["-eu", &script.to_string_lossy()])
        .success();
    let key = directory.join("relay-root.key");
    fs::set_permissions(key, fs::Permissions::from_mode(0o644)).expect("is ours");
    let (before, made) = (versions(&shell, &namespace), files(&directory));
    let kept = init(&shell, &namespace, &["east"], &[]);
    kept.success()
        .complains("Nothing changed")
        .complains("relay-pki can be read by others: chmod -R go= relay-pki\n");
    assert_eq!(versions(&shell, &namespace), before);
    assert_eq!(files(&directory), made);

    // From the files alone: a cluster that lost everything gets the same again.
    let root = secret(&shell, "mgmt", &namespace, "relay-root-tls-secret")["data"].clone();
    for context in ["mgmt", "east"] {
        shell
            .kubectl(&[
                "--context",
                context,
                "-n",
                &namespace,
                "delete",
                "secret",
                "--all",
            ])
            .success();
    }
    init(&shell, &namespace, &["east"], &[]).success();
    assert_eq!(
        secret(&shell, "east", &namespace, "relay-root-tls-secret")["data"],
        root
    );
    assert_eq!(files(&directory), made);
}

/// What the page's script does, for one namespace and one remote.
const PAGE: &str = r#"
cd relay-pki
openssl req -new -newkey rsa:4096 -x509 -sha256 -days 3650 -nodes -out relay-root.crt -keyout relay-root.key \
    -subj "/CN=*.$NS/O=relay-root" -addext "subjectAltName = DNS:*.$NS"
issue() {
    openssl genrsa -traditional -out "$1.key" 2048
    openssl req -new -key "$1.key" -out "$1.csr" -subj "/CN=*.$NS/O=$1"
    printf '%s\n' "basicConstraints = $2" "keyUsage = nonRepudiation, digitalSignature, keyEncipherment$3" \
        "extendedKeyUsage = clientAuth, serverAuth" "subjectAltName = DNS:*.$NS" >"$1.conf"
    openssl x509 -req -days 3650 -CA relay-root.crt -CAkey relay-root.key -set_serial 0 \
        -in "$1.csr" -out "$1.crt" -extfile "$1.conf"
    rm "$1.csr" "$1.conf"
}
issue relay-server-tls CA:FALSE ""
issue relay-tls-signing critical,CA:TRUE ", keyCertSign"
for pair in relay-server-tls relay-tls-signing; do
    kubectl create secret generic $pair-secret --from-file=tls.key=$pair.key --from-file=tls.crt=$pair.crt \
        --from-file=ca.crt=relay-root.crt --dry-run=client -oyaml | kubectl apply -f- --context mgmt -n "$NS"
done
for context in mgmt east; do
    kubectl create secret generic relay-root-tls-secret --from-file=ca.crt=relay-root.crt \
        --dry-run=client -oyaml | kubectl apply -f- --context $context -n "$NS"
done
"#;
