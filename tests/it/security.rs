//! SECURITY.md is true as far as its tests are: each of them exists.

use std::{fs, path::Path};

use relay_tests::binaries;

#[test]
fn every_statement_has_a_test_that_exists() {
    let root = binaries::workspace();
    let text = fs::read_to_string(root.join("SECURITY.md")).expect("there is one");
    let rows = text
        .lines()
        .filter(|line| line.starts_with("| ") && !line.contains("| test |"));
    let mut sources = String::new();
    for directory in ["shared/src", "kubectl-relay-certs/src", "tests"] {
        read(&root.join(directory), &mut sources);
    }
    let mut statements = 0;
    for row in rows {
        let tests = row.rsplit(" | ").next().unwrap_or_default().trim_end_matches('|');
        assert!(tests.contains('`'), "no test for: {row}");
        for test in tests.split(',').map(|test| test.trim().trim_matches('`')) {
            assert!(
                sources.contains(&format!("#[test]\nfn {test}()")),
                "no test `{test}` for: {row}"
            );
        }
        statements += 1;
    }
    assert!(statements > 20, "{statements} statements");
}

/// All Rust below a directory, without its indentation.
fn read(directory: &Path, sources: &mut String) {
    for entry in fs::read_dir(directory).expect("is a directory") {
        let path = entry.expect("is readable").path();
        if path.is_dir() {
            read(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("is text");
            sources.extend(text.lines().flat_map(|line| [line.trim(), "\n"]));
        }
    }
}
