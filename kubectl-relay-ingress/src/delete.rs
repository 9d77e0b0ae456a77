//! `delete`: takes back what `apply` did, and nothing else.

use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    ExitCode, Result,
    args::ClusterArgs,
    cluster::{Cluster, ObjectRef},
    exposure, render, terminal,
};

use crate::{
    apply::carry_out,
    change::{self, Change},
    cli::DeleteArgs,
    service,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &DeleteArgs) -> Result<ExitCode> {
    let cluster = Cluster::management(&flags.load()?, flags)?;
    let named = args.service.service.as_deref();
    let found = exposure::relay_service(&cluster, &flags.namespace, named).await?;
    let mut changes = Vec::new();
    if let Some((object, live)) = found {
        changes.extend(restore(&cluster, object, &live)?);
    }
    if changes.is_empty() {
        terminal::story("nothing of ours is left: there is nothing to take back");
        return Ok(ExitCode::Done);
    }
    changes.iter().for_each(Change::tell);
    let (steps, _) = change::unzip(changes);
    let report = carry_out(cluster, steps, args.dry_run).await;
    terminal::data(&render::report(&report, args.dry_run))?;
    report.into_result()?;
    Ok(ExitCode::Done)
}

fn restore(cluster: &Cluster, object: ObjectRef, live: &Service) -> Result<Option<Change>> {
    let patch = service::restore(live).map_err(|e| e.context(cluster.context()).object(&object))?;
    Ok(patch.map(|patch| Change::patch(object, live, Some(patch))))
}
