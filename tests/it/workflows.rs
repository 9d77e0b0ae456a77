//! The workflows, judged by actionlint.

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
    }
}
