//! What the programs were built from: what they note themselves, the bills of materials
//! and the licences, judged by cargo, sha256sum and SPDX's own library.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use relay_tests::{binaries, krew, plugin::PLUGINS};
use serde_json::Value;

use crate::contents::unpacked;

/// What others have made of what cargo compiles for these plugins and this machine, by
/// dependencies of these kinds, as `NAME VERSION`.
fn compiled(plugins: &[&str], kinds: &str) -> BTreeSet<String> {
    let mut cargo = Command::new("cargo");
    cargo.args(["tree", "--locked", "--edges", kinds, "--prefix", "none"]);
    for plugin in plugins {
        cargo.args(["--package", &format!("kubectl-{plugin}")]);
    }
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success());
    let tree = String::from_utf8(output.stdout).expect("is UTF-8");
    let foreign = tree.lines().filter(|line| !line.contains("(/"));
    let labels = foreign.filter_map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next()?;
        Some(format!("{name} {}", words.next()?.strip_prefix('v')?))
    });
    labels.collect()
}

/// What a program notes of itself, as `NAME VERSION`.
fn noted(program: &Path) -> BTreeSet<String> {
    let noted = auditable_info::audit_info_from_file(program, auditable_info::Limits::default());
    let packages = noted.expect("says what it was built from").packages;
    let labels = packages
        .iter()
        .map(|package| format!("{} {}", package.name, package.version));
    labels.collect()
}

/// A file of a plugin's archive.
fn archived(plugin: &str, name: &str) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--extract", "--gzip", "--to-stdout", "--file"])
        .arg(krew::archive(krew::packed(), plugin))
        .arg(name)
        .output()
        .expect("tar runs");
    assert!(output.status.success(), "no {name} in the archive of {plugin}");
    output.stdout
}

#[test]
fn notes_bills_and_licences_name_all_that_was_built_in() {
    let all = compiled(&PLUGINS, "normal,build");
    let without_build = compiled(&PLUGINS, "normal");
    let (_directory, programs) = unpacked();
    for (plugin, program) in PLUGINS.into_iter().zip(programs) {
        let own = compiled(&[plugin], "normal,build");
        assert!(own.len() > 100, "{own:?}");
        let noted = noted(&program);
        assert!(own.is_subset(&noted), "{plugin} lacks {:?}", &own - &noted);
        let built_in: BTreeSet<_> = noted.intersection(&all).cloned().collect();

        let bill = bill(plugin);
        let packages = bill["packages"].as_array().expect("is a list").iter();
        let billed: BTreeSet<_> = packages
            .filter(|package| package["SPDXID"] != "SPDXRef-Archive")
            .map(|package| format!("{} {}", text(&package["name"]), text(&package["versionInfo"])))
            .filter(|label| !label.starts_with("kubectl-relay-") && !label.starts_with("relay-shared "))
            .collect();
        let want: BTreeSet<_> = built_in.intersection(&without_build).cloned().collect();
        assert_eq!(billed, want, "in the bill of {plugin}");

        let document = archived(plugin, "THIRD-PARTY-LICENSES.txt");
        let document = String::from_utf8(document).expect("is UTF-8");
        let (list, texts) = document.split_once("\n====").expect("has texts");
        let listed = list
            .lines()
            .filter_map(|line| Some(line.split_once(": ")?.0.to_owned()));
        let listed: BTreeSet<_> = listed.collect();
        assert_eq!(listed, built_in, "in the licences of {plugin}");
        let texts = texts_of(&format!("===={texts}"), &listed);
        for label in listed {
            let text = texts.get(&label).map(String::as_str).unwrap_or_default();
            assert!(
                is_licence(text),
                "{label} is under no licence of {plugin}: {text:?}"
            );
        }
    }
}

/// All texts that each package is under.
fn texts_of(document: &str, labels: &BTreeSet<String>) -> BTreeMap<String, String> {
    let is_rule = |line: &str| line.len() == 80 && line.bytes().all(|byte| byte == b'=');
    let lines: Vec<_> = document.lines().collect();
    let mut texts: BTreeMap<String, String> = BTreeMap::new();
    let mut current = Vec::new();
    let mut number = 0;
    while let Some(line) = lines.get(number) {
        // Licences have such rules, too, but no package between them.
        let head = lines[number + 1..]
            .iter()
            .take_while(|line| labels.contains(**line));
        let head: Vec<_> = head.map(|label| (*label).to_owned()).collect();
        let end = number + 1 + head.len();
        if is_rule(line) && !head.is_empty() && lines.get(end).is_some_and(|line| is_rule(line)) {
            (current, number) = (head, end);
        } else {
            for label in &current {
                let text = texts.entry(label.clone()).or_default();
                text.push_str(line);
                text.push(' ');
            }
        }
        number += 1;
    }
    texts
}

/// Whether a text holds the words by which one of the licences gives its permission.
fn is_licence(text: &str) -> bool {
    let words: Vec<_> = text.split_whitespace().collect();
    let text = words.join(" ").to_lowercase();
    [
        "grants to you a perpetual, worldwide, non-exclusive, no-charge, royalty-free",
        "permission is hereby granted, free of charge, to any person",
        "permission to use, copy, modify, and",
        "redistribution and use in source and binary forms",
        "permission is granted to anyone to use this software for any purpose",
        "fully, permanently, irrevocably and unconditionally waives",
        "a data recipient may use, modify, and share",
    ]
    .iter()
    .any(|grant| text.contains(grant))
}

#[test]
fn a_bill_is_of_its_archive_and_of_every_file_in_it() {
    let checksums = fs::read_to_string(krew::packed().join("SHA256SUMS")).expect("is there");
    for plugin in PLUGINS {
        let bill = bill(plugin);
        let program = format!("kubectl-{}", plugin.replace('-', "_"));
        let related = |from: &str, kind: &str| -> Vec<String> {
            let relationships = bill["relationships"].as_array().expect("is a list").iter();
            relationships
                .filter(|it| it["spdxElementId"] == from && it["relationshipType"] == kind)
                .map(|it| text(&it["relatedSpdxElement"]))
                .collect()
        };
        let element = |list: &str, id: &str| -> Value {
            let mut elements = bill[list].as_array().expect("is a list").iter();
            elements.find(|it| it["SPDXID"] == id).expect("is there").clone()
        };
        let checksum = |element: &Value, algorithm: &str| -> String {
            let mut checksums = element["checksums"].as_array().expect("is a list").iter();
            let found = checksums.find(|it| it["algorithm"] == algorithm);
            let value = text(&found.expect("has one")["checksumValue"]);
            assert!(value.len() >= 40, "{value}");
            value
        };

        let described = related("SPDXRef-DOCUMENT", "DESCRIBES");
        assert_eq!(described, ["SPDXRef-Archive"]);
        let archive = element("packages", &described[0]);
        let line = format!(
            "{}  {}\n",
            checksum(&archive, "SHA256"),
            text(&archive["packageFileName"])
        );
        let name = krew::archive(krew::packed(), plugin);
        let name = name.file_name().expect("has one").to_string_lossy();
        assert!(line.ends_with(&format!("  {name}\n")), "{line} is not of {name}");
        assert!(checksums.contains(&line), "{line} is not among\n{checksums}");

        let list = Command::new("tar")
            .args(["--list", "--file"])
            .arg(krew::archive(krew::packed(), plugin))
            .output()
            .expect("tar runs");
        let list = String::from_utf8(list.stdout).expect("is UTF-8");
        let archived_names: BTreeSet<_> = list.lines().map(|name| format!("./{name}")).collect();
        let mut names = BTreeSet::new();
        let mut sums = Vec::new();
        for id in related(&described[0], "CONTAINS") {
            let file = element("files", &id);
            let name = text(&file["fileName"]);
            let directory = tempfile::tempdir().expect("a directory");
            let place = directory.path().join("file");
            fs::write(&place, archived(plugin, name.trim_start_matches("./"))).expect("is ours");
            for (algorithm, sum) in [("SHA1", "sha1sum"), ("SHA256", "sha256sum")] {
                let output = Command::new(sum).arg(&place).output().expect("runs");
                let want = checksum(&file, algorithm);
                assert!(
                    output.stdout.starts_with(want.as_bytes()),
                    "{algorithm} of {name}"
                );
            }
            if name == format!("./{program}") {
                let sources = related(&id, "GENERATED_FROM");
                let sources: Vec<_> = sources
                    .iter()
                    .map(|id| text(&element("packages", id)["name"]))
                    .collect();
                assert_eq!(sources, [format!("kubectl-{plugin}")]);
            }
            names.insert(name);
            sums.push(checksum(&file, "SHA1"));
        }
        sums.sort();
        let output = Command::new("sh")
            .args(["-c", "printf %s \"$@\" | sha1sum", "sh"])
            .args(sums)
            .output()
            .expect("runs");
        let code = text(&archive["packageVerificationCode"]["packageVerificationCodeValue"]);
        assert!(
            output.stdout.starts_with(code.as_bytes()),
            "{code} is not of all files"
        );
        assert_eq!(names, archived_names, "in the bill of {plugin}");
        assert_eq!(bill["files"].as_array().map(Vec::len), Some(names.len()));
    }
}

/// The bill of materials beside a plugin's archive, which SPDX's own library takes.
fn bill(plugin: &str) -> Value {
    let archive = krew::archive(krew::packed(), plugin);
    let name = archive.file_name().expect("has one").to_string_lossy();
    let path: PathBuf = archive.with_file_name(name.replace(".tar.gz", ".spdx.json"));
    let checked = Command::new(binaries::python().expect("is installed"))
        .args(["-m", "spdx_tools.spdx.clitools.pyspdxtools", "--infile"])
        .arg(&path)
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(checked.status.success(), "{} is no SPDX: {said}", path.display());
    let bill: Value = serde_json::from_slice(&fs::read(path).expect("is there")).expect("is JSON");
    assert_eq!(bill["spdxVersion"], "SPDX-2.3");
    bill
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
