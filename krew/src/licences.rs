//! The licences of all that a program was built from, as the packages hold them.
//! Which licences may go in at all, `deny.toml` decides.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use crate::workspace::{cargo, output, root};

/// What the names of the files begin with, in lower case, and those of directories whose
/// files are all such.
const NAMES: [&str; 5] = ["license", "licence", "copying", "copyright", "notice"];

/// The licence whose text needs no name of an owner, so that ours is everybody's.
const APACHE: &str = "Apache-2.0";

const RULE: &str = "================================================================================";

/// A package as `cargo metadata` describes it.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    name: String,
    version: String,
    /// An SPDX expression.
    license: Option<String>,
    manifest_path: PathBuf,
    /// Where it came from; nowhere if it is of this workspace.
    source: Option<String>,
}

impl Package {
    fn label(&self) -> String {
        format!("{} {}", self.name, self.version)
    }

    /// Whether it may be taken under Apache-2.0 alone.
    fn is_under_apache(&self) -> bool {
        // Before SPDX expressions, cargo had a slash for `OR`.
        let choices = self.license.as_deref().unwrap_or_default().replace('/', " OR ");
        choices.split(" OR ").any(|choice| choice.trim() == APACHE)
    }
}

/// All packages that any platform or option of ours needs.
pub(crate) fn packages() -> Result<Vec<Package>, String> {
    #[derive(Deserialize)]
    struct Metadata {
        packages: Vec<Package>,
    }
    let metadata = output(cargo().args(["metadata", "--locked", "--format-version", "1"]))?;
    let Metadata { packages } = serde_json::from_slice(&metadata)
        .map_err(|err| format!("cargo metadata printed something else: {err}"))?;
    Ok(packages)
}

/// One text: which packages a program holds, each with its licence, and then each
/// text once, under the packages it came with. A package that came without any is under
/// the text of the licence that it declares.
///
/// `used` are packages, as `NAME VERSION`.
///
/// # Errors
///
/// Names a package for which there is no text.
pub(crate) fn collect(packages: &[Package], used: &BTreeSet<String>) -> Result<String, String> {
    let mut list = String::new();
    let mut texts: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let others = packages
        .iter()
        .filter(|package| package.source.is_some() && used.contains(&package.label()));
    for package in others {
        let label = package.label();
        let licence = package.license.as_deref().unwrap_or("see below");
        let mut found = read(&package.manifest_path)
            .map_err(|err| format!("failed to read the licences of {label}: {err}"))?;
        if found.is_empty() && package.is_under_apache() {
            found.push(apache()?);
        }
        if found.is_empty() {
            return Err(format!(
                "{label} ({licence}) comes without a licence\n  hint: do without it, or add the text of its licence"
            ));
        }
        list.push_str(&format!("{label}: {licence}\n"));
        for text in found {
            texts.entry(text).or_default().insert(label.clone());
        }
    }
    let mut document = format!("This program holds the work of others:\n\n{list}");
    for (text, labels) in texts {
        let labels: Vec<_> = labels.into_iter().collect();
        document.push_str(&format!("\n{RULE}\n{}\n{RULE}\n\n{text}\n", labels.join("\n")));
    }
    Ok(document)
}

/// The text of Apache-2.0, which is our own licence as well.
fn apache() -> Result<String, String> {
    let path = root().join("LICENSE");
    text(&path).map_err(|err| format!("failed to read `{}`: {err}", path.display()))
}

/// The licences in a package's directory, in the order of their names.
fn read(manifest: &Path) -> std::io::Result<Vec<String>> {
    let mut paths = Vec::new();
    for path in list(manifest.parent().unwrap_or(manifest))? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.trim_start_matches('.').to_lowercase();
        if !NAMES.iter().any(|start| name.starts_with(start)) {
            continue;
        }
        match path.is_dir() {
            true => paths.extend(list(&path)?),
            false => paths.push(path),
        }
    }
    let files = paths.iter().filter(|path| path.is_file());
    files.map(|path| text(path)).collect()
}

/// What is in a directory, in order.
fn list(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(directory)?.map(|entry| Ok(entry?.path()));
    let mut paths = entries.collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> std::io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?)
        .trim_end()
        .replace("\r\n", "\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(directory: &Path, name: &str, license: &str, files: &[(&str, &str)]) -> Package {
        let place = directory.join(name);
        fs::create_dir_all(&place).expect("is ours");
        for (file, text) in files {
            let path = place.join(file);
            fs::create_dir_all(path.parent().expect("has one")).expect("is ours");
            fs::write(path, text).expect("is ours");
        }
        Package {
            name: name.to_owned(),
            version: "1.0.0".to_owned(),
            license: Some(license.to_owned()),
            manifest_path: place.join("Cargo.toml"),
            source: Some("registry".to_owned()),
        }
    }

    #[test]
    fn each_text_is_shown_once_and_nobody_is_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let package = |name, files| package(directory.path(), name, "MIT", files);
        let packages = [
            package("a", &[("LICENSE-MIT", "by a\r\nand b\n"), ("lib.rs", "code")]),
            package("b", &[("license.txt", "by a\nand b"), ("NOTICE", "note of b")]),
            package(
                "c",
                &[(".licenses/b-MIT", "note of b"), ("src/license.rs", "code")],
            ),
            package("unused", &[]),
        ];
        let used = ["a 1.0.0", "b 1.0.0", "c 1.0.0"].map(str::to_owned).into();
        assert_eq!(
            collect(&packages, &used).expect("reads"),
            format!(
                "This program holds the work of others:\n\n\
                 a 1.0.0: MIT\nb 1.0.0: MIT\nc 1.0.0: MIT\n\n\
                 {RULE}\na 1.0.0\nb 1.0.0\n{RULE}\n\nby a\nand b\n\n\
                 {RULE}\nb 1.0.0\nc 1.0.0\n{RULE}\n\nnote of b\n"
            )
        );
    }

    #[test]
    fn who_comes_without_a_text_is_under_that_of_its_licence() {
        let directory = tempfile::tempdir().expect("a directory");
        let used = ["bare 1.0.0".to_owned()].into();
        let collect = |license| collect(&[package(directory.path(), "bare", license, &[])], &used);
        for license in ["Apache-2.0", "MIT OR Apache-2.0", "Apache-2.0/MIT"] {
            let document = collect(license).expect("has a text");
            let (_, text) = document.split_once("bare 1.0.0\n====").expect("is under a text");
            assert!(text.contains("Apache License\n"), "{text}");
        }
        for license in ["MIT", "MIT AND Apache-2.0", "Apache-2.0 WITH LLVM-exception"] {
            let refused = collect(license).expect_err("has none");
            assert!(
                refused.starts_with(&format!("bare 1.0.0 ({license}) comes")),
                "{refused}"
            );
        }
    }
}
