//! The flow of `manifests`: the Secrets of a kind of cluster, for who keeps them in
//! files. No cluster is asked for anything.

use std::path::Path;

use k8s_openapi::api::core::v1::Secret;
use relay_shared::{
    Error, ExitCode, Result, args::ClusterArgs, cluster::ObjectRef, manifest::Manifest, output::Format,
    relay::RelayHost, render, soundness, terminal,
};
use time::OffsetDateTime;
use zeroize::Zeroizing;

use crate::{
    choices::Choices,
    cli::{ClusterKind, ManifestsArgs},
    decision, directory,
    found::{Found, Pair},
    own,
    role::Role,
    secrets::{self, Contents},
};

pub(crate) async fn run(flags: &ClusterArgs, args: &ManifestsArgs) -> Result<ExitCode> {
    args.names.check()?;
    let format = args.output.format()?.unwrap_or(Format::Yaml);
    let manifests = match args.kind {
        ClusterKind::Management => management(flags, args)?,
        ClusterKind::Remote => remote(flags, args)?,
    };
    if let Some(directory) = &args.output_dir {
        return write(directory, &manifests);
    }
    match args.show_keys {
        true => Manifest::with_private(&manifests, |objects| {
            terminal::data(&Zeroizing::new(render::documents(objects, &format)?))
        })?,
        false => {
            let shown: Vec<_> = manifests
                .iter()
                .map(|manifest| manifest.shown().clone())
                .collect();
            terminal::data(&render::documents(&shown, &format)?)?;
            if manifests.iter().any(Manifest::has_private) {
                terminal::story(
                    "Keys are left out: --output-dir writes whole files, --show-keys prints them.",
                );
            }
        }
    }
    Ok(ExitCode::Done)
}

/// All three Secrets, if the files hold all that goes into them.
fn management(flags: &ClusterArgs, args: &ManifestsArgs) -> Result<Vec<Manifest>> {
    let now = OffsetDateTime::now_utc();
    let host = RelayHost::of(args.service.service.as_deref(), &flags.namespace);
    let found = Found {
        roots: Vec::new(),
        server: Pair::default(),
        signing: Pair::default(),
        files: own::read_brought(&args.ca, &args.brought, &args.pki_dir)?,
    };
    let incomplete = || {
        let directory = args.pki_dir.display();
        Error::new(format!("{directory} does not hold all certificates")).hint(format!(
            "complete it with kubectl relay-certs generate --pki-dir {directory}"
        ))
    };
    let mut unlock = |_: &_, _: &str| Err(incomplete());
    let decision = decision::decide(found, Choices::none(host), now, &mut unlock)?;
    if decision.issues() {
        return Err(incomplete());
    }
    for remark in &decision.remarks {
        terminal::story(remark);
    }
    let material = decision.issue(now)?;
    let all = [Role::Root, Role::Server, Role::Signing];
    let all = all.map(|role| manifest(flags, args, role, &material.contents(role)));
    Ok(all.into())
}

/// The root's Secret.
fn remote(flags: &ClusterArgs, args: &ManifestsArgs) -> Result<Vec<Manifest>> {
    let root = own::read_brought(&args.ca, &args.brought, &args.pki_dir)?.root;
    if root.certificates.is_empty() {
        return Err(Error::new(format!("{} is not there", root.place))
            .hint("give the --pki-dir that the root was made in, or the root with --ca-cert"));
    }
    let findings = soundness::of_trusted(&root.certificates, OffsetDateTime::now_utc());
    if let Some(defect) = findings.error() {
        return Err(Error::new(format!("{} {defect}", root.place)));
    }
    let contents = Contents {
        roots: &root.certificates,
        pair: None,
    };
    Ok(vec![manifest(flags, args, Role::Root, &contents)])
}

fn manifest(flags: &ClusterArgs, args: &ManifestsArgs, role: Role, contents: &Contents<'_>) -> Manifest {
    let object = ObjectRef::new::<Secret>(&flags.namespace, args.names.of(role));
    secrets::manifest(&object, contents)
}

/// Writes each manifest, keys included, into a file of its own.
fn write(directory: &Path, manifests: &[Manifest]) -> Result<ExitCode> {
    let rows = Manifest::with_private(manifests, |objects| {
        let mut files = Vec::new();
        for object in objects {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let text = render::documents(std::slice::from_ref(object), &Format::Yaml)?;
            files.push((directory.join(format!("{name}.yaml")), Zeroizing::new(text)));
        }
        let written = directory::write_whole(directory, &files)?;
        let rows = files.iter().map(|(path, _)| {
            let became = directory::became(&written, path).to_owned();
            [path.display().to_string(), became]
        });
        Result::Ok(rows.collect::<Vec<_>>())
    })?;
    terminal::data(&render::columns(&rows))?;
    terminal::story("These files hold private keys: encrypt them before they go into a repository.");
    Ok(ExitCode::Done)
}
