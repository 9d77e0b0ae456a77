//! What is in the archives, judged by tar, sha256sum and objdump.

use std::{fs, path::PathBuf, process::Command};

use relay_tests::{krew, plugin::PLUGINS};
use tempfile::TempDir;

/// The last glibc that Red Hat Enterprise Linux 7 got.
const GLIBC: (u32, u32) = (2, 17);

/// How many bytes a program for Linux has at most, and its archive: everybody downloads
/// it, on every machine.
const PROGRAM: u64 = 7_000_000;
const ARCHIVE: u64 = 3_000_000;

#[test]
fn archives_hold_what_users_need() {
    let packed = krew::packed();
    let run = |program: &str, arguments: &[&str]| -> String {
        let output = Command::new(program)
            .current_dir(packed)
            .args(arguments)
            .output()
            .expect("runs");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("sha256sum", &["--check", "--strict", "SHA256SUMS"]);
    for plugin in PLUGINS {
        let archive = krew::archive(packed, plugin);
        let program = format!("kubectl-{}", plugin.replace('-', "_"));
        let complete = program.replace("kubectl", "kubectl_complete");
        let list = run(
            "tar",
            &[
                "--list",
                "--verbose",
                "--numeric-owner",
                "--file",
                &archive.to_string_lossy(),
            ],
        );
        let entries: Vec<_> = list
            .lines()
            .map(|line| {
                let words: Vec<_> = line.split_whitespace().collect();
                format!("{} {} {}", words[0], words[1], words[5])
            })
            .collect();
        let file = |name: &str| format!("-rw-r--r-- 0/0 {name}");
        let executable = |name: &str| format!("-rwxr-xr-x 0/0 {name}");
        assert_eq!(
            entries,
            [
                file("LICENSE"),
                file("THIRD-PARTY-LICENSES.txt"),
                file(&format!("completions/_{program}")),
                file(&format!("completions/{program}.bash")),
                file(&format!("completions/{program}.fish")),
                file(&format!("completions/{program}.ps1")),
                executable(&format!("completions/{complete}")),
                executable(&program),
                file(&format!("man/kubectl-{plugin}.1")),
            ]
        );
    }
}

/// The three archives of this machine's packed plugins, unpacked into one directory.
pub(crate) fn unpacked() -> (TempDir, [PathBuf; 3]) {
    let directory = tempfile::tempdir().expect("a directory");
    let programs = PLUGINS.map(|plugin| {
        let status = Command::new("tar")
            .args(["--extract", "--gzip", "--directory"])
            .arg(directory.path())
            .arg("--file")
            .arg(krew::archive(krew::packed(), plugin))
            .status();
        assert!(status.expect("tar runs").success());
        directory
            .path()
            .join(format!("kubectl-{}", plugin.replace('-', "_")))
    });
    (directory, programs)
}

#[test]
fn programs_run_on_an_old_glibc_and_tell_nothing_of_who_built_them() {
    let (_directory, programs) = unpacked();
    for program in programs {
        let symbols = Command::new("objdump")
            .arg("-T")
            .arg(&program)
            .output()
            .expect("runs");
        let symbols = String::from_utf8_lossy(&symbols.stdout).into_owned();
        let versions = symbols.split("(GLIBC_").skip(1).filter_map(|rest| {
            let (major, minor) = rest.split(')').next()?.split_once('.')?;
            let minor = minor.split('.').next()?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        });
        let newest: (u32, u32) = versions.max().expect("is linked against glibc");
        assert!(newest <= GLIBC, "{program:?} needs {newest:?}");

        let content = fs::read(&program).expect("is there");
        let home = std::env::var("HOME").expect("there is one");
        for place in [
            env!("CARGO_MANIFEST_DIR").trim_end_matches("/tests"),
            &format!("{home}/.cargo"),
        ] {
            let is_in = content
                .windows(place.len())
                .any(|window| window == place.as_bytes());
            assert!(!is_in, "{program:?} holds {place}");
        }
    }
}

#[test]
fn programs_and_archives_are_small() {
    let (_directory, programs) = unpacked();
    let archives = PLUGINS.map(|plugin| krew::archive(krew::packed(), plugin));
    let limited = programs.iter().map(|program| (program, PROGRAM));
    for (file, limit) in limited.chain(archives.iter().map(|archive| (archive, ARCHIVE))) {
        let size = fs::metadata(file).expect("is there").len();
        assert!(size <= limit, "{} has {size} bytes", file.display());
    }
}
