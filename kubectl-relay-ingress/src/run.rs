//! The flow of `kubectl relay-ingress`: connect, observe, plan, apply, report.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    Error, ExitCode, Result, apply,
    args::{ClusterArgs, DryRun},
    cluster::{Cluster, Conflicts, ObjectRef, Writer},
    exposure,
    manifest::Manifest,
    plan::{Action, ClusterPlan, Plan, Presence, Step},
    relay, render, terminal,
};
use serde_json::Value;

use crate::{
    cli::{ApplyArgs, Cli, Command, Via},
    istio, service,
};

/// Our name in `metadata.managedFields`.
const MANAGER: &str = "kubectl-relay-ingress";

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Apply(args) => apply(&cli.cluster, args).await,
        Command::About(about) => about.run::<Cli>(&cli.cluster).await,
    }
}

async fn apply(flags: &ClusterArgs, args: &ApplyArgs) -> Result<ExitCode> {
    let format = args.output.format()?;
    let kubeconfig = flags.load()?;
    let cluster = Cluster::management(&kubeconfig, flags)?;
    let named = args.service.service.as_deref();
    let found = exposure::relay_service(&cluster, &flags.namespace, named).await?;
    let changes = match args.via {
        Via::LoadBalancer => vec![change_service(&cluster, found, named, &flags.namespace)?],
        Via::Istio => change_istio(&cluster, found, named, &flags.namespace).await?,
    };

    let (steps, documents): (Vec<_>, Vec<_>) = changes.into_iter().unzip();
    let plan = Plan {
        clusters: vec![ClusterPlan { cluster, steps }],
    };
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
    let shown = match &format {
        Some(format) if report.is_done() => render::documents(&documents, format)?,
        _ => render::report(&report, args.dry_run),
    };
    terminal::data(&shown)?;
    report.into_result()?;
    if args.dry_run == DryRun::None && format.is_none() {
        terminal::story("next: kubectl relay-address prints the address to register clusters with");
    }
    Ok(ExitCode::Done)
}

/// What is to be done about an object, and the object as it will be.
type Change = (Step, Value);

fn change_service(
    cluster: &Cluster,
    found: Option<(ObjectRef, Service)>,
    named: Option<&str>,
    namespace: &str,
) -> Result<Change> {
    let Some((object, service)) = found else {
        let object = ObjectRef::new::<Service>(namespace, named.unwrap_or(relay::SERVICES[0]));
        return Err(Error::new("there is no relay service to expose")
            .context(cluster.context())
            .object(object)
            .hint("install Gloo Mesh Enterprise first, or say where it is with --namespace and --service"));
    };
    let patch = service::retype(&service, "LoadBalancer");
    let action = patch.map_or(Action::Unchanged, |patch| Action::Merge(Manifest::new(patch)));
    let document = service::with_type(service, "LoadBalancer");
    Ok((Step { object, action }, document))
}

async fn change_istio(
    cluster: &Cluster,
    found: Option<(ObjectRef, Service)>,
    named: Option<&str>,
    namespace: &str,
) -> Result<Vec<Change>> {
    let (object, service) = found.unzip();
    let host = exposure::relay_host(object.as_ref(), named, namespace);
    let objects = istio::objects(&host, service::grpc_port(service.as_ref()));
    let changes = objects.into_iter().map(async |(object, document)| {
        let live = cluster.get::<Value>(&object).await;
        let action = match live.map_err(|e| e.hint(istio::HINT))? {
            Some(live) if istio::holds(&live, &document) => Action::Unchanged,
            Some(_) => Action::Apply(
                Manifest::new(document.clone()),
                Presence::Present,
                Conflicts::Refused,
            ),
            None => Action::Apply(
                Manifest::new(document.clone()),
                Presence::Absent,
                Conflicts::Refused,
            ),
        };
        Ok((Step { object, action }, document))
    });
    try_join_all(changes).await
}
