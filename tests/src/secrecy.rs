//! No key reaches a transcript: whatever a plugin says, at any verbosity, is searched
//! for every private key that lies in its home directory, and for the beginning of
//! any other.

use std::{fs, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::Transcript;

/// How keys begin. Fifteen bytes are twenty characters of base64, whatever follows.
const BEGINNINGS: [&str; 4] = [
    "-----BEGIN PRIV",
    "-----BEGIN RSA ",
    "-----BEGIN EC P",
    "-----BEGIN ENCR",
];

/// Asserts that a transcript shows no private key.
#[track_caller]
pub(crate) fn assert_kept(transcript: &Transcript, home: &Path) {
    let leaked = leaked(transcript, home);
    assert!(leaked.is_none(), "a key is shown, {leaked:?}:\n{transcript}");
}

/// What a transcript shows of a private key.
fn leaked(transcript: &Transcript, home: &Path) -> Option<String> {
    let mut secrets = vec!["PRIVATE KEY-----".to_owned()];
    secrets.extend(BEGINNINGS.map(|beginning| STANDARD.encode(beginning)));
    collect(home, &mut secrets);
    secrets.into_iter().find(|secret| {
        [&transcript.stdout, &transcript.stderr]
            .iter()
            .any(|shown| shown.contains(secret))
    })
}

/// The lines of every private key in a directory and below.
fn collect(directory: &Path, lines: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => collect(&path, lines),
            Ok(kind) if kind.is_file() => {
                let text = fs::read_to_string(&path).unwrap_or_default();
                lines.extend(body(&text).map(str::to_owned));
            }
            _ => {}
        }
    }
}

/// The base64 of private keys in a file; not the headers of the form from before
/// PKCS#8.
fn body(text: &str) -> impl Iterator<Item = &str> {
    let blocks = text.split("PRIVATE KEY-----\n").skip(1).step_by(2);
    let bodies = blocks.flat_map(|block| block.split("-----END").next());
    bodies
        .flat_map(str::lines)
        .filter(|line| !line.is_empty() && !line.contains(':'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn said(stderr: &str) -> Transcript {
        Transcript {
            command_line: "kubectl relay-certs".to_owned(),
            code: Some(0),
            stdout: String::new(),
            stderr: stderr.to_owned(),
            duration: Duration::ZERO,
        }
    }

    #[test]
    fn keys_are_found_in_whatever_form() {
        let home = tempfile::tempdir().expect("can be made");
        let key = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\nBB==\n-----END RSA PRIVATE KEY-----\n";
        let both = format!("{key}-----BEGIN CERTIFICATE-----\nCCCC\n-----END CERTIFICATE-----\n{key}");
        fs::create_dir(home.path().join("pki")).expect("is new");
        fs::write(home.path().join("pki/any.name"), both).expect("can be written");
        let check = |text: &str, kept: bool| {
            assert_eq!(leaked(&said(text), home.path()).is_none(), kept, "{text:?}");
        };
        check("nothing", true);
        check("CCCC", true);
        check("Proc-Type: 4,ENCRYPTED", true);
        check("a line: AAAA", false);
        check("BB==", false);
        check("-----BEGIN PRIVATE KEY-----", false);
        check(&STANDARD.encode("-----BEGIN EC PRIVATE KEY-----\nMHcC"), false);
    }
}
