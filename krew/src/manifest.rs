//! krew's manifests, `v1alpha2`: read from the templates beside this crate,
//! completed with what was packed.
//!
//! Fields and rules are those of krew's `pkg/index/types.go` and
//! `internal/index/validation`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_saphyr::LitString;

use crate::target::Target;

/// The bot of krew's own index refuses longer ones.
const SHORT_DESCRIPTION: usize = 50;

/// A manifest, or the template of one. krew passes over keys it does not know; a
/// mistyped one is refused here.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Manifest {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    #[serde(default)]
    version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    homepage: Option<String>,
    short_description: String,
    description: LitString,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    caveats: Option<LitString>,
    #[serde(default)]
    platforms: Vec<Platform>,
}

/// What krew installs on one platform. Without `files`, it installs all that the
/// archive holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Platform {
    selector: Selector,
    uri: String,
    sha256: String,
    bin: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Selector {
    match_labels: BTreeMap<String, String>,
}

impl Platform {
    /// `sha256` is of the archive that `uri` leads to, `program` the name of the
    /// plugin's program in it.
    pub(crate) fn new(target: Target, program: &str, uri: String, sha256: String) -> Self {
        let labels = [("os", target.os), ("arch", target.arch)];
        let match_labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned()));
        Self {
            selector: Selector {
                match_labels: match_labels.into(),
            },
            uri,
            sha256,
            bin: target.program(program),
        }
    }
}

/// The manifest of a version, as YAML.
///
/// # Errors
///
/// Says what is wrong with the template.
pub(crate) fn render(
    plugin: &str,
    template: &str,
    version: &str,
    homepage: Option<&str>,
    platforms: Vec<Platform>,
) -> Result<String, String> {
    let mut manifest: Manifest =
        serde_saphyr::from_str(template).map_err(|err| format!("is no template of a manifest: {err}"))?;
    let spec = &mut manifest.spec;
    let length = spec.short_description.chars().count();
    if manifest.metadata.name != plugin {
        let name = manifest.metadata.name;
        return Err(format!(
            "is called {name:?}, but krew reads the name from the file"
        ));
    }
    if length > SHORT_DESCRIPTION {
        return Err(format!(
            "has a short description of {length} characters, more than {SHORT_DESCRIPTION}"
        ));
    }
    spec.version = version.to_owned();
    spec.homepage = homepage.map(str::to_owned);
    spec.platforms = platforms;
    serde_saphyr::to_string(&manifest).map_err(|err| format!("cannot be written: {err}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::TARGETS;

    const TEMPLATE: &str = include_str!("../relay-certs.yaml");

    #[track_caller]
    fn check_refused(template: &str, want: &str) {
        let refused = render("relay-certs", template, "v1.2.3", None, Vec::new());
        let refused = refused.expect_err("is refused");
        assert!(refused.contains(want), "{refused}");
    }

    #[test]
    fn templates_are_completed() {
        let [linux, .., windows] = TARGETS;
        let platforms = [linux, windows].map(|target| {
            let uri = format!("https://example.com/{target}");
            Platform::new(target, "kubectl-relay_certs", uri, "ab".repeat(32))
        });
        let homepage = Some("https://example.com");
        let text = render("relay-certs", TEMPLATE, "v1.2.3", homepage, platforms.into()).expect("renders");
        let (head, platforms) = text.split_once("  platforms:\n").expect("lists platforms");
        for line in TEMPLATE.lines() {
            assert!(head.contains(line), "no {line:?} in:\n{head}");
        }
        assert!(
            head.contains("  version: v1.2.3\n  homepage: https://example.com\n"),
            "{head}"
        );
        assert_eq!(
            platforms,
            "  - selector:
      matchLabels:
        arch: amd64
        os: linux
    uri: https://example.com/linux_amd64
    sha256: abababababababababababababababababababababababababababababababab
    bin: kubectl-relay_certs
  - selector:
      matchLabels:
        arch: arm64
        os: windows
    uri: https://example.com/windows_arm64
    sha256: abababababababababababababababababababababababababababababababab
    bin: kubectl-relay_certs.exe
"
        );
    }

    #[test]
    fn templates_that_krew_would_misread_are_refused() {
        check_refused(&TEMPLATE.replace("relay-certs", "relay"), "is called \"relay\"");
        check_refused(
            &TEMPLATE.replace("shortDescription", "shortDescripton"),
            "shortDescripton",
        );
        check_refused(
            &TEMPLATE.replace("shortDescription: ", "shortDescription: Somehow and somewhere "),
            "more than 50",
        );
    }
}
