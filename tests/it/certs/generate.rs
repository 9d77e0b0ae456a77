//! `generate`: the page's first script, without any cluster; its choices, and the
//! keys that it takes and keeps.

use std::fs;

use relay_tests::Transcript;

use super::{Mesh, words};

/// A machine without any cluster in reach: not even a kubeconfig.
pub(crate) fn offline() -> Mesh {
    let mut mesh = Mesh::new();
    mesh.shell.set_env("KUBECONFIG", "/nonexistent");
    fs::remove_file(mesh.path("kubeconfig")).expect("was there");
    mesh.namespace = "gloo-mesh".to_owned();
    mesh
}

impl Mesh {
    /// Runs `kubectl relay-certs generate`.
    #[track_caller]
    pub(crate) fn generate(&self, flags: &str) -> Transcript {
        let command = ["relay-certs", "generate"];
        self.shell.kubectl(&[&command[..], &words(flags)].concat())
    }

    /// What `openssl x509` says of a certificate.
    #[track_caller]
    fn shown(&self, what: &str, certificate: &str) -> String {
        let shown = self.openssl(&format!("x509 -noout {what} -in {certificate}"));
        shown.success().stdout.trim_end().to_owned()
    }

    /// What kind of key a certificate is for, in OpenSSL's words.
    #[track_caller]
    fn kind(&self, certificate: &str) -> String {
        let text = self.shown("-text", certificate);
        let line = text.lines().find(|line| line.contains("Public-Key:"));
        let curve = text
            .lines()
            .find_map(|line| line.trim().strip_prefix("NIST CURVE: "));
        curve.or(line.map(str::trim)).expect("has a key").to_owned()
    }
}

const FILES: [&str; 3] = ["relay-root", "relay-server-tls", "relay-tls-signing"];

#[test]
fn a_directory_is_filled_completed_and_left_alone() {
    let mesh = offline();
    let row = |name: &str, became: &str| format!("pki/{name:21}   {became}");
    let report = |transcript: &Transcript| -> Vec<String> {
        let lines = transcript.stdout.lines();
        let cut = lines.map(|line| words(line)[..2].join(" "));
        cut.collect()
    };
    let all = |became: &str| -> Vec<String> {
        let names = FILES
            .iter()
            .flat_map(|name| [format!("{name}.crt"), format!("{name}.key")]);
        names.map(|name| words(&row(&name, became)).join(" ")).collect()
    };
    let first = mesh.generate("--pki-dir pki");
    first.success();
    assert_eq!(report(&first), all("created"));
    for name in FILES {
        first.prints(&mesh.fingerprint(&format!("pki/{name}.crt")));
    }
    let files = mesh.files("pki");
    assert!(files.values().all(|(mode, ..)| *mode == 0o600), "{files:#?}");
    assert_eq!(mesh.home(), ["pki"]);

    let second = mesh.generate("--pki-dir pki");
    second
        .success()
        .complains("Nothing changed: the directory holds what it should.\n");
    assert_eq!(report(&second), all("unchanged"));
    assert_eq!(mesh.files("pki"), files);

    // Whatever is missing is made, and nothing else touched.
    for lost in [
        "relay-server-tls.crt",
        "relay-tls-signing.crt",
        "relay-tls-signing.key",
    ] {
        fs::remove_file(mesh.path("pki").join(lost)).expect("was there");
    }
    mesh.generate("--pki-dir pki").success();
    let completed = mesh.files("pki");
    for kept in ["relay-root.crt", "relay-root.key", "relay-server-tls.key"] {
        assert_eq!(completed[kept], files[kept], "{kept}");
    }
    for made in [
        "relay-server-tls.crt",
        "relay-tls-signing.crt",
        "relay-tls-signing.key",
    ] {
        assert_ne!(completed[made], files[made], "{made}");
    }
}

#[test]
fn what_is_chosen_is_what_is_made_and_another_choice_is_refused() {
    let mesh = offline();
    let chosen = "--key-algorithm ecdsa-p256 --san relay.example.com,203.0.113.7 --no-wildcard \
                  --root-lifetime 10y --server-lifetime 90d --signing-lifetime 1y";
    mesh.generate(&format!("--pki-dir ec {chosen}")).success();
    for (name, days) in FILES.into_iter().zip([3650, 90, 365]) {
        let certificate = format!("ec/{name}.crt");
        assert_eq!(mesh.kind(&certificate), "P-256", "{name}");
        let within = |days: u64| {
            let seconds = days * 86_400;
            let checked = mesh.openssl(&format!("x509 -noout -checkend {seconds} -in {certificate}"));
            checked.code == Some(1)
        };
        assert!(within(days) && !within(days - 1), "{name}");
    }
    let names = mesh.shown("-ext subjectAltName", "ec/relay-server-tls.crt");
    assert!(
        names.ends_with("svc.cluster.local, DNS:relay.example.com, IP Address:203.0.113.7"),
        "{names}"
    );
    assert!(!names.contains('*'), "{names}");
    let usage = mesh.shown("-ext keyUsage", "ec/relay-server-tls.crt");
    assert!(usage.ends_with("critical\n    Digital Signature"), "{usage}");

    mesh.generate("--pki-dir rsa --root-key-size 2048 --key-size 3072")
        .success();
    for (name, size) in FILES.into_iter().zip(["2048", "3072", "3072"]) {
        let kind = mesh.kind(&format!("rsa/{name}.crt"));
        assert!(kind.contains(&format!("({size} bit)")), "{kind}");
    }

    #[track_caller]
    fn refused(mesh: &Mesh, flags: &str, complaint: &str) {
        let before = (mesh.files("ec"), mesh.files("rsa"));
        mesh.generate(flags)
            .exits(1)
            .complains(&format!("error: {complaint} was asked for\n  hint: "));
        assert_eq!((mesh.files("ec"), mesh.files("rsa")), before);
    }
    let unchanged = |flags: &str| {
        mesh.generate(flags)
            .success()
            .complains("Nothing changed")
            .to_string()
    };
    unchanged(&format!("--pki-dir ec {chosen}"));
    unchanged("--pki-dir ec");
    unchanged("--pki-dir rsa --key-algorithm rsa --key-size 3072");
    refused(
        &mesh,
        "--pki-dir ec --key-algorithm rsa",
        "ec/relay-root.crt has a key of kind ECDSA P-256, and --key-algorithm rsa",
    );
    refused(
        &mesh,
        "--pki-dir rsa --key-algorithm ecdsa-p256",
        "rsa/relay-root.crt has a key of kind RSA 2048, and --key-algorithm ecdsa-p256",
    );
    refused(
        &mesh,
        "--pki-dir rsa --key-size 4096",
        "rsa/relay-server-tls.crt has a key of kind RSA 3072, and another --key-size",
    );
    refused(
        &mesh,
        "--pki-dir rsa --san other.example.com",
        "rsa/relay-server-tls.crt is not for other.example.com, and --san other.example.com",
    );
    refused(
        &mesh,
        "--pki-dir rsa --no-wildcard",
        "rsa/relay-server-tls.crt has the name *.gloo-mesh, and --no-wildcard",
    );
    // Another namespace is another name.
    mesh.generate("--pki-dir rsa --namespace elsewhere")
        .exits(1)
        .complains("error: rsa/relay-server-tls.crt is not for enterprise-networking.elsewhere\n");

    mesh.generate("--pki-dir x --key-algorithm ecdsa-p256 --key-size 2048")
        .exits(2);
    mesh.generate("--pki-dir x --key-size 1024").exits(2);
    mesh.generate("--pki-dir x --server-lifetime 90").exits(2);
    mesh.generate("--pki-dir x --san a_b").exits(2);
    mesh.generate("").exits(2).complains("--pki-dir");
    assert!(!mesh.path("x").exists());
}

#[test]
fn a_roots_key_can_be_encrypted_or_forgotten() {
    let mesh = offline();
    mesh.shell.write("password", "correct horse\r\nsecond line\n");
    let fast = "--key-algorithm ecdsa-p256";
    let with = "--ca-key-password-file password";
    mesh.generate(&format!("--pki-dir pki {fast} --encrypt-root-key {with}"))
        .success();
    let key = mesh.read("pki/relay-root.key");
    assert!(
        key.starts_with("-----BEGIN ENCRYPTED PRIVATE KEY-----\n"),
        "{key}"
    );
    let public = mesh.shell.run(
        "openssl",
        &[
            "pkey",
            "-pubout",
            "-in",
            "pki/relay-root.key",
            "-passin",
            "pass:correct horse",
        ],
    );
    assert_eq!(
        public.success().stdout.trim_end(),
        mesh.shown("-pubkey", "pki/relay-root.crt")
    );

    // A key that is there is not touched, and that is said.
    mesh.generate(&format!("--pki-dir plain {fast}")).success();
    mesh.generate(&format!(
        "--pki-dir plain --encrypt-root-key {with} --server-lifetime 90d"
    ))
    .success()
    .complains("--server-lifetime changes nothing: relay-server-tls was there before and stays as it is\n")
    .complains("plain/relay-root.key was there before and is not encrypted; this makes a copy that is:\n");

    // Without need, nobody is asked for it.
    mesh.generate("--pki-dir pki")
        .success()
        .complains("Nothing changed");
    fs::remove_file(mesh.path("pki/relay-server-tls.crt")).expect("was there");
    mesh.generate("--pki-dir pki")
        .exits(1)
        .complains("error: a password is needed, and there is no terminal to ask for it\n  hint: ")
        .complains("give --ca-key-password-file, or set RELAY_CA_KEY_PASSWORD");
    mesh.shell.write("wrong", "battery staple\n");
    mesh.generate("--pki-dir pki --ca-key-password-file wrong")
        .exits(1)
        .complains("error: pki/relay-root.key cannot be opened with this password\n");
    mesh.generate("--pki-dir pki --ca-key-password-file missing")
        .exits(1)
        .complains("error: cannot read missing: ");
    let by_environment = mesh.shell.env("RELAY_CA_KEY_PASSWORD", "correct horse");
    let completed = by_environment.kubectl(&["relay-certs", "generate", "--pki-dir", "pki"]);
    completed.success().conceals("correct horse");
    mesh.openssl("verify -x509_strict -CAfile pki/relay-root.crt pki/relay-server-tls.crt")
        .success();
    assert_eq!(mesh.read("pki/relay-root.key"), key);

    mesh.generate(&format!("--pki-dir once {fast} --discard-root-key"))
        .success();
    assert!(!mesh.path("once/relay-root.key").exists());
    mesh.generate("--pki-dir once")
        .success()
        .complains("Nothing changed");
    fs::remove_file(mesh.path("once/relay-server-tls.crt")).expect("was there");
    let root = mesh.fingerprint("once/relay-root.crt");
    mesh.generate("--pki-dir once").exits(1).complains(&format!(
        "error: relay-server-tls has to be issued, and once has not the key of the root {root}\n"
    ));
    mesh.generate("--pki-dir x --encrypt-root-key --discard-root-key")
        .exits(2);
}

#[test]
fn keys_are_taken_in_every_form_and_kept_as_they_are() {
    #[track_caller]
    fn check(mesh: &Mesh, make: &str) {
        let make = format!("mkdir pki && {make}");
        mesh.shell.run("sh", &["-euc", &make]).success();
        let key = mesh.read("pki/relay-root.key");
        mesh.generate("--pki-dir pki --key-algorithm ecdsa-p256 --ca-key-password-file password")
            .success();
        assert_eq!(mesh.read("pki/relay-root.key"), key);
        let public = mesh.openssl("pkey -pubout -in pki/relay-root.key -passin file:password");
        let issued_to = mesh.shown("-pubkey", "pki/relay-root.crt");
        assert_eq!(public.success().stdout.trim_end(), issued_to, "{make}");
        mesh.openssl(
            "verify -x509_strict -check_ss_sig -CAfile pki/relay-root.crt \
             pki/relay-root.crt pki/relay-server-tls.crt pki/relay-tls-signing.crt",
        )
        .success();
        fs::remove_dir_all(mesh.path("pki")).expect("is ours");
    }
    let mesh = offline();
    mesh.shell.write("password", "secret\n");
    let key = "-out pki/relay-root.key";
    check(&mesh, &format!("openssl genrsa {key} 2048"));
    check(&mesh, &format!("openssl genrsa -traditional {key} 2048"));
    // Curve parameters first, as openssl ecparam writes them.
    check(&mesh, &format!("openssl ecparam -genkey -name prime256v1 {key}"));
    check(
        &mesh,
        &format!("openssl ecparam -genkey -noout -name secp384r1 {key}"),
    );
    check(
        &mesh,
        &format!("openssl ecparam -genkey -noout -name secp521r1 {key}"),
    );
    check(&mesh, &format!("openssl genpkey -algorithm ed25519 {key}"));
    // PKCS#1 under the wrong label, as some tools write it.
    check(
        &mesh,
        &format!(
            "openssl genrsa -traditional 2048 | sed 's/RSA PRIVATE/PRIVATE/' >{}",
            "pki/relay-root.key"
        ),
    );
    for cipher in ["aes256", "des3", "aes256 -v2prf hmacWithSHA1", "aes256 -scrypt"] {
        let encrypt = format!("openssl pkcs8 -topk8 -v2 {cipher} -passout file:password {key}");
        check(
            &mesh,
            &format!(
                "openssl genrsa 2048 | {}",
                encrypt.replace("-v2 aes256 -scrypt", "-scrypt")
            ),
        );
    }

    // The form from before PKCS#8 gets the way on, which works.
    let legacy = "mkdir pki && openssl genrsa -traditional -aes256 -passout file:password -out pki/relay-root.key 2048";
    mesh.shell.run("sh", &["-euc", legacy]).success();
    mesh.generate("--pki-dir pki").exits(1).complains(
        "error: pki/relay-root.key is encrypted in a form from before PKCS#8 (Proc-Type: 4,ENCRYPTED): \
         convert it with\n  openssl pkcs8 -topk8 -in OLD.key -out NEW.key\n",
    );
    let convert = "openssl pkcs8 -topk8 -in pki/relay-root.key -out new.key";
    let convert =
        format!("{convert} -passin pass:secret -passout pass:secret && mv new.key pki/relay-root.key");
    mesh.shell.run("sh", &["-euc", &convert]).success();
    mesh.generate("--pki-dir pki --ca-key-password-file password")
        .success();
}

/// Runs generate on a terminal of its own, and answers its questions.
#[track_caller]
fn on_a_terminal(mesh: &Mesh, flags: &str, answers: &[&str]) -> Transcript {
    const TERMINAL: &str = "
import os, pty, sys, termios, time
answers = sys.argv[1].split('|')
child, terminal = pty.fork()
if child == 0:
    os.execvp(sys.argv[2], sys.argv[2:])
shown, asked = b'', 0
while True:
    try:
        read = os.read(terminal, 1024)
    except OSError:
        break
    shown += read
    if shown[asked:].endswith(b': ') and answers:
        # The question comes a moment before the terminal is ready.
        while termios.tcgetattr(terminal)[3] & termios.ECHO:
            time.sleep(0.01)
        os.write(terminal, answers.pop(0).encode() + b'\\r')
        asked = len(shown)
sys.stdout.write(shown.decode())
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
";
    let answers = answers.join("|");
    let command = ["-c", TERMINAL, &answers, "kubectl", "relay-certs", "generate"];
    mesh.shell.run("python3", &[&command[..], &words(flags)].concat())
}

#[test]
fn a_password_is_asked_for_and_not_shown() {
    let mesh = offline();
    let new = "--pki-dir pki --key-algorithm ecdsa-p256 --encrypt-root-key";
    on_a_terminal(&mesh, new, &["correct horse", "correct hrose"])
        .exits(1)
        .prints("error: the two passwords are not the same");
    on_a_terminal(&mesh, new, &["", ""])
        .exits(1)
        .prints("error: the password is empty");
    on_a_terminal(&mesh, new, &["\u{3}"])
        .exits(130)
        .prints("error: interrupted");
    assert!(!mesh.path("pki").exists());
    let asked = on_a_terminal(&mesh, new, &["correct horse", "correct horse"]);
    asked
        .success()
        .prints("New password of the root's key: ")
        .prints("The same again: ")
        .conceals("correct horse");
    fs::remove_file(mesh.path("pki/relay-tls-signing.crt")).expect("was there");
    on_a_terminal(&mesh, "--pki-dir pki", &["battery staple"])
        .exits(1)
        .prints("error: pki/relay-root.key cannot be opened with this password");
    let opened = on_a_terminal(&mesh, "--pki-dir pki", &["correct horse"]);
    opened
        .success()
        .prints("Password of pki/relay-root.key: ")
        .conceals("correct horse");
    mesh.openssl("verify -x509_strict -CAfile pki/relay-root.crt pki/relay-tls-signing.crt")
        .success();
}
