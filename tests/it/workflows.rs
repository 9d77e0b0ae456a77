//! The workflows, judged by actionlint, and what they are made of.

use std::{fs, process::Command};

use relay_tests::binaries::{self, Tool};

#[test]
fn workflows_are_sound() {
    let workflows = binaries::workspace().join(".github/workflows");
    let names = ["ci.yml", "release.yml"];
    let there = fs::read_dir(&workflows).expect("is a directory").count();
    assert_eq!(there, names.len(), "a workflow is checked by nobody");
    let actionlint = Tool::Actionlint.path().expect("is built");
    let check = |content: &str, name: &str| {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        fs::write(&path, content).expect("is ours");
        let output = Command::new(actionlint)
            .arg("-no-color")
            .arg(&path)
            .output()
            .expect("runs");
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    for name in names {
        let content = fs::read_to_string(workflows.join(name)).expect("is there");
        let (passes, complaints) = check(&content, name);
        assert!(passes, "{complaints}");
        let (passes, complaints) = check(&content.replacen("runs-on:", "run-on:", 1), name);
        assert!(!passes && complaints.contains("run-on"), "{complaints}");
        for line in content.lines().filter(|line| line.contains("uses: ")) {
            assert!(is_pinned(line), "by a name that may move: {line}");
        }
    }
}

/// Whether an action is named by a commit, with its tag for those who read.
fn is_pinned(line: &str) -> bool {
    let version = line.split_once('@').and_then(|(_, rest)| rest.split_once(" # v"));
    version
        .is_some_and(|(commit, _)| commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[test]
fn a_tag_or_a_branch_pins_nothing() {
    let commit = "0123456789abcdef0123456789abcdef01234567";
    assert!(is_pinned(&format!("- uses: a/b@{commit} # v1.2.3")));
    for version in ["v1", "main # v1.2.3", &commit[1..], commit] {
        assert!(!is_pinned(&format!("- uses: a/b@{version}")), "{version}");
    }
}
