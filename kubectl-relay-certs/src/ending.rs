//! What `init` says once it is done: the report, what to know about it, and what to
//! do next.

use relay_shared::{
    Error, ExitCode, Result,
    apply::{Outcome, Report},
    args::DryRun,
    output::Format,
    plan::{Plan, Step},
    relay::RelayHost,
    render, terminal,
};
use serde_json::{Value, json};

use crate::{
    cli::InitArgs,
    directory,
    material::{Issued, Material},
    next,
    role::Role,
};

/// All that there is to say.
pub(crate) struct Ending<'a> {
    pub(crate) args: &'a InitArgs,
    pub(crate) host: RelayHost,
    pub(crate) material: Material,
    /// What the user should know, a sentence each.
    pub(crate) notes: Vec<String>,
    pub(crate) report: Report,
    /// What is wrong with the remotes that were left out.
    pub(crate) left_out: Vec<Error>,
    /// Whether anything was to be written, to a cluster or the directory.
    pub(crate) changed: bool,
}

impl Ending<'_> {
    /// Prints the report, as a document if one is asked for, and tells the rest.
    ///
    /// # Errors
    /// If anything was not done, or a remote was left out.
    pub(crate) fn tell(self, format: Option<&Format>) -> Result<ExitCode> {
        let args = self.args;
        let shown = match format {
            Some(format) => render::documents(&[self.document()], format)?,
            None => render::report(&self.report, args.dry_run.mode),
        };
        terminal::data(&shown)?;
        for note in &self.notes {
            terminal::story(note);
        }
        let root_key = directory::key_path(&args.pki_dir, Role::Root);
        let unmet = args.issue.root_key.unmet(&root_key);
        if let Some(unmet) = unmet.filter(|_| args.dry_run.mode == DryRun::None) {
            terminal::story(&unmet);
        }
        if directory::is_readable_by_others(&args.pki_dir) {
            let directory = args.pki_dir.display();
            terminal::story(&format!(
                "{directory} can be read by others: chmod -R go= {directory}"
            ));
        }
        if self.lost_race() {
            terminal::story(&format!(
                "Another run made the root first, and this one wrote no more. Move {} away and run\n\
                 again: the clusters get what that run has made.",
                args.pki_dir.display()
            ));
        }
        if self.report.is_done() && format.is_none() {
            match args.dry_run.mode {
                DryRun::None => self.go_on()?,
                DryRun::Client | DryRun::Server => {
                    terminal::story("Nothing was written: this was a dry run.");
                }
            }
        }
        match (self.report.into_result(), left_out(self.left_out)) {
            (done, Ok(())) => done,
            (Ok(()), left_out) => left_out,
            (Err(failed), Err(left_out)) => {
                Err(Error::new("not everything is done").causes([failed, left_out]))
            }
        }?;
        Ok(ExitCode::Done)
    }

    /// Says what there is now and what comes next.
    fn go_on(&self) -> Result<()> {
        let mut contexts = self
            .report
            .clusters
            .iter()
            .map(|cluster| cluster.context.as_str());
        let management = contexts.next().unwrap_or_default();
        terminal::story(&summary(self.args, &self.material));
        let next = next::steps(&self.host, &self.args.names, management, contexts.next())?;
        terminal::story(&next);
        match (self.changed, self.left_out.is_empty()) {
            (true, _) => {}
            (false, true) => terminal::story("Nothing changed: every cluster holds what it should."),
            (false, false) => terminal::story("Nothing changed."),
        }
        Ok(())
    }

    /// Whether another run has made a root in the meantime, so that ours is of no use.
    fn lost_race(&self) -> bool {
        let name = self.args.names.of(Role::Root);
        let management = self.report.clusters.iter().take(1);
        let mut objects = management.flat_map(|cluster| &cluster.objects);
        let made = objects.any(|report| match &report.outcome {
            Outcome::Failed(error) => error.is_already_there() && report.object.name() == name,
            _ => false,
        });
        made && self
            .material
            .issued()
            .any(|Issued { role, .. }| role == Role::Root)
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
    fn document(&self) -> Value {
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
            "clusters": render::report_document(&self.report),
            "dryRun": match self.args.dry_run.mode {
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
pub(crate) fn unchecked(plan: &Plan, dry_run: DryRun) -> Vec<String> {
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

/// The error of the remotes that were left out, if there are any.
fn left_out(errors: Vec<Error>) -> Result<()> {
    let (what, them) = match errors.len() {
        0 => return Ok(()),
        1 => ("1 cluster was left out".to_owned(), "it"),
        more => (format!("{more} clusters were left out"), "them"),
    };
    Err(Error::new(what).causes(errors).hint(format!(
        "mend {them} and run the same command again; it changes nothing elsewhere"
    )))
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
