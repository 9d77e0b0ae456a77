//! The flow of `generate`: read the files, decide, issue, write, report. No cluster
//! is asked for anything.

use std::path::{Path, PathBuf};

use relay_shared::{ExitCode, Result, args::ClusterArgs, relay::RelayHost, render, terminal};
use time::OffsetDateTime;

use crate::{
    cli::GenerateArgs,
    decision,
    directory::{self, RootKey},
    found::{Found, Pair},
    key::EncryptedKey,
    material::{self, Material},
    own,
    role::Role,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &GenerateArgs) -> Result<ExitCode> {
    let now = OffsetDateTime::now_utc();
    let host = RelayHost::of(args.service.service.as_deref(), &flags.namespace);
    let choices = args.issue.choices.of(host)?;
    let found = Found {
        roots: Vec::new(),
        server: Pair::default(),
        signing: Pair::default(),
        files: own::read(&args.issue.ca, &args.pki_dir)?,
    };
    let mut unlock = |key: &EncryptedKey, place: &str| args.issue.root_key.password.unlock(key, place);
    let decision = decision::decide(found, choices, now, &mut unlock)?;
    let root_key = match decision.issues_root() {
        true => args.issue.root_key.root_key()?,
        false => RootKey::Plain,
    };
    let remarks = decision.remarks.clone();
    let material = material::make(decision, now).await?;
    let written = directory::write(&args.pki_dir, &material, &root_key)?;
    terminal::data(&report(&args.pki_dir, &material, &written))?;
    for remark in remarks {
        terminal::story(&remark);
    }
    let unmet = args
        .issue
        .root_key
        .unmet(&directory::key_path(&args.pki_dir, Role::Root));
    if let Some(unmet) = unmet {
        terminal::story(&unmet);
    }
    if written.is_empty() {
        terminal::story("Nothing changed: the directory holds what it should.");
    }
    Ok(ExitCode::Done)
}

/// A line for each file of the directory: its name, whether it is new, and the
/// SHA-256 of its certificate.
fn report(directory: &Path, material: &Material, written: &[PathBuf]) -> String {
    let mut rows = Vec::new();
    for role in [Role::Root, Role::Server, Role::Signing] {
        let fingerprint = material.certificates().find(|(of, _)| *of == role);
        let fingerprint = fingerprint.map(|(_, certificate)| certificate.fingerprint().to_string());
        let certificate = directory::certificate_path(directory, role);
        let key = directory::key_path(directory, role);
        let files = [(certificate, fingerprint), (key, None)].into_iter();
        rows.extend(files.filter(|(path, _)| path.exists()).map(|(path, print)| {
            let became = directory::became(written, &path).to_owned();
            [path.display().to_string(), became, print.unwrap_or_default()]
        }));
    }
    render::columns(&rows)
}
