//! `apply`: connect, observe, plan, apply, report.

use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    Error, ExitCode, Result,
    apply::{self, ClusterReport, Report},
    args::{ClusterArgs, DryRun},
    cluster::{Cluster, Conflicts, ObjectRef, Writer},
    exposure,
    manifest::Manifest,
    plan::{Action, ClusterPlan, Plan, Step},
    render, terminal,
};
use serde_json::{Value, json};

use crate::{
    change::{self, Change},
    cli::{ApplyArgs, Via},
    istio, service,
    target::{MANAGER, Target},
};

pub(crate) async fn run(flags: &ClusterArgs, args: &ApplyArgs) -> Result<ExitCode> {
    let format = args.output.format()?;
    let site = Site::observe(flags, args).await?;
    let changes = match args.via {
        Via::LoadBalancer => vec![site.change_service("LoadBalancer", args)?],
        Via::NodePort => vec![site.change_service("NodePort", args)?],
        Via::Istio => site.change_istio(args).await?,
    };
    changes.iter().for_each(Change::tell);

    let (steps, documents) = change::unzip(changes);
    let report = match site.cluster {
        Some(cluster) => carry_out(cluster, steps, args.dry_run).await,
        None => Report {
            clusters: vec![ClusterReport::foreseen(
                flags.context.as_deref().unwrap_or("-"),
                steps,
            )],
        },
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

/// What there is to work with: the cluster and its relay server, or, for a dry run
/// of the client, neither.
struct Site {
    cluster: Option<Cluster>,
    /// The relay server's Service, if there is one.
    found: Option<(ObjectRef, Service)>,
    target: Target,
}

impl Site {
    /// Looks for the relay server. A dry run of the client goes on without a cluster.
    async fn observe(flags: &ClusterArgs, args: &ApplyArgs) -> Result<Self> {
        let named = args.service.service.as_deref();
        let observed = async {
            let cluster = Cluster::management(&flags.load()?, flags)?;
            let found = exposure::relay_service(&cluster, &flags.namespace, named).await?;
            Result::<_>::Ok((Some(cluster), found))
        };
        let (cluster, found) = match observed.await {
            Err(error) if args.dry_run == DryRun::Client && error.exit_code() != ExitCode::Usage => {
                not_checked(
                    "the cluster cannot be read, so everything is taken to be as on the page",
                    &error,
                );
                (None, None)
            }
            observed => observed?,
        };
        let relay = exposure::relay_host(found.as_ref().map(|(object, _)| object), named, &flags.namespace);
        let target = Target::new(relay, found.as_ref().map(|(_, service)| service), &args.gateway);
        Ok(Self {
            cluster,
            found,
            target,
        })
    }

    fn change_service(&self, type_: &str, args: &ApplyArgs) -> Result<Change> {
        let relay = &self.target.relay;
        let object = ObjectRef::new::<Service>(relay.namespace(), relay.service());
        match (&self.cluster, &self.found) {
            (Some(cluster), Some((object, live))) => {
                let patch = service::expose(live, type_, &args.service_annotation);
                let patch = patch.map_err(|e| e.context(cluster.context()).object(object))?;
                Ok(Change::patch(object.clone(), live, patch))
            }
            (Some(cluster), None) => Err(Error::new("there is no relay service to expose")
                .context(cluster.context())
                .object(object)
                .hint(
                    "install Gloo Mesh Enterprise first, or say where it is with --namespace and --service",
                )),
            (None, _) => {
                let mut document = json!({
                    "apiVersion": "v1",
                    "kind": "Service",
                    "metadata": { "name": relay.service(), "namespace": relay.namespace() },
                    "spec": { "type": type_ },
                });
                for (key, value) in &args.service_annotation {
                    document["metadata"]["annotations"][key] = json!(value);
                }
                let action = Action::Merge(Manifest::new(document.clone()));
                Ok(Change::new(object, action, document))
            }
        }
    }

    async fn change_istio(&self, args: &ApplyArgs) -> Result<Vec<Change>> {
        let conflicts = match args.force_conflicts {
            true => Conflicts::Overridden,
            false => Conflicts::Refused,
        };
        let changes = istio::objects(&self.target)
            .into_iter()
            .map(async |(object, document)| {
                let live = match &self.cluster {
                    Some(cluster) => cluster
                        .get::<Value>(&object)
                        .await
                        .map_err(|e| e.hint(istio::HINT)),
                    None => Ok(None),
                };
                let live = match live {
                    Err(error) if args.dry_run == DryRun::Client => {
                        not_checked("whether it is there already", &error);
                        None
                    }
                    live => live?,
                };
                Ok(Change::apply(object, live.as_ref(), document, conflicts))
            });
        try_join_all(changes).await
    }
}

/// Says what a dry run could not find out, and why.
fn not_checked(what: &str, why: &Error) {
    terminal::story(&format!(
        "not checked: {what}\n  {}",
        why.to_string().replace('\n', "\n  ")
    ));
}

pub(crate) async fn carry_out(cluster: Cluster, steps: Vec<Step>, dry_run: DryRun) -> Report {
    let plan = Plan {
        clusters: vec![ClusterPlan { cluster, steps }],
    };
    match dry_run {
        DryRun::Client => apply::foresee(plan),
        DryRun::None | DryRun::Server => {
            let writer = Writer {
                manager: MANAGER,
                dry_run: dry_run == DryRun::Server,
            };
            apply::apply(plan, writer).await
        }
    }
}
