//! What every rotation ends with: plan, write files, apply, report, and say what comes
//! next.

use relay_shared::{Result, apply, plan::Plan, render, terminal};
use serde_json::json;

use crate::{
    fleet::Fleet,
    member::{MANAGER, Member},
    rotate_args::CommonArgs,
    turnover::Becomes,
};

impl CommonArgs {
    /// Plans what the clusters become, keeps on disk what that takes, and carries the
    /// plan out, as far as the flags let it. Before anything is written, all is checked.
    ///
    /// # Errors
    /// If it may not be done, or something failed, after the report.
    pub(crate) async fn carry_out(
        &self,
        namespace: &str,
        fleet: Fleet<Member>,
        becomes: &Becomes<'_>,
        keep: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        let fleet = fleet.plan(|member| member.turn(becomes)).await?;
        let (plan, _) = fleet.into_plan(self.places(namespace));
        if self.writes() {
            keep()?;
        }
        self.apply(plan).await
    }

    /// Shows a plan, applies it and reports.
    async fn apply(&self, plan: Plan) -> Result<()> {
        let format = self.output.format()?;
        let changes = render::changes(&plan);
        if !changes.is_empty() {
            terminal::story(changes.trim_end());
        }
        let report = apply::carry_out(plan, MANAGER, self.dry_run.mode).await;
        let shown = match &format {
            Some(format) => {
                let document = json!({ "clusters": render::report_document(&report) });
                render::documents(&[document], format)?
            }
            None => render::report(&report, self.dry_run.mode),
        };
        terminal::data(&shown)?;
        report.into_result()
    }

    /// Says what comes next, unless nothing was done.
    pub(crate) fn then(&self, what: &str) {
        terminal::story(match self.writes() {
            true => what,
            false => "Nothing was written: this was a dry run.",
        });
    }
}
