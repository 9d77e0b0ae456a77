//! The bill of materials beside an archive, in SPDX 2.3: which files it holds, and which
//! packages the program among them was built from.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    archive::{Entry, hex, sha256},
    tools::Tools,
    workspace::{VERSION, output, package, program},
};

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ARCHIVE: &str = "SPDXRef-Archive";

/// An archive and what is in it.
#[derive(Debug)]
pub(crate) struct Packed<'a> {
    pub(crate) plugin: &'a str,
    /// Its name without the ending, and with it.
    pub(crate) stem: &'a str,
    pub(crate) name: &'a str,
    pub(crate) content: &'a [u8],
    pub(crate) entries: &'a [Entry],
    /// What the program was built from, as `NAME VERSION`.
    pub(crate) used: &'a BTreeSet<String>,
}

/// The bill of an archive.
///
/// cargo-sbom lists what the lock file holds for every platform and option, in no
/// order, dates it by the clock and draws its name by lot. Here it is cut down to
/// what the program was built from, is about the archive instead of the lock file, and
/// all else follows from the content, so that the same commit has the same bill.
pub(crate) fn of(tools: &Tools, packed: &Packed<'_>, time: OffsetDateTime) -> Result<Vec<u8>, String> {
    let mut sbom = tools.cargo();
    sbom.args([
        "sbom",
        "--output-format",
        "spdx_json_2_3",
        "--cargo-package",
        &package(packed.plugin),
    ]);
    let mut bill: Value = serde_json::from_slice(&output(&mut sbom)?)
        .map_err(|err| format!("cargo-sbom printed no JSON: {err}"))?;
    let date = time.format(&Rfc3339).map_err(|err| err.to_string())?;
    bill["creationInfo"]["created"] = json!(date);
    bill["name"] = json!(packed.stem);
    bill["documentNamespace"] = Value::Null;
    cut(&mut bill, packed.used);
    let mut bill = valid(bill);
    describe(&mut bill, packed)?;
    let namespace = format!("urn:sha256:{}", sha256(bill.to_string().as_bytes()));
    bill["documentNamespace"] = json!(namespace);
    Ok(format!("{bill:#}\n").into_bytes())
}

/// Mends what SPDX 2.3 does not allow: a registry of cargo's is no location to
/// download from (7.7), and an identifier holds no underscore (3.2).
fn valid(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) if text.starts_with("registry+") => *text = "NOASSERTION".to_owned(),
        Value::String(text) if text.starts_with("SPDXRef-") => *text = identifier(text),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = valid(item.take())),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = valid(field.take())),
        _ => {}
    }
    value
}

/// A text of what an identifier may hold: letters, digits, points and dashes.
fn identifier(text: &str) -> String {
    text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '.', "-")
}

/// Takes the packages that are not wanted, and what is said of them and of the lock
/// file, out of a bill, and puts the rest in order.
fn cut(bill: &mut Value, wanted: &BTreeSet<String>) {
    let mut kept = BTreeSet::new();
    if let Some(packages) = bill["packages"].as_array_mut() {
        packages.retain(|package| {
            let (name, version) = (text(&package["name"]), text(&package["versionInfo"]));
            let is_wanted = wanted.contains(&format!("{name} {version}"));
            if is_wanted {
                kept.insert(text(&package["SPDXID"]));
            }
            is_wanted
        });
        packages.sort_by_key(|package| text(&package["SPDXID"]));
    }
    if let Some(relationships) = bill["relationships"].as_array_mut() {
        let ends = |relationship: &Value| {
            [
                text(&relationship["spdxElementId"]),
                text(&relationship["relatedSpdxElement"]),
            ]
        };
        relationships.retain(|relationship| ends(relationship).iter().all(|end| kept.contains(end)));
        relationships
            .sort_by_key(|relationship| (ends(relationship), text(&relationship["relationshipType"])));
        relationships.dedup();
    }
}

/// Makes a bill be about an archive, its files, and the program that was built from the
/// packages in the bill.
///
/// # Errors
///
/// Says that the package of the plugin is not among them.
fn describe(bill: &mut Value, packed: &Packed<'_>) -> Result<(), String> {
    let own = package(packed.plugin);
    let source = bill["packages"].as_array().and_then(|packages| {
        let source = packages.iter().find(|package| package["name"] == own)?;
        Some(source["SPDXID"].clone())
    });
    let source = source.ok_or_else(|| format!("cargo-sbom lists no package {own}"))?;

    let mut files = Vec::new();
    let mut relationships = vec![relationship(DOCUMENT, "DESCRIBES", ARCHIVE)];
    let mut checksums = Vec::new();
    for entry in packed.entries {
        let id = identifier(&format!("SPDXRef-File-{}", entry.path));
        relationships.push(relationship(ARCHIVE, "CONTAINS", id.as_str()));
        let is_program = entry.path.trim_end_matches(".exe") == program(packed.plugin);
        if is_program {
            relationships.push(relationship(id.as_str(), "GENERATED_FROM", source.clone()));
        }
        let sha1 = hex(&Sha1::digest(&entry.content));
        files.push(json!({
            "SPDXID": id,
            "fileName": format!("./{}", entry.path),
            "fileTypes": [if is_program { "BINARY" } else { "TEXT" }],
            "checksums": [
                { "algorithm": "SHA1", "checksumValue": sha1 },
                { "algorithm": "SHA256", "checksumValue": sha256(&entry.content) },
            ],
        }));
        checksums.push(sha1);
    }
    checksums.sort();
    let archive = json!({
        "SPDXID": ARCHIVE,
        "name": packed.stem,
        "versionInfo": VERSION,
        "packageFileName": packed.name,
        "primaryPackagePurpose": "ARCHIVE",
        "downloadLocation": "NOASSERTION",
        "checksums": [{ "algorithm": "SHA256", "checksumValue": sha256(packed.content) }],
        // SPDX 2.3, 7.9: of the checksums of all files, in order.
        "packageVerificationCode": {
            "packageVerificationCodeValue":
                hex(&Sha1::digest(checksums.concat())),
        },
        "licenseDeclared": "Apache-2.0",
    });
    bill["files"] = json!(files);
    if let Some(packages) = bill["packages"].as_array_mut() {
        packages.insert(0, archive);
    }
    if let Some(others) = bill["relationships"].as_array_mut() {
        others.splice(0..0, relationships);
    }
    Ok(())
}

fn relationship(from: &str, kind: &str, to: impl Into<Value>) -> Value {
    json!({ "spdxElementId": from, "relationshipType": kind, "relatedSpdxElement": to.into() })
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bill() -> Value {
        let package =
            |name: &str| json!({ "SPDXID": format!("SPDXRef-{name}"), "name": name, "versionInfo": "1.0.0" });
        let depends = |from: &str, to: &str| {
            relationship(&format!("SPDXRef-{from}"), "DEPENDS_ON", format!("SPDXRef-{to}"))
        };
        json!({
            "files": [{ "SPDXID": "SPDXRef-lock", "fileName": "./Cargo.lock" }],
            "packages": [package("b"), package("windows"), package("kubectl-relay-certs")],
            "relationships": [
                relationship(DOCUMENT, "DESCRIBES", "SPDXRef-lock"),
                depends("b", "windows"),
                depends("kubectl-relay-certs", "b"),
                relationship("SPDXRef-lock", "GENERATED_FROM", "SPDXRef-b"),
            ],
        })
    }

    fn used() -> BTreeSet<String> {
        ["kubectl-relay-certs 1.0.0", "b 1.0.0", "windows 2.0.0"]
            .map(str::to_owned)
            .into()
    }

    #[test]
    fn a_bill_holds_what_spdx_allows() {
        let bill = json!({ "files": [{ "SPDXID": "SPDXRef-File-a_b", "downloadLocation": "registry+https://x", "name": "a_b" }] });
        let want = json!({ "files": [{ "SPDXID": "SPDXRef-File-a-b", "downloadLocation": "NOASSERTION", "name": "a_b" }] });
        assert_eq!(valid(bill), want);
    }

    #[test]
    fn a_bill_is_cut_down_to_what_the_program_holds() {
        let mut bill = bill();
        cut(&mut bill, &used());
        let names: Vec<_> = bill["packages"]
            .as_array()
            .expect("is a list")
            .iter()
            .map(|package| text(&package["name"]))
            .collect();
        assert_eq!(names, ["b", "kubectl-relay-certs"]);
        let want = [relationship(
            "SPDXRef-kubectl-relay-certs",
            "DEPENDS_ON",
            "SPDXRef-b",
        )];
        assert_eq!(bill["relationships"], json!(want));
    }

    #[test]
    fn a_bill_is_about_the_archive_and_its_files() {
        let entries = [
            Entry::file("completions/_kubectl-relay_certs", "words"),
            Entry::program("kubectl-relay_certs.exe", "binary"),
        ];
        let mut bill = bill();
        let used = used();
        let packed = Packed {
            plugin: "relay-certs",
            stem: "x",
            name: "x.zip",
            content: b"abc",
            entries: &entries,
            used: &used,
        };
        cut(&mut bill, packed.used);
        describe(&mut bill, &packed).expect("its package is there");
        let archive = &bill["packages"][0];
        assert_eq!(archive["packageFileName"], "x.zip");
        assert_eq!(archive["checksums"][0]["checksumValue"], sha256(b"abc"));
        let own = "SPDXRef-kubectl-relay-certs";
        let [words, program] = [
            "SPDXRef-File-completions--kubectl-relay-certs",
            "SPDXRef-File-kubectl-relay-certs.exe",
        ];
        let want = [
            relationship(DOCUMENT, "DESCRIBES", ARCHIVE),
            relationship(ARCHIVE, "CONTAINS", words),
            relationship(ARCHIVE, "CONTAINS", program),
            relationship(program, "GENERATED_FROM", own),
            relationship(own, "DEPENDS_ON", "SPDXRef-b"),
        ];
        assert_eq!(bill["relationships"], json!(want));
        assert_eq!(bill["files"][1]["fileName"], "./kubectl-relay_certs.exe");
        assert_eq!(bill["files"].as_array().map(Vec::len), Some(2), "no lock file");
    }
}
