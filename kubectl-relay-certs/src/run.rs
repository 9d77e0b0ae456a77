//! The flow of `kubectl relay-certs`: connect, observe, decide, issue, plan,
//! write files, apply, report.

use relay_shared::{
    ExitCode, Result, apply,
    args::{ClusterArgs, DryRun},
    cluster::Writer,
    render, runtime,
    terminal::{self, Progress},
};
use time::OffsetDateTime;

use crate::{
    cli::{Cli, Command, InitArgs},
    directory::{self, RootKey},
    fleet::Fleet,
    generate,
    key::EncryptedKey,
    material::{self, Found, Material},
    own,
    secrets::Role,
};

/// Our name in `metadata.managedFields`.
const MANAGER: &str = "kubectl-relay-certs";

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Init(args) => init(&cli.cluster, args).await,
        Command::Generate(args) => generate::run(&cli.cluster, args).await,
        Command::About(about) => about.run::<Cli>(&cli.cluster).await,
    }
}

async fn init(flags: &ClusterArgs, args: &InitArgs) -> Result<ExitCode> {
    let now = OffsetDateTime::now_utc();
    let files = own::read(&args.issue.own, &args.pki_dir)?;
    let kubeconfig = flags.load()?;
    let fleet = Fleet::connect(&kubeconfig, flags, &args.remotes)?;
    let named = args.service.service.as_deref();
    let (host, mut fleet) = fleet
        .observe(&flags.namespace, named, args.remotes.parallel)
        .await?;

    let found = Found {
        roots: fleet.roots(),
        server: fleet.take_pair(Role::Server),
        signing: fleet.take_pair(Role::Signing),
        files,
    };
    let choices = args.issue.choices.of(host)?;
    let mut unlock = |key: &EncryptedKey, place: &str| args.issue.root_key.unlock(key, place);
    let decision = material::decide(found, choices, now, &mut unlock)?;
    let root_key = match decision.issues_root() {
        true => args.issue.root_key.root_key()?,
        false => RootKey::Plain,
    };
    let remarks = decision.remarks.clone();
    let material = {
        let _spinner = decision
            .issues()
            .then(|| Progress::spinner("making keys and certificates"));
        runtime::compute(move || decision.issue(now)).await?
    };
    let plan = fleet.plan(&material, &flags.namespace)?;

    let nothing_to_do = plan.is_empty() && material.issued().next().is_none();
    directory::write(&args.pki_dir, &material, &root_key)?;
    let writer = Writer {
        manager: MANAGER,
        dry_run: false,
    };
    let report = apply::apply(plan, writer).await;
    terminal::data(&render::report(&report, DryRun::None))?;
    for remark in remarks {
        terminal::story(&remark);
    }
    if directory::is_readable_by_others(&args.pki_dir) {
        let directory = args.pki_dir.display();
        terminal::story(&format!(
            "{directory} can be read by others: chmod -R go= {directory}"
        ));
    }
    report.into_result()?;
    terminal::story(&summary(args, &material));
    if nothing_to_do {
        terminal::story("Nothing changed: every cluster holds what it should.");
    }
    Ok(ExitCode::Done)
}

/// The fingerprints to compare, and where the root's key is.
fn summary(args: &InitArgs, material: &Material) -> String {
    let rows: Vec<_> = material
        .certificates()
        .map(|(role, certificate)| {
            let name = format!("{}.crt", role.stem());
            [name, certificate.fingerprint().to_string()]
        })
        .collect();
    let key = directory::key_path(&args.pki_dir, Role::Root);
    let key = match key.exists() {
        true => format!(
            "The root's key is {}.\n\
             Who has it can make certificates that every cluster trusts: keep it somewhere\n\
             safe. Agents and servers do not need it.",
            key.display()
        ),
        false => format!(
            "The root's key is not in {}; adding clusters does not need it.",
            args.pki_dir.display()
        ),
    };
    format!(
        "\nSHA-256 of the certificates:\n{}\n{key}",
        render::columns(&rows)
    )
}
