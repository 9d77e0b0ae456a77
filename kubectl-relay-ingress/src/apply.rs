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
use serde_json::json;

use crate::{
    change::{self, Change},
    cli::{ApplyArgs, Via},
    istio::{self, Kinds},
    lint::{Lint, Severity},
    observe::{self, Istio, not_checked},
    route::Route,
    service,
    target::{MANAGER, Relay, Target},
};

pub(crate) async fn run(flags: &ClusterArgs, args: &ApplyArgs) -> Result<ExitCode> {
    let format = args.output.format()?;
    let site = Site::observe(flags, args).await?;
    let changes = match args.via {
        Via::LoadBalancer => vec![site.change_service("LoadBalancer", args).await?],
        Via::NodePort => vec![site.change_service("NodePort", args).await?],
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
        let (object, service) = match &found {
            Some((object, service)) => (Some(object), Some(service)),
            None => (None, None),
        };
        let relay = exposure::relay_host(object, named, &flags.namespace);
        let relay = Relay::new(relay, service, args.gateway.host.as_deref());
        let target = Target::new(relay, &args.gateway);
        Ok(Self {
            cluster,
            found,
            target,
        })
    }

    async fn change_service(&self, type_: &str, args: &ApplyArgs) -> Result<Change> {
        let relay = &self.target.relay.service;
        let object = ObjectRef::new::<Service>(relay.namespace(), relay.service());
        match (&self.cluster, &self.found) {
            (Some(cluster), Some((object, live))) => {
                let patch = service::expose(live, type_, &args.service_annotation);
                let patch = patch.map_err(|e| e.context(cluster.context()).object(object))?;
                let mut exposed = live.clone();
                exposed.spec.get_or_insert_default().type_ = Some(type_.to_owned());
                let lints = observe::load_balancers(cluster, &[&exposed]).await?;
                stop_at_errors(cluster, &lints, args.dry_run)?;
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
        let seen = match self.read_istio().await {
            Err(error) if args.dry_run == DryRun::Client => {
                not_checked("what is there already", &error);
                None
            }
            seen => seen?,
        };
        let Some((cluster, seen)) = seen else {
            let objects = istio::objects(&self.target, &Kinds::of_the_page());
            let created = objects.map(|(object, document)| Change::apply(object, None, document, conflicts));
            return Ok(created.into());
        };
        let objects = istio::objects(&self.target, &seen.kinds);
        let [gateway, virtual_service] = objects.each_ref().map(|(_, document)| document.clone());
        let routes = Route::all(&[gateway], &[virtual_service], &self.target.relay.host);
        let service = self.found.as_ref().map(|(_, service)| service);
        let lints = seen.lint(cluster, &routes, &self.target.relay, service).await?;
        stop_at_errors(cluster, &lints, args.dry_run)?;

        let changes = objects.into_iter().map(async |(object, document)| {
            let live = seen.live(cluster, &object).await?;
            Ok(Change::apply(object, live.as_ref(), document, conflicts))
        });
        try_join_all(changes).await
    }

    /// The cluster and its Istio; an error if it serves none.
    async fn read_istio(&self) -> Result<Option<(&Cluster, Istio)>> {
        let Some(cluster) = &self.cluster else {
            return Ok(None);
        };
        let seen = observe::istio(cluster, Some(&self.target.selector), |_| false).await?;
        match seen {
            Some(seen) => Ok(Some((cluster, seen))),
            None => Err(istio::not_served().context(cluster.context())),
        }
    }
}

/// Tells what was found, and fails if no agent could get through. A dry run of the
/// client goes on.
fn stop_at_errors(cluster: &Cluster, lints: &[Lint], dry_run: DryRun) -> Result<()> {
    let (errors, warnings): (Vec<_>, Vec<_>) =
        lints.iter().partition(|lint| lint.severity == Severity::Error);
    for lint in warnings {
        terminal::story(&lint.shown(cluster.context()));
    }
    if dry_run == DryRun::Client {
        errors
            .iter()
            .for_each(|lint| terminal::story(&lint.shown(cluster.context())));
        return Ok(());
    }
    let mut causes: Vec<_> = errors.iter().map(|lint| lint.to_error()).collect();
    match causes.len() {
        0 => Ok(()),
        1 => Err(causes.remove(0).context(cluster.context())),
        _ => Err(
            Error::new("agents would not reach the relay server, so nothing was changed")
                .context(cluster.context())
                .causes(causes),
        ),
    }
}

/// Applies steps to a cluster, or as much of that as a dry run does.
pub(crate) async fn carry_out(cluster: Cluster, steps: Vec<Step>, dry_run: DryRun) -> Report {
    let plan = Plan::new(vec![ClusterPlan { cluster, steps }]);
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
