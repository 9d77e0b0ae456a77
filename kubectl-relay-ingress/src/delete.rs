//! `delete`: takes back what `apply` did, and nothing else.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Service;
use kube::api::{ApiResource, Preconditions};
use relay_shared::{
    ExitCode, Result,
    args::ClusterArgs,
    cluster::{Cluster, ObjectRef},
    plan::Action,
    render, services, terminal,
};
use serde_json::Value;

use crate::{
    cli::DeleteArgs,
    gateway_api,
    intent::{self, Intent},
    istio,
    observe::{self, Reach},
    service,
    target::made_for,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &DeleteArgs) -> Result<ExitCode> {
    let cluster = Cluster::management(&flags.load()?, flags)?;
    let named = args.service.service.as_deref();
    let found = services::relay_service(&cluster, &flags.namespace, named).await?;
    // Ours are found also where the relay server is gone.
    let service = found.as_ref().map(|(object, _)| object.name()).or(named);
    let labels = made_for(&flags.namespace, service);
    let (mut intents, mut is_whole) = (Vec::new(), true);
    if let Some((object, live)) = &found {
        intents.extend(restore(&cluster, object, live)?);
    }
    for kind in kinds(&cluster).await? {
        let ours = observe::list(&cluster, &kind, &flags.namespace, &labels).await?;
        is_whole &= ours.reach != Reach::Nowhere;
        intents.extend(ours.objects.into_iter().map(|live| delete(&kind, live)));
    }
    if intents.is_empty() {
        terminal::story(match is_whole {
            true => "nothing of ours is left: there is nothing to take back",
            false => "nothing of ours is to be seen: there is nothing to take back",
        });
        return Ok(ExitCode::Done);
    }
    let (report, _) = intent::carry_out(cluster, intents, args.dry_run.mode).await?;
    terminal::data(&render::report(&report, args.dry_run.mode))?;
    report.into_result()?;
    Ok(ExitCode::Done)
}

fn restore(cluster: &Cluster, object: &ObjectRef, live: &Service) -> Result<Option<Intent>> {
    let patch = service::restore(live).map_err(|e| e.context(cluster.context()).object(object))?;
    Ok(patch.map(|patch| Intent::restore(object.clone(), live, patch)))
}

/// The kinds of object that `apply` makes, as far as the cluster serves them.
async fn kinds(cluster: &Cluster) -> Result<Vec<ApiResource>> {
    let groups = [istio::GROUP, gateway_api::GROUP].map(|group| cluster.kinds(group));
    let kinds = try_join_all(groups).await?.into_iter().flatten();
    let made = ["Gateway", "VirtualService", "TLSRoute"];
    Ok(kinds.filter(|kind| made.contains(&kind.kind.as_str())).collect())
}

/// Deletes an object, if it still is what was read.
fn delete(kind: &ApiResource, live: Value) -> Intent {
    let text = |pointer| live.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
    let [namespace, name] = ["/metadata/namespace", "/metadata/name"].map(|p| text(p).unwrap_or_default());
    let preconditions = Preconditions {
        uid: text("/metadata/uid"),
        resource_version: text("/metadata/resourceVersion"),
    };
    let object = ObjectRef::dynamic(kind.clone(), &namespace, &name);
    Intent::new(object, Action::Delete(preconditions), live)
}
