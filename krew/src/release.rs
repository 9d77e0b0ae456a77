//! The directory that a release is gathered in: archives, their checksums, and
//! manifests for those platforms whose archive is there.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::{
    archive::sha256,
    manifest::{self, Platform},
    target::{TARGETS, Target},
    workspace::{PLUGINS, VERSION, program, root},
};

/// The file that lists checksums, as `sha256sum --check` reads it.
const CHECKSUMS: &str = "SHA256SUMS";

/// Where users get what is in the directory from.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Origin {
    /// URL that the archives will be under; `file://` and DIR if there is none
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,

    /// URL of the project's page, for the manifests
    #[arg(long, value_name = "URL")]
    homepage: Option<String>,
}

/// The name of an archive, or of what belongs to it, without its ending:
/// `kubectl-relay_certs_v1.2.3_linux_amd64`.
pub(crate) fn stem(plugin: &str, target: Target) -> String {
    format!("{}_{VERSION}_{target}", program(plugin))
}

/// The name of an archive.
pub(crate) fn archive_name(plugin: &str, target: Target) -> String {
    format!("{}.{}", stem(plugin, target), target.archive_extension())
}

/// The name of the bill of materials beside an archive.
pub(crate) fn bill_name(plugin: &str, target: Target) -> String {
    format!("{}.spdx.json", stem(plugin, target))
}

/// Puts a file into the directory, whole or not at all.
pub(crate) fn put(directory: &Path, name: &str, content: &[u8]) -> Result<PathBuf, String> {
    let path = directory.join(name);
    let unfinished = directory.join(format!(".{name}.unfinished"));
    let written = || {
        fs::create_dir_all(directory)?;
        fs::write(&unfinished, content)?;
        fs::rename(&unfinished, &path)
    };
    written().map_err(|err| format!("failed to write `{}`: {err}", path.display()))?;
    Ok(path)
}

/// Writes checksums and manifests for the archives of this version that are there.
///
/// # Errors
///
/// Says which plugin has no archive, or what failed.
pub(crate) fn complete(directory: &Path, origin: &Origin) -> Result<Vec<PathBuf>, String> {
    let mut checksums = Vec::new();
    let mut manifests = Vec::new();
    for plugin in PLUGINS {
        let mut platforms = Vec::new();
        for target in TARGETS {
            let name = archive_name(plugin, target);
            let Some(checksum) = checksum_of(directory, &name)? else {
                continue;
            };
            let uri = origin.uri(directory, &name)?;
            platforms.push(Platform::new(target, &program(plugin), uri, checksum.clone()));
            checksums.push((name, checksum));
            let bill = bill_name(plugin, target);
            checksums.extend(checksum_of(directory, &bill)?.map(|checksum| (bill, checksum)));
        }
        if platforms.is_empty() {
            return Err(format!(
                "there is no archive of {plugin} {VERSION} in `{directory}`\n  \
                 hint: make one: cargo run -p relay-krew --release -- package --out {directory}",
                directory = directory.display()
            ));
        }
        manifests.push((format!("{plugin}.yaml"), manifest(plugin, origin, platforms)?));
    }
    checksums.sort();
    let list: String = checksums
        .iter()
        .map(|(name, checksum)| format!("{checksum}  {name}\n"))
        .collect();
    let mut written = vec![put(directory, CHECKSUMS, list.as_bytes())?];
    for (name, manifest) in manifests {
        written.push(put(directory, &name, manifest.as_bytes())?);
    }
    Ok(written)
}

impl Origin {
    fn uri(&self, directory: &Path, name: &str) -> Result<String, String> {
        if let Some(base) = &self.base_url {
            return Ok(format!("{}/{name}", base.trim_end_matches('/')));
        }
        let path = directory.join(name).canonicalize();
        let path = path.map_err(|err| format!("failed to find `{name}`: {err}"))?;
        Ok(format!("file://{}", path.display()))
    }
}

/// The checksum of a file, if it is there.
fn checksum_of(directory: &Path, name: &str) -> Result<Option<String>, String> {
    let path = directory.join(name);
    match fs::read(&path) {
        Ok(content) => Ok(Some(sha256(&content))),
        Err(err) if err.kind() == ErrorKind::NotFound => Ok(None),
        Err(err) => Err(format!("failed to read `{}`: {err}", path.display())),
    }
}

fn manifest(plugin: &str, origin: &Origin, platforms: Vec<Platform>) -> Result<String, String> {
    let path = root().join("krew").join(format!("{plugin}.yaml"));
    fs::read_to_string(&path)
        .map_err(|err| format!("cannot be read: {err}"))
        .and_then(|template| {
            manifest::render(plugin, &template, VERSION, origin.homepage.as_deref(), platforms)
        })
        .map_err(|err| format!("`{}` {err}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(directory: &Path, target: Target, content: &str) {
        for plugin in PLUGINS {
            put(directory, &archive_name(plugin, target), content.as_bytes()).expect("writes");
        }
    }

    fn content(directory: &Path, name: &str) -> String {
        fs::read_to_string(directory.join(name)).expect("is there")
    }

    #[test]
    fn manifests_list_what_is_there_and_nothing_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let [linux, _, darwin, ..] = TARGETS;
        pack(directory.path(), darwin, "a");
        let origin = Origin {
            base_url: Some("https://example.com/v1/".to_owned()),
            homepage: None,
        };
        complete(directory.path(), &origin).expect("completes");
        let alone = content(directory.path(), "relay-certs.yaml");
        assert_eq!(alone.matches("sha256: ").count(), 1, "{alone}");
        let uri = format!("uri: https://example.com/v1/kubectl-relay_certs_{VERSION}_darwin_amd64.tar.gz\n");
        assert!(alone.contains(&uri), "{alone}");

        pack(directory.path(), linux, "b");
        pack(directory.path(), linux, "c");
        put(
            directory.path(),
            "kubectl-relay_certs_v0.0.0_linux_amd64.tar.gz",
            b"old",
        )
        .expect("writes");
        complete(directory.path(), &origin).expect("completes");
        let both = content(directory.path(), "relay-certs.yaml");
        assert_eq!(both.matches("sha256: ").count(), 2, "{both}");
        assert!(both.contains(&format!("sha256: {}\n", sha256(b"c"))), "{both}");
        let sums = content(directory.path(), CHECKSUMS);
        assert_eq!(sums.lines().count(), 6, "{sums}");
    }

    #[test]
    fn a_plugin_without_any_archive_is_an_error_and_nothing_is_written() {
        let directory = tempfile::tempdir().expect("a directory");
        put(directory.path(), &archive_name("relay-address", TARGETS[0]), b"a").expect("writes");
        let refused = complete(directory.path(), &Origin::default()).expect_err("is refused");
        assert!(
            refused.starts_with("there is no archive of relay-certs"),
            "{refused}"
        );
        assert!(!directory.path().join(CHECKSUMS).exists());
    }
}
