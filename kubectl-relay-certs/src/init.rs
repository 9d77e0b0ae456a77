//! The flow of `init`: connect, observe, decide, issue, plan, write files, apply,
//! report.

use relay_shared::{
    Error, ExitCode, Result,
    apply::{self, Outcome, Report},
    args::{ClusterArgs, DryRun},
    cluster::Writer,
    plan::{Plan, Step},
    relay::RelayHost,
    render, runtime,
    terminal::{self, Progress},
};
use serde_json::{Value, json};
use time::OffsetDateTime;

use crate::{
    cli::{InitArgs, SecretNames},
    directory::{self, RootKey},
    fleet::{Fleet, Places, Wanted},
    key::EncryptedKey,
    material::{self, Found, Material},
    next, own,
    secrets::Role,
};

/// Our name in `metadata.managedFields`.
pub(crate) const MANAGER: &str = "kubectl-relay-certs";

pub(crate) async fn run(flags: &ClusterArgs, args: &InitArgs) -> Result<ExitCode> {
    let now = OffsetDateTime::now_utc();
    let format = args.output.format()?;
    args.names.check()?;
    let places = Places {
        namespace: &flags.namespace,
        names: &args.names,
        service: args.service.service.as_deref(),
        identity_token: args.identity_token,
    };
    let files = own::read_brought(&args.issue.ca, &args.brought, &args.pki_dir)?;
    let kubeconfig = flags.load()?;
    let fleet = Fleet::connect(&kubeconfig, flags, &args.remotes, args.keep_going)?;
    let mut fleet = fleet.observe(places).await?.agreeing()?;

    let host = fleet.host().clone();
    let mut notes = fleet.findings(args.identity_token);
    let found = Found {
        roots: fleet.roots(),
        server: fleet.take_pair(Role::Server),
        signing: fleet.take_pair(Role::Signing),
        files,
    };
    let choices = args.issue.choices.of(host.clone())?;
    let mut unlock = |key: &EncryptedKey, place: &str| args.issue.root_key.password.unlock(key, place);
    let decision = material::decide(found, choices, now, &mut unlock)?;
    notes.extend(decision.remarks.iter().cloned());
    let root_key = match decision.issues_root() && args.dry_run == DryRun::None {
        true => args.issue.root_key.root_key()?,
        false => RootKey::Plain,
    };
    let material = {
        let _spinner = decision
            .issues()
            .then(|| Progress::spinner("making keys and certificates"));
        runtime::compute(move || decision.issue(now)).await?
    };
    let token = args.identity_token.then(|| fleet.identity_token()).transpose()?;
    let wanted = Wanted {
        material: &material,
        token: token.as_ref(),
        take_over: args.take_over,
    };
    let (plan, left_out) = fleet.plan(&wanted).await?.into_plan(places);

    let changes = render::changes(&plan);
    if !changes.is_empty() {
        terminal::story(changes.trim_end());
    }
    notes.extend(unchecked(&plan, args.dry_run));
    let changed = !plan.is_empty() || material.issued().next().is_some();
    if args.dry_run == DryRun::None {
        directory::write(&args.pki_dir, &material, &root_key)?;
    }
    let report = match args.dry_run {
        DryRun::Client => apply::foresee(plan),
        DryRun::None | DryRun::Server => {
            let writer = Writer {
                manager: MANAGER,
                dry_run: args.dry_run == DryRun::Server,
            };
            apply::apply(plan, writer).await
        }
    };
    let ended = Ended {
        args,
        host,
        management: report.clusters[0].context.clone(),
        material,
        notes,
        left_out,
        changed,
    };
    let shown = match &format {
        Some(format) => render::documents(&[ended.document(&report)], format)?,
        None => render::report(&report, args.dry_run),
    };
    terminal::data(&shown)?;
    ended.tell(report, format.is_some())
}

/// What is left to be said once everything was done.
struct Ended<'a> {
    args: &'a InitArgs,
    host: RelayHost,
    management: String,
    material: Material,
    notes: Vec<String>,
    left_out: Vec<Error>,
    changed: bool,
}

impl Ended<'_> {
    /// Tells the rest of the story: briefly, where a document was asked for.
    fn tell(self, report: Report, briefly: bool) -> Result<ExitCode> {
        let args = self.args;
        for note in &self.notes {
            terminal::story(note);
        }
        let unmet = args
            .issue
            .root_key
            .unmet(&directory::key_path(&args.pki_dir, Role::Root));
        if let Some(unmet) = unmet.filter(|_| args.dry_run == DryRun::None) {
            terminal::story(&unmet);
        }
        if directory::is_readable_by_others(&args.pki_dir) {
            let directory = args.pki_dir.display();
            terminal::story(&format!(
                "{directory} can be read by others: chmod -R go= {directory}"
            ));
        }
        if lost_race(&report, &args.names) {
            terminal::story(&format!(
                "Another run made the root first, and this one wrote no more. Move {} away and run\n\
                 again: the clusters get what that run has made.",
                args.pki_dir.display()
            ));
        }
        let remote = report.clusters.get(1).map(|cluster| cluster.context.clone());
        report.into_result()?;
        match (briefly, args.dry_run) {
            (true, _) => {}
            (false, DryRun::None) => {
                terminal::story(&summary(args, &self.material));
                let next = next::steps(&self.host, &args.names, &self.management, remote.as_deref())?;
                terminal::story(&next);
                if !self.changed {
                    terminal::story("Nothing changed: every cluster holds what it should.");
                }
            }
            (false, _) => terminal::story("Nothing was written: this was a dry run."),
        }
        let (what, them) = match self.left_out.len() {
            0 => return Ok(ExitCode::Done),
            1 => ("1 cluster was left out".to_owned(), "it"),
            more => (format!("{more} clusters were left out"), "them"),
        };
        Err(Error::new(what).causes(self.left_out).hint(format!(
            "mend {them} and run the same command again; it changes nothing elsewhere"
        )))
    }

    /// What `-o json` prints:
    ///
    /// ```json
    /// {
    ///     "certificates": [{ "name": "relay-root", "issued": true, "sha256": "…" }],
    ///     "clusters": [ … ],
    ///     "dryRun": "none",
    ///     "helm": [{ "generation": "1.x", "server": { … }, "agent": { … } }],
    ///     "leftOut": ["error: …"],
    ///     "notes": ["…"]
    /// }
    /// ```
    ///
    /// `clusters` is as [`render::report_document`] has it. Of a dry run, what was
    /// issued is gone: another run issues other certificates.
    fn document(&self, report: &Report) -> Value {
        let issued: Vec<_> = self.material.issued().map(|issued| issued.role).collect();
        let certificates = self.material.certificates().map(|(role, certificate)| {
            json!({
                "name": role.stem(),
                "issued": issued.contains(&role),
                "sha256": certificate.fingerprint().to_string(),
            })
        });
        let helm = next::values(&self.host, &self.args.names)
            .into_iter()
            .map(|values| {
                json!({
                    "generation": values.generation,
                    "server": values.server,
                    "agent": values.agent,
                })
            });
        json!({
            "certificates": certificates.collect::<Vec<_>>(),
            "clusters": render::report_document(report),
            "dryRun": match self.args.dry_run {
                DryRun::None => "none",
                DryRun::Client => "client",
                DryRun::Server => "server",
            },
            "helm": helm.collect::<Vec<_>>(),
            "leftOut": self.left_out.iter().map(Error::to_string).collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }
}

/// What a server that only checks cannot check: what lives in a namespace that is
/// not there.
fn unchecked(plan: &Plan, dry_run: DryRun) -> Vec<String> {
    let clusters = plan.clusters.iter().filter(|_| dry_run == DryRun::Server);
    let clusters = clusters.filter(|cluster| cluster.steps.iter().any(Step::creates_namespace));
    let contexts: Vec<_> = clusters
        .map(|cluster| format!("{:?}", cluster.cluster.context()))
        .collect();
    let note = format!(
        "the namespace is not there yet, so no server has checked what goes into it: context {}",
        contexts.join(", ")
    );
    (!contexts.is_empty()).then_some(note).into_iter().collect()
}

/// Whether another run has made a root in the meantime, so that ours is of no use.
fn lost_race(report: &Report, names: &SecretNames) -> bool {
    let mut objects = report
        .clusters
        .iter()
        .take(1)
        .flat_map(|cluster| &cluster.objects);
    objects.any(|report| match &report.outcome {
        Outcome::Failed(error) => error.is_already_there() && report.object.name() == names.of(Role::Root),
        _ => false,
    })
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
        "\nSHA-256 of the certificates:\n{}\n{key}\n",
        render::columns(&rows)
    )
}
