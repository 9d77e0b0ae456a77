//! What `apply` has to work with, and what it makes of that by each way.

use futures::future::{try_join, try_join_all};
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    Error, ExitCode, Result,
    args::{ClusterArgs, DryRun},
    cluster::{Cluster, Conflicts, ObjectRef},
    manifest::Manifest,
    observation::{self, Lookup},
    plan::Action,
    relay::RelayHost,
    services, terminal,
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
    target::{Relay, Target},
};

/// What there is to work with.
pub(crate) struct Site {
    /// None only for a dry run of the client, which goes on without a cluster.
    pub(crate) seen: Option<Seen>,
    pub(crate) target: Target,
}

/// A cluster that can be read.
pub(crate) struct Seen {
    pub(crate) cluster: Cluster,
    /// The relay server's Service, if there is one.
    found: Option<(ObjectRef, Service)>,
}

impl Site {
    /// Looks for the relay server.
    ///
    /// # Errors
    /// If the cluster cannot be read and has to be.
    pub(crate) async fn observe(flags: &ClusterArgs, args: &ApplyArgs) -> Result<Self> {
        let named = args.service.service.as_deref();
        let observed = async {
            let cluster = Cluster::management(&flags.load()?, flags)?;
            let found = services::relay_service(&cluster, &flags.namespace, named).await?;
            Result::<_>::Ok(Some(Seen { cluster, found }))
        };
        let seen = match observed.await {
            Err(error) if args.dry_run.mode == DryRun::Client && error.exit_code() != ExitCode::Usage => {
                not_checked(
                    "the cluster cannot be read, so everything is taken to be as on the page",
                    &error,
                );
                None
            }
            seen => seen?,
        };
        let found = seen.as_ref().and_then(|seen| seen.found.as_ref());
        let (object, service) = found.map(|(object, service)| (object, service)).unzip();
        let relay = RelayHost::of(object.map(ObjectRef::name).or(named), &flags.namespace);
        let relay = Relay::new(relay, service, args.gateway.host.as_deref());
        let target = Target::new(relay, &args.gateway);
        Ok(Self { seen, target })
    }

    /// Settles for one way. The choice is never left to a default: nobody gets a public
    /// load balancer unasked.
    ///
    /// # Errors
    /// If the cluster serves nothing that could be chosen.
    pub(crate) async fn choose(&self, via: Via) -> Result<Way> {
        Ok(match via {
            Via::LoadBalancer => Way::Service("LoadBalancer"),
            Via::NodePort => Way::Service("NodePort"),
            Via::Istio => Way::Istio,
            Via::GatewayApi => Way::GatewayApi,
            Via::Auto => {
                let (istio, gateway_api) = match &self.seen {
                    Some(Seen { cluster, .. }) => {
                        let [istio, gateway_api] =
                            [istio::GROUP, gateway_api::GROUP].map(|group| cluster.kinds(group));
                        try_join(istio, gateway_api).await?
                    }
                    None => Default::default(),
                };
                let (way, name) = match (Kinds::among(&istio), gateway_api::Kinds::among(&gateway_api)) {
                    (Some(_), _) => (Way::Istio, "istio"),
                    (None, Some(_)) => (Way::GatewayApi, "gateway-api"),
                    (None, None) => return Err(no_choice(self.seen.as_ref())),
                };
                terminal::story(&format!("--via auto: {name}, which the cluster serves"));
                way
            }
        })
    }

    /// What is to be done so that the relay server is exposed.
    ///
    /// # Errors
    /// If the cluster has not what that takes, or agents could not get through.
    pub(crate) async fn change(&self, way: &Way, args: &ApplyArgs) -> Result<Vec<Intent>> {
        match way {
            Way::Service(type_) => Ok(vec![self.change_service(type_, args).await?]),
            Way::Istio => self.change_istio(args).await,
            Way::GatewayApi => self.change_gateway_api(args).await,
        }
    }

    /// The relay server's Service, if there is one to be seen.
    fn service(&self) -> Option<&Service> {
        let (_, service) = self.seen.as_ref()?.found.as_ref()?;
        Some(service)
    }

    async fn change_service(&self, type_: &str, args: &ApplyArgs) -> Result<Intent> {
        let relay = &self.target.relay.service;
        let object = ObjectRef::new::<Service>(relay.namespace(), relay.service());
        let Some(Seen { cluster, found }) = &self.seen else {
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
            return Ok(Intent::new(object, action, document));
        };
        let Some((object, live)) = found else {
            return Err(Error::new("there is no relay service to expose")
                .context(cluster.context())
                .object(object)
                .hint(INSTALL));
        };
        let patch = service::expose(live, type_, &args.service_annotation);
        let patch = patch.map_err(|e| e.context(cluster.context()).object(object))?;
        let mut exposed = live.clone();
        exposed.spec.get_or_insert_default().type_ = Some(type_.to_owned());
        let lints = observe::load_balancers(cluster, &[&exposed]).await?;
        stop_at_errors(cluster, &lints, args.dry_run.mode)?;
        Ok(Intent::expose(object.clone(), live, patch))
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
        let service = self.service();
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
                Error::usage("which class of gateway to use is not known")
                    .hint("name one with --gateway-class")
            })?;
            let objects = gateway_api::objects(&self.target, class, &gateway_api::Kinds::newest());
            let created = objects.map(|(object, document)| Intent::apply(object, None, document, conflicts));
            return Ok(created.into());
        };
        let objects = gateway_api::objects(&self.target, &class, &kinds);
        let [gateways, routes] = objects.each_ref().map(|(_, document)| [document.clone()]);
        let service = self.service();
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
        let Some(Seen { cluster, .. }) = &self.seen else {
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
        let Some(Seen { cluster, .. }) = &self.seen else {
            return Ok(None);
        };
        let Some(seen) = observe::istio(cluster, self.target.relay.service.namespace()).await? else {
            return Err(istio::not_served().context(cluster.context()));
        };
        let selector = self.target.selector.clone();
        Ok(Some((cluster, seen.with_backends(cluster, [selector]).await?)))
    }
}

/// A way that is settled: by a type of the relay server's Service, or by a gateway.
pub(crate) enum Way {
    Service(&'static str),
    Istio,
    GatewayApi,
}

impl Way {
    /// Where the address is to be that it gives the relay server.
    pub(crate) fn lookup(&self, relay: &Relay) -> Lookup {
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

fn no_choice(seen: Option<&Seen>) -> Error {
    let error = match seen {
        Some(Seen { cluster, .. }) => {
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
    let causes = errors.iter().map(|lint| lint.to_error()).collect();
    Error::sum_up(causes, |_| {
        Error::new("agents would not reach the relay server, so nothing was changed")
    })
    .map_err(|e| e.context(cluster.context()))
}
