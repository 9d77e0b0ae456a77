//! The flow of `init`: connect, observe, decide, issue, plan, write files, apply,
//! report.

use relay_shared::{
    ExitCode, Result, apply,
    args::{ClusterArgs, DryRun},
    relay::RelayHost,
    render, terminal,
};
use time::OffsetDateTime;

use crate::{
    cli::InitArgs,
    decision,
    directory::{self, RootKey},
    ending::{self, Ending},
    fleet::Fleet,
    found::{Files, Found},
    key::EncryptedKey,
    material::{self, Material},
    member::{MANAGER, Member, Places, Wanted},
    own,
    role::Role,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &InitArgs) -> Result<ExitCode> {
    let format = args.output.format()?;
    args.names.check()?;
    let places = Places {
        namespace: &flags.namespace,
        names: &args.names,
        service: args.service.service.as_deref(),
        identity_token: args.identity_token,
    };
    let files = own::read_brought(&args.issue.ca, &args.brought, &args.pki_dir)?;
    let fleet = Fleet::connect(&flags.load()?, flags, &args.remotes, args.keep_going)?;
    let mut fleet = fleet.observe(places).await?.agreeing();

    let host = fleet.host().clone();
    let mut notes = fleet.findings(args.identity_token);
    let (material, root_key) = issue(&mut fleet, files, &host, args, &mut notes).await?;
    let token = args.identity_token.then(|| fleet.identity_token()).transpose()?;
    let wanted = Wanted {
        material: &material,
        token: token.as_ref(),
        take_over: args.take_over,
    };
    let (plan, left_out) = fleet.plan(|member| member.plan(&wanted)).await?.into_plan(places);

    let changes = render::changes(&plan);
    if !changes.is_empty() {
        terminal::story(changes.trim_end());
    }
    notes.extend(ending::unchecked(&plan, args.dry_run.mode));
    let changed = !plan.is_empty() || material.issued().next().is_some();
    if args.dry_run.mode == DryRun::None {
        directory::write(&args.pki_dir, &material, &root_key)?;
    }
    let report = apply::carry_out(plan, MANAGER, args.dry_run.mode).await;
    let ending = Ending {
        args,
        host,
        material,
        notes,
        report,
        left_out,
        changed,
    };
    ending.tell(format.as_ref())
}

/// Decides where all certificates come from, and issues what is missing.
async fn issue(
    fleet: &mut Fleet<Member>,
    files: Files,
    host: &RelayHost,
    args: &InitArgs,
    notes: &mut Vec<String>,
) -> Result<(Material, RootKey)> {
    let now = OffsetDateTime::now_utc();
    let found = Found {
        roots: fleet.roots(),
        server: fleet.take_pair(Role::Server),
        signing: fleet.take_pair(Role::Signing),
        files,
    };
    let choices = args.issue.choices.of(host.clone())?;
    let mut unlock = |key: &EncryptedKey, place: &str| args.issue.root_key.password.unlock(key, place);
    let decision = decision::decide(found, choices, now, &mut unlock)?;
    notes.extend(decision.remarks.iter().cloned());
    let root_key = match decision.issues_root() && args.dry_run.mode == DryRun::None {
        true => args.issue.root_key.root_key()?,
        false => RootKey::Plain,
    };
    Ok((material::make(decision, now).await?, root_key))
}
