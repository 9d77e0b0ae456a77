//! `apply`: connect, observe, plan, apply, report.

use std::time::Duration;

use futures::future::{try_join, try_join_all};
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    Error, ExitCode, Result,
    apply::{self, ClusterReport, Report},
    args::{ClusterArgs, DryRun},
    cluster::{Cluster, Conflicts, ObjectRef},
    exposure,
    manifest::Manifest,
    observation::{self, Lookup},
    plan::{Action, ClusterPlan, Plan},
    relay::{self, RelayHost},
    render, services, shell, terminal,
};
use serde_json::{Value, json};

use crate::{
    cli::{ApplyArgs, Via},
    gateway_api, gateway_api_lint,
    intent::Intent,
    istio::{self, Kinds},
    lint::{INSTALL, Lint, Severity},
    observe::{self, Istio, lookup, not_checked},
    route::Route,
    service,
    target::{MANAGER, Relay, Target},
};

pub(crate) async fn run(flags: &ClusterArgs, args: &ApplyArgs) -> Result<ExitCode> {
    args.check()?;
    let format = args.output.format()?;
    let site = Site::observe(flags, args).await?;
    let via = site.choose(args.via).await?;
    let intents = match via {
        Way::Service(type_) => vec![site.change_service(type_, args).await?],
        Way::Istio => site.change_istio(args).await?,
        Way::GatewayApi => site.change_gateway_api(args).await?,
    };

    let lookup = via.lookup(&site.target.relay);
    let asked = site
        .cluster
        .clone()
        .filter(|_| args.dry_run.mode != DryRun::Client);
    let applied_to = asked.clone().filter(|_| args.dry_run.mode == DryRun::None);
    let (report, foreseen) = match site.cluster {
        Some(cluster) => carry_out(cluster, intents, args.dry_run.mode).await?,
        None => foresee(flags, intents),
    };
    let shown = match (&format, &asked) {
        (Some(format), Some(cluster)) if report.is_done() => {
            render::documents(&answered(cluster, &report, foreseen).await?, format)?
        }
        (Some(format), None) if report.is_done() => render::documents(&foreseen, format)?,
        _ => render::report(&report, args.dry_run.mode),
    };
    terminal::data(&shown)?;
    report.into_result()?;
    match applied_to.zip(args.wait) {
        Some((cluster, limit)) => wait(&cluster, &lookup, limit, format.is_none()).await?,
        None if args.dry_run.mode == DryRun::None && format.is_none() => {
            terminal::story(&next(flags, args));
        }
        None => {}
    }
    Ok(ExitCode::Done)
}

/// The objects as the server answers, as kubectl shows them: with node ports and all
/// else that it chooses. What did not change is read; what is gone again is as it was
/// foreseen.
async fn answered(cluster: &Cluster, report: &Report, foreseen: Vec<Value>) -> Result<Vec<Value>> {
    let objects = report.clusters.iter().flat_map(|cluster| &cluster.objects);
    let objects = objects.zip(foreseen).map(async |(report, foreseen)| {
        let mut object = match &report.answer {
            Some(answer) => answer.clone(),
            None => cluster.get(&report.object).await?.unwrap_or(foreseen),
        };
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        Ok(object)
    });
    try_join_all(objects).await
}

/// How to go on: with the flags that were given here, as they say where.
fn next(flags: &ClusterArgs, args: &ApplyArgs) -> String {
    let given = [
        ("--context", flags.context()),
        (
            "--namespace",
            Some(flags.namespace.as_str()).filter(|name| *name != relay::NAMESPACE),
        ),
        ("--service", args.service.service.as_deref()),
        ("--server-name", args.gateway.host.as_deref()),
    ];
    let given = given
        .into_iter()
        .filter_map(|(flag, value)| Some(format!(" {flag} {}", shell::word(value?))));
    format!(
        "next: `kubectl relay-address{}` prints the address to register clusters with",
        given.collect::<String>()
    )
}

/// What would become of intents in a cluster that cannot be reached.
fn foresee(flags: &ClusterArgs, intents: Vec<Intent>) -> (Report, Vec<Value>) {
    let parts = intents.into_iter().map(|intent| (intent.step, intent.document));
    let (steps, documents) = parts.unzip();
    let cluster = flags.load().and_then(|known| Cluster::management(&known, flags));
    let context = cluster.as_ref().map_or("-", Cluster::context);
    let clusters = vec![ClusterReport::foreseen(context, steps)];
    (Report { clusters }, documents)
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
            let found = services::relay_service(&cluster, &flags.namespace, named).await?;
            Result::<_>::Ok((Some(cluster), found))
        };
        let (cluster, found) = match observed.await {
            Err(error) if args.dry_run.mode == DryRun::Client && error.exit_code() != ExitCode::Usage => {
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
        let relay = RelayHost::of(object.map(ObjectRef::name).or(named), &flags.namespace);
        let relay = Relay::new(relay, service, args.gateway.host.as_deref());
        let target = Target::new(relay, &args.gateway);
        Ok(Self {
            cluster,
            found,
            target,
        })
    }

    /// Settles for one way. The choice is never left to a default: nobody gets a public
    /// load balancer unasked.
    async fn choose(&self, via: Via) -> Result<Way> {
        Ok(match via {
            Via::LoadBalancer => Way::Service("LoadBalancer"),
            Via::NodePort => Way::Service("NodePort"),
            Via::Istio => Way::Istio,
            Via::GatewayApi => Way::GatewayApi,
            Via::Auto => {
                let (istio, gateway_api) = match &self.cluster {
                    Some(cluster) => {
                        let [istio, gateway_api] =
                            [istio::GROUP, gateway_api::GROUP].map(|group| cluster.kinds(group));
                        try_join(istio, gateway_api).await?
                    }
                    None => Default::default(),
                };
                let (way, name) = match (Kinds::among(&istio), gateway_api::Kinds::among(&gateway_api)) {
                    (Some(_), _) => (Way::Istio, "istio"),
                    (None, Some(_)) => (Way::GatewayApi, "gateway-api"),
                    (None, None) => return Err(no_choice(self.cluster.as_ref())),
                };
                terminal::story(&format!("--via auto: {name}, which the cluster serves"));
                way
            }
        })
    }

    async fn change_service(&self, type_: &str, args: &ApplyArgs) -> Result<Intent> {
        let relay = &self.target.relay.service;
        let object = ObjectRef::new::<Service>(relay.namespace(), relay.service());
        match (&self.cluster, &self.found) {
            (Some(cluster), Some((object, live))) => {
                let patch = service::expose(live, type_, &args.service_annotation);
                let patch = patch.map_err(|e| e.context(cluster.context()).object(object))?;
                let mut exposed = live.clone();
                exposed.spec.get_or_insert_default().type_ = Some(type_.to_owned());
                let lints = observe::load_balancers(cluster, &[&exposed]).await?;
                stop_at_errors(cluster, &lints, args.dry_run.mode)?;
                Ok(Intent::expose(object.clone(), live, patch))
            }
            (Some(cluster), None) => Err(Error::new("there is no relay service to expose")
                .context(cluster.context())
                .object(object)
                .hint(INSTALL)),
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
                Ok(Intent::new(object, action, document))
            }
        }
    }

    async fn change_istio(&self, args: &ApplyArgs) -> Result<Vec<Intent>> {
        let conflicts = conflicts(args);
        let seen = match self.read_istio().await {
            Err(error) if args.dry_run.mode == DryRun::Client => {
                not_checked("what is there already", &error);
                None
            }
            seen => seen?,
        };
        let Some((cluster, seen)) = seen else {
            let objects = istio::objects(&self.target, &Kinds::of_the_page());
            let created = objects.map(|(object, document)| Intent::apply(object, None, document, conflicts));
            return Ok(created.into());
        };
        let objects = istio::objects(&self.target, &seen.kinds);
        let [gateway, virtual_service] = objects.each_ref().map(|(_, document)| document.clone());
        let routes = Route::all(&[gateway], &[virtual_service], &self.target.relay);
        let service = self.found.as_ref().map(|(_, service)| service);
        let lints = seen.lint(cluster, &routes, &self.target.relay, service).await?;
        stop_at_errors(cluster, &lints, args.dry_run.mode)?;

        let changes = objects.into_iter().map(async |(object, document)| {
            let live = seen.live(cluster, &object).await?;
            Ok(Intent::apply(object, live.as_ref(), document, conflicts))
        });
        try_join_all(changes).await
    }

    async fn change_gateway_api(&self, args: &ApplyArgs) -> Result<Vec<Intent>> {
        let conflicts = conflicts(args);
        let named = args.gateway.gateway_class.as_deref();
        let seen = match self.read_gateway_api(named).await {
            Err(error) if args.dry_run.mode == DryRun::Client && error.exit_code() != ExitCode::Usage => {
                not_checked("what is there already", &error);
                None
            }
            seen => seen?,
        };
        let Some((cluster, kinds, class)) = seen else {
            let class = named.ok_or_else(|| {
                Error::usage("which classes of gateway there are cannot be read")
                    .hint("name one with --gateway-class")
            })?;
            let objects = gateway_api::objects(&self.target, class, &gateway_api::Kinds::newest());
            let created = objects.map(|(object, document)| Intent::apply(object, None, document, conflicts));
            return Ok(created.into());
        };
        let objects = gateway_api::objects(&self.target, &class, &kinds);
        let [gateways, routes] = objects.each_ref().map(|(_, document)| [document.clone()]);
        let service = self.found.as_ref().map(|(_, service)| service);
        let ways = gateway_api_lint::Way::all(&gateways, &routes, &self.target.relay.host);
        let relay = &self.target.relay;
        let lints: Vec<_> = ways
            .iter()
            .flat_map(|way| way.lint(relay, service, false))
            .collect();
        stop_at_errors(cluster, &lints, args.dry_run.mode)?;

        let changes = objects.into_iter().map(async |(object, document)| {
            let live = cluster.get::<Value>(&object).await?;
            let live = live.as_ref();
            let note = live.and_then(|live| gateway_api::left_behind(live, &document, cluster.context()));
            let intent = Intent::apply(object, live, document, conflicts);
            Ok(Intent { note, ..intent })
        });
        try_join_all(changes).await
    }

    /// The cluster, the kinds it serves of Gateway API, and the class of Gateway to
    /// use; an error if there is none.
    async fn read_gateway_api(
        &self,
        named: Option<&str>,
    ) -> Result<Option<(&Cluster, gateway_api::Kinds, String)>> {
        let Some(cluster) = &self.cluster else {
            return Ok(None);
        };
        let in_context = |error: Error| error.context(cluster.context());
        let kinds = gateway_api::Kinds::among(&cluster.kinds(gateway_api::GROUP).await?);
        let kinds = kinds.ok_or_else(|| in_context(gateway_api::not_served()))?;
        let classes = match (named, cluster.list_dynamic(&kinds.class, None, "").await) {
            // Who may not list them can still name one.
            (Some(named), Err(error)) if error.is_forbidden() => {
                not_checked("whether the class exists", &error);
                return Ok(Some((cluster, kinds, named.to_owned())));
            }
            (_, classes) => classes?,
        };
        let class = gateway_api::class(named, &classes).map_err(in_context)?;
        Ok(Some((cluster, kinds, class)))
    }

    /// The cluster and its Istio; an error if it serves none.
    async fn read_istio(&self) -> Result<Option<(&Cluster, Istio)>> {
        let Some(cluster) = &self.cluster else {
            return Ok(None);
        };
        let Some(seen) = observe::istio(cluster).await? else {
            return Err(istio::not_served().context(cluster.context()));
        };
        let selector = self.target.selector.clone();
        Ok(Some((cluster, seen.with_backends(cluster, [selector]).await?)))
    }
}

/// A way that is settled: by a type of the relay server's Service, or by a gateway.
enum Way {
    Service(&'static str),
    Istio,
    GatewayApi,
}

impl Way {
    /// Where the address is to be that it gives the relay server.
    fn lookup(&self, relay: &Relay) -> Lookup {
        Lookup {
            via: match self {
                Self::Service(_) => observation::Via::Service,
                Self::Istio => observation::Via::Istio,
                Self::GatewayApi => observation::Via::GatewayApi,
            },
            ..lookup(relay)
        }
    }
}

/// Waits for an address and ends with it, or with the reason why there is none: on
/// stdout, unless documents are there.
async fn wait(cluster: &Cluster, lookup: &Lookup, limit: Duration, on_stdout: bool) -> Result<()> {
    let observation = exposure::wait(cluster, lookup, limit).await?;
    let (address, _) = observation.address(cluster.context())?;
    match on_stdout {
        true => terminal::data(&format!("{address}\n")),
        false => {
            terminal::story(&format!("the address is {address}"));
            Ok(())
        }
    }
}

fn no_choice(cluster: Option<&Cluster>) -> Error {
    let error = match cluster {
        Some(cluster) => {
            Error::usage("the cluster serves neither Istio nor Gateway API, so --via auto has no choice")
                .context(cluster.context())
        }
        None => Error::usage(
            "whether the cluster serves Istio or Gateway API is not known, so --via auto has no choice",
        ),
    };
    error.hint(
        "say how to expose the relay server: --via loadbalancer (a public address, unless its annotations \
         say otherwise) or --via nodeport, or --via istio or --via gateway-api once it is installed",
    )
}

fn conflicts(args: &ApplyArgs) -> Conflicts {
    match args.force_conflicts {
        true => Conflicts::Overridden,
        false => Conflicts::Refused,
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

/// Applies intents to a cluster, or as much of that as a dry run does, after telling
/// what they change; the documents are the objects as they will be.
///
/// # Errors
/// If the server refuses any of it beforehand: then nothing is changed.
pub(crate) async fn carry_out(
    cluster: Cluster,
    intents: Vec<Intent>,
    dry_run: DryRun,
) -> Result<(Report, Vec<Value>)> {
    let (mut steps, mut documents, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for Intent { step, document, note } in intents {
        steps.push(step);
        documents.push(document);
        notes.extend(note);
    }
    let plan = Plan::new(vec![ClusterPlan { cluster, steps }]);
    let told = [render::changes(&plan).trim_end().to_owned()]
        .into_iter()
        .chain(notes);
    for told in told.filter(|told| !told.is_empty()) {
        terminal::story(&told);
    }
    if dry_run == DryRun::None {
        apply::rehearse(&plan, MANAGER).await?;
    }
    Ok((apply::carry_out(plan, MANAGER, dry_run).await, documents))
}
