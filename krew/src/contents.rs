//! What is packed with a program: its licence and those of all it was built from,
//! completions, and its manual page.

use std::{collections::BTreeSet, fs, path::Path};

use auditable_info::Limits;

use crate::{
    archive::Entry,
    licences::{self, Package},
    target::Target,
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
    ];
    if let Some(path) = kubectl_completion(target, &name) {
        entries.push(Entry::program(path, prints(&["completion", "kubectl"])?));
    }
    for (shell, path) in COMPLETIONS {
        let script = prints(&["completion", shell])?;
        entries.push(Entry::file(path.replace("NAME", &name), script));
    }
    Ok(entries)
}

/// The file of what kubectl runs to complete, found beside the plugin by its name: a
/// script of the shell, which Windows does not run.
fn kubectl_completion(target: Target, program: &str) -> Option<String> {
    let name = program.replacen("kubectl", "kubectl_complete", 1);
    (!target.is_windows()).then(|| format!("completions/{name}"))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|err| format!("failed to read `{}`: {err}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_kubectl_completion(triple: &str, want: Option<&str>) {
        let target = Target::parse(triple).expect("is one of ours");
        let path = kubectl_completion(target, "kubectl-relay_certs");
        assert_eq!(path.as_deref(), want);
    }

    #[test]
    fn kubectl_finds_its_script_where_there_are_such() {
        let script = Some("completions/kubectl_complete-relay_certs");
        check_kubectl_completion("x86_64-unknown-linux-gnu", script);
        check_kubectl_completion("aarch64-apple-darwin", script);
        check_kubectl_completion("x86_64-pc-windows-msvc", None);
    }
}
