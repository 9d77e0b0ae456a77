//! What is packed with a program: its licence and those of all it was built from,
//! completions, and its manual page; and the bill of materials beside it.

use std::{collections::BTreeSet, fs, path::Path};

use auditable_info::Limits;
use serde_json::{Value, json};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    archive::{Entry, sha256},
    licences::{self, Package},
    target::Target,
    tools::Tools,
    workspace::{command, output, package, program, root},
};

/// The completion scripts: whom each is for, and the file it goes to, where `NAME`
/// is that of the program.
const COMPLETIONS: [(&str, &str); 4] = [
    ("bash", "completions/NAME.bash"),
    ("zsh", "completions/_NAME"),
    ("fish", "completions/NAME.fish"),
    ("powershell", "completions/NAME.ps1"),
];

/// All files of an archive.
///
/// `used` is what the program was built from, `built` the program, and `runnable` one
/// that tells about itself here.
pub(crate) fn entries(
    target: Target,
    plugin: &str,
    packages: &[Package],
    used: &BTreeSet<String>,
    built: &Path,
    runnable: &Path,
) -> Result<Vec<Entry>, String> {
    let name = program(plugin);
    let prints = |words: &[&str]| output(command(runnable).args(words));
    let licences = licences::collect(packages, used)?;
    let mut entries = vec![
        Entry::program(target.program(&name), read(built)?),
        Entry::file("LICENSE", read(&root().join("LICENSE"))?),
        Entry::file("THIRD-PARTY-LICENSES.txt", licences),
        Entry::file(format!("man/{}.1", package(plugin)), prints(&["man"])?),
        // What kubectl runs, found beside the plugin by its name.
        Entry::program(
            format!("completions/{}", name.replacen("kubectl", "kubectl_complete", 1)),
            prints(&["completion", "kubectl"])?,
        ),
    ];
    for (shell, path) in COMPLETIONS {
        let script = prints(&["completion", shell])?;
        entries.push(Entry::file(path.replace("NAME", &name), script));
    }
    Ok(entries)
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|err| format!("failed to read `{}`: {err}", path.display()))
}

/// The bill of materials of a program, in SPDX 2.3.
///
/// cargo-sbom lists what the lock file holds for every platform and option, in no
/// order, dates it by the clock and draws its name by lot. Here it is cut down to
/// what the program was built from, and all else follows from the content, so that the
/// same commit has the same bill.
pub(crate) fn bill_of_materials(
    tools: &Tools,
    plugin: &str,
    name: &str,
    used: &BTreeSet<String>,
    time: OffsetDateTime,
) -> Result<Vec<u8>, String> {
    let mut sbom = tools.cargo();
    sbom.args([
        "sbom",
        "--output-format",
        "spdx_json_2_3",
        "--cargo-package",
        &package(plugin),
    ]);
    let mut bill: Value = serde_json::from_slice(&output(&mut sbom)?)
        .map_err(|err| format!("cargo-sbom printed no JSON: {err}"))?;
    let date = time.format(&Rfc3339).map_err(|err| err.to_string())?;
    bill["creationInfo"]["created"] = json!(date);
    bill["name"] = json!(name);
    bill["documentNamespace"] = Value::Null;
    cut(&mut bill, used);
    let mut bill = valid(bill);
    let namespace = format!("urn:sha256:{}", sha256(bill.to_string().as_bytes()));
    bill["documentNamespace"] = json!(namespace);
    Ok(format!("{bill:#}\n").into_bytes())
}

/// Mends what SPDX 2.3 does not allow: a registry of cargo's is no location to
/// download from (7.7), and an identifier holds no underscore (3.2).
fn valid(mut value: Value) -> Value {
    match &mut value {
        Value::String(text) if text.starts_with("registry+") => *text = "NOASSERTION".to_owned(),
        Value::String(text) if text.starts_with("SPDXRef-") => *text = text.replace('_', "-"),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = valid(item.take())),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = valid(field.take())),
        _ => {}
    }
    value
}

/// What a program was built from, as `NAME VERSION`: what cargo-auditable noted in it,
/// of what cargo compiled for all of them.
///
/// The note holds more: cargo-auditable has it from `cargo metadata`, which lists ring
/// because rustls-webpki has a feature `ring?/alloc` (rust-lang/cargo#10801).
pub(crate) fn built_from(program: &Path, compiled: &BTreeSet<String>) -> Result<BTreeSet<String>, String> {
    let info = auditable_info::audit_info_from_file(program, Limits::default()).map_err(|err| {
        format!(
            "`{}` does not say what it was built from: {err}",
            program.display()
        )
    })?;
    let packages = info.packages.iter();
    Ok(packages
        .map(|package| format!("{} {}", package.name, package.version))
        .filter(|package| compiled.contains(package))
        .collect())
}

/// Takes the packages that are not wanted, and what is said of them, out of a bill,
/// and puts the rest in order.
fn cut(bill: &mut Value, wanted: &BTreeSet<String>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut dropped = BTreeSet::new();
    if let Some(packages) = bill["packages"].as_array_mut() {
        packages.retain(|package| {
            let (name, version) = (text(&package["name"]), text(&package["versionInfo"]));
            let is_wanted = wanted.contains(&format!("{name} {version}"));
            if !is_wanted {
                dropped.insert(text(&package["SPDXID"]));
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
        relationships.retain(|relationship| !ends(relationship).iter().any(|end| dropped.contains(end)));
        relationships
            .sort_by_key(|relationship| (ends(relationship), text(&relationship["relationshipType"])));
        relationships.dedup();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_holds_what_spdx_allows() {
        let bill = json!({ "files": [{ "SPDXID": "SPDXRef-File-a_b", "downloadLocation": "registry+https://x", "name": "a_b" }] });
        let want = json!({ "files": [{ "SPDXID": "SPDXRef-File-a-b", "downloadLocation": "NOASSERTION", "name": "a_b" }] });
        assert_eq!(valid(bill), want);
    }

    #[test]
    fn a_bill_is_cut_down_to_what_the_program_holds() {
        let package =
            |name: &str| json!({ "SPDXID": format!("id-{name}"), "name": name, "versionInfo": "1.0.0" });
        let relationship = |from: &str, to: &str| json!({ "spdxElementId": from, "relatedSpdxElement": to, "relationshipType": "DEPENDS_ON" });
        let mut bill = json!({
            "packages": [package("b"), package("windows"), package("a")],
            "relationships": [relationship("id-b", "id-windows"), relationship("id-b", "id-a"), relationship("id-a", "file")],
        });
        cut(
            &mut bill,
            &["a 1.0.0", "b 1.0.0", "windows 2.0.0"].map(str::to_owned).into(),
        );
        let want = json!({
            "packages": [package("a"), package("b")],
            "relationships": [relationship("id-a", "file"), relationship("id-b", "id-a")],
        });
        assert_eq!(bill, want);
    }
}
