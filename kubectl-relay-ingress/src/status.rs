//! `status` and `lint`: what exposes the relay server now, and what is wrong with it.

use std::{collections::BTreeSet, iter};

use futures::future::try_join;
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    ExitCode, Result,
    args::ClusterArgs,
    candidate::{self, Candidate},
    cluster::{Cluster, ObjectRef},
    exposure,
    istio::labels,
    observation::{Lookup, Via},
    output::Table,
    relay::RelayHost,
    render,
    service_address::PortRef,
    services, terminal,
};
use serde_json::{Value, json};

use crate::{
    cli::StatusArgs,
    gateway_api_lint,
    lint::{INSTALL, Lint, Severity},
    observe::{self, GatewayApi, Istio, lookup},
    route::{self, Route, array},
    service,
    target::{Relay, is_made_for},
};

/// A way from outside the cluster to the relay server.
struct Way {
    /// How, as `apply --via` names it.
    via: &'static str,
    /// What opens it.
    object: ObjectRef,
    /// The name that agents ask for.
    host: String,
    /// The address that agents dial, if there is one.
    address: Option<String>,
    lints: Vec<Lint>,
}

/// What exposes a relay server.
struct Exposure {
    relay: Relay,
    /// Every way, its own Service first.
    ways: Vec<Way>,
    /// What is missing where there is none.
    missing: Option<Lint>,
    /// Whether that is known: all of what might open one could be read.
    is_known: bool,
}

impl Way {
    fn is_healthy(&self) -> bool {
        self.lints.iter().all(|lint| lint.severity != Severity::Error)
    }
}

pub(crate) async fn status(flags: &ClusterArgs, args: &StatusArgs) -> Result<ExitCode> {
    let table = args.output.table()?;
    let cluster = Cluster::management(&flags.load()?, flags)?;
    let exposure = observe(&cluster, flags, args).await?;
    let Exposure { ways, missing, .. } = &exposure;
    let shown = match &table {
        Some(Table::Document(format)) => render::documents(&[document(&exposure)], format)?,
        _ => rows(ways),
    };
    terminal::data(&shown)?;
    if !matches!(table, Some(Table::Document(_))) {
        let lints = ways.iter().flat_map(|way| &way.lints);
        lints.for_each(|lint| terminal::story(&lint.shown(cluster.context())));
    }
    if let Some(missing) = missing {
        terminal::story(&missing.shown(cluster.context()));
    }
    Ok(exposure.ended())
}

pub(crate) async fn lint(flags: &ClusterArgs, args: &StatusArgs) -> Result<ExitCode> {
    let table = args.output.table()?;
    let cluster = Cluster::management(&flags.load()?, flags)?;
    let exposure = observe(&cluster, flags, args).await?;
    let lints = exposure.ways.iter().flat_map(|way| &way.lints);
    let lints: Vec<_> = lints.chain(&exposure.missing).collect();
    let shown = match &table {
        Some(Table::Document(format)) => {
            let found: Vec<_> = lints.iter().copied().map(finding).collect();
            render::documents(&[json!({ "findings": found })], format)?
        }
        _ => {
            let shown = lints.iter().map(|lint| lint.shown(cluster.context()) + "\n");
            terminal::sentences(&shown.collect::<String>())
        }
    };
    terminal::data(&shown)?;
    if lints.is_empty() {
        terminal::story("nothing is wrong");
    }
    Ok(exposure.ended())
}

impl Exposure {
    fn ended(&self) -> ExitCode {
        match (&self.missing, self.ways.iter().all(Way::is_healthy)) {
            (None, true) => ExitCode::Done,
            (Some(_), _) if !self.is_known => ExitCode::Failed,
            _ => ExitCode::CheckFailed,
        }
    }
}

async fn observe(cluster: &Cluster, flags: &ClusterArgs, args: &StatusArgs) -> Result<Exposure> {
    let named = args.service.service.as_deref();
    let found = services::relay_service(cluster, &flags.namespace, named).await?;
    let (object, service) = match &found {
        Some((object, service)) => (Some(object), Some(service)),
        None => (None, None),
    };
    let (istio, gateway_api) = try_join(
        observe::istio(cluster, &flags.namespace),
        observe::gateway_api(cluster, &flags.namespace),
    )
    .await?;
    let is_whole = istio.as_ref().is_none_or(|seen| seen.is_whole)
        && gateway_api.as_ref().is_none_or(|seen| seen.is_whole);
    let gateways = istio.iter().flat_map(|istio| &istio.ingress.gateways);
    let gateways = gateways.chain(gateway_api.iter().flat_map(|seen| &seen.gateways));
    let known = object.map(ObjectRef::name).or(named);
    let is_ours = |gateway: &&Value| is_made_for(gateway, &flags.namespace, known);
    let made = match &args.host {
        Some(_) => BTreeSet::new(),
        None => gateways.filter(is_ours).flat_map(hosts).collect(),
    };
    let name = RelayHost::of(known, &flags.namespace);
    let (relay, others) = names(Relay::new(name, service, args.host.as_deref()), made);
    let relays = || iter::once(&relay).chain(&others);

    let mut ways = Vec::new();
    if let Some((object, service)) = &found {
        ways.extend(through_service(cluster, &relay, object, service).await?);
    }
    if let Some(istio) = istio {
        let is_for = |gateway: &&Value| relays().any(|relay| route::is_for(gateway, &relay.host));
        let gateways = istio.ingress.gateways.iter().filter(is_for);
        let selectors: Vec<_> = gateways.map(|g| labels(&g["spec"]["selector"])).collect();
        let istio = istio.with_backends(cluster, selectors).await?;
        for relay in relays() {
            add(&mut ways, through_istio(cluster, relay, service, &istio).await?);
        }
    }
    if let Some(gateway_api) = gateway_api {
        for relay in relays() {
            add(
                &mut ways,
                through_gateway_api(cluster, relay, service, &gateway_api).await?,
            );
        }
    }
    let is_known = is_whole || service.is_none();
    let missing = ways.is_empty().then(|| unexposed(&relay, service, is_known));
    Ok(Exposure {
        relay,
        ways,
        missing,
        is_known,
    })
}

/// Adds the ways by another name; a Gateway of a wildcard has them by several.
fn add(ways: &mut Vec<Way>, mut more: Vec<Way>) {
    more.retain(|way| ways.iter().all(|known| known.object != way.object));
    ways.append(&mut more);
}

/// The hosts that a Gateway has by name, Istio's or Gateway API's.
fn hosts(gateway: &Value) -> BTreeSet<String> {
    let listeners = array(&gateway["spec"]["listeners"]).filter_map(|l| l["hostname"].as_str());
    let served = route::servers(gateway).flat_map(|server| server.hosts().collect::<Vec<_>>());
    let named = served.chain(listeners).filter(|host| !host.contains('*'));
    named.map(str::to_owned).collect()
}

/// The relay server by the name that agents ask for, and by other names that they may ask
/// for: its own, and those under which `apply` has exposed it. Where it has done so under
/// one, that is it.
fn names(relay: Relay, mut made: BTreeSet<String>) -> (Relay, Vec<Relay>) {
    let host = match made.len() {
        1 => made.pop_first().unwrap_or_default(),
        _ => relay.host.clone(),
    };
    made.insert(relay.host.clone());
    made.remove(&host);
    let others = made.into_iter();
    let others = others
        .map(|host| Relay {
            host,
            ..relay.clone()
        })
        .collect();
    (Relay { host, ..relay }, others)
}

async fn through_service(
    cluster: &Cluster,
    relay: &Relay,
    object: &ObjectRef,
    service: &Service,
) -> Result<Option<Way>> {
    let via = match service::type_of(service) {
        "LoadBalancer" => "loadbalancer",
        "NodePort" => "nodeport",
        _ => return Ok(None),
    };
    let lookup = Lookup {
        via: Via::Service,
        ..lookup(relay)
    };
    let mut lints = observe::load_balancers(cluster, &[service]).await?;
    let address = address(cluster, &lookup, &mut lints).await?;
    Ok(Some(Way {
        via,
        object: object.clone(),
        host: relay.host.clone(),
        address,
        lints,
    }))
}

async fn through_istio(
    cluster: &Cluster,
    relay: &Relay,
    service: Option<&Service>,
    seen: &Istio,
) -> Result<Vec<Way>> {
    let routes = Route::all(&seen.ingress.gateways, &seen.virtual_services, relay);
    let mut ways = Vec::new();
    for route in routes {
        let mut lints = seen
            .lint(cluster, std::slice::from_ref(&route), relay, service)
            .await?;
        let entrance = seen.ingress.entrance(&route);
        let mut address_found = None;
        if let Some((entrance, port)) = entrance {
            let lookup = Lookup {
                via: Via::Istio,
                ingress: Some(service::of(entrance)),
                ingress_port: Some(PortRef::new(port.to_string())),
                ..lookup(relay)
            };
            address_found = address(cluster, &lookup, &mut lints).await?;
        }
        ways.push(Way {
            via: "istio",
            object: route.gateway,
            host: relay.host.clone(),
            address: address_found,
            lints,
        });
    }
    Ok(ways)
}

async fn through_gateway_api(
    cluster: &Cluster,
    relay: &Relay,
    service: Option<&Service>,
    seen: &GatewayApi,
) -> Result<Vec<Way>> {
    let opened = gateway_api_lint::Way::all(&seen.gateways, &seen.routes, &relay.host);
    if opened.is_empty() {
        return Ok(Vec::new());
    }
    let lookup = Lookup {
        via: Via::GatewayApi,
        ..lookup(relay)
    };
    let candidates = exposure::observe(cluster, &lookup).await?.candidates;
    let ways = opened.into_iter().map(|way| {
        let object = way.object();
        let same = |candidate: &&Candidate| {
            let found = &candidate.object;
            (found.namespace(), found.name()) == (object.namespace(), object.name())
        };
        let own: Vec<_> = candidates.iter().filter(same).cloned().collect();
        Way {
            via: "gateway-api",
            host: relay.host.clone(),
            address: candidate::choose(&own).map(|(address, _)| address.to_string()),
            lints: way.lint(relay, service, true),
            object,
        }
    });
    Ok(ways.collect())
}

/// The address that relay-address would print; what keeps it from one is a finding.
async fn address(cluster: &Cluster, lookup: &Lookup, lints: &mut Vec<Lint>) -> Result<Option<String>> {
    let candidates = exposure::observe(cluster, lookup).await?.candidates;
    if let Some((address, _)) = candidate::choose(&candidates) {
        return Ok(Some(address.to_string()));
    }
    for candidate in &candidates {
        let Err(reason) = &candidate.result else {
            continue;
        };
        let object = candidate.object.to_string();
        let mut known = lints.iter_mut();
        match known.find(|lint| lint.object == object && lint.message == reason.state) {
            // What it warned of has come true, and its hint knows more.
            Some(lint) => lint.severity = Severity::Error,
            None => lints.push(Lint::error(
                object,
                format!("it has no address: {}", reason.state),
                &reason.hint,
            )),
        }
    }
    Ok(None)
}

fn unexposed(relay: &Relay, service: Option<&Service>, is_known: bool) -> Lint {
    let object = ObjectRef::new::<Service>(relay.service.namespace(), relay.service.service());
    match service {
        Some(_) if !is_known => Lint::error(
            object,
            format!(
                "nothing that you may read leads to {} from outside the cluster",
                relay.host
            ),
            "ask whoever manages this cluster for the right to list gateways and their routes, in all \
             namespaces",
        ),
        Some(_) => Lint::error(
            object,
            format!("nothing outside the cluster leads to {}", relay.host),
            "expose it with `kubectl relay-ingress apply --via …`",
        ),
        None => Lint::error(object, "there is no relay service to expose", INSTALL),
    }
}

fn rows(ways: &[Way]) -> String {
    if ways.is_empty() {
        return String::new();
    }
    let mut rows = vec![["VIA", "OBJECT", "HEALTH", "ADDRESS"].map(str::to_owned)];
    rows.extend(ways.iter().map(|way| {
        let health = if way.is_healthy() { "healthy" } else { "broken" };
        let address = way.address.clone().unwrap_or_else(|| "<none>".to_owned());
        [
            way.via.to_owned(),
            way.object.to_string(),
            health.to_owned(),
            address,
        ]
    }));
    render::columns(&rows)
}

/// The document that `-o` prints. Its keys stay as they are.
fn document(exposure: &Exposure) -> Value {
    let Exposure { relay, ways, .. } = exposure;
    let way = |way: &Way| {
        json!({
            "via": way.via,
            "kind": way.object.resource().kind,
            "namespace": way.object.namespace(),
            "name": way.object.name(),
            "healthy": way.is_healthy(),
            "host": way.host,
            "address": way.address,
            "findings": way.lints.iter().map(finding).collect::<Vec<_>>(),
        })
    };
    json!({
        "relay": {
            "namespace": relay.service.namespace(),
            "service": relay.service.service(),
            "port": relay.port,
            "host": relay.host,
        },
        "healthy": exposure.ended() == ExitCode::Done,
        "ways": ways.iter().map(way).collect::<Vec<_>>(),
    })
}

fn finding(lint: &Lint) -> Value {
    json!({
        "severity": match lint.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        },
        "object": lint.object,
        "message": lint.message,
        "hint": lint.hint,
    })
}

#[cfg(test)]
mod tests {
    use relay_shared::relay::RelayHost;

    use super::*;

    #[test]
    fn a_relay_server_goes_by_the_names_that_were_given_it() {
        #[track_caller]
        fn check(made: &[&str], want: &[&str]) {
            let made = made.iter().map(|host| (*host).to_owned()).collect();
            let name = RelayHost::new("relay", "mesh");
            let (relay, others) = names(Relay::new(name, None, None), made);
            let got: Vec<_> = iter::once(&relay)
                .chain(&others)
                .map(|r| r.host.as_str())
                .collect();
            assert_eq!(got, want);
        }
        check(&[], &["relay.mesh"]);
        check(&["relay.mesh"], &["relay.mesh"]);
        check(&["relay.example.com"], &["relay.example.com", "relay.mesh"]);
        check(&["a.b", "c.d"], &["relay.mesh", "a.b", "c.d"]);
        check(&["a.b", "relay.mesh"], &["relay.mesh", "a.b"]);
    }

    #[test]
    fn names_are_those_of_either_kind_of_gateway() {
        #[track_caller]
        fn check(spec: &Value, want: &[&str]) {
            let want = want.iter().map(|host| (*host).to_owned()).collect();
            assert_eq!(hosts(&json!({ "spec": spec })), want);
        }
        let port = json!({ "number": 443 });
        check(
            &json!({ "servers": [{ "port": port, "hosts": ["a.b", "ns/c.d", "*", "*.b"] }] }),
            &["a.b", "c.d"],
        );
        check(
            &json!({ "listeners": [{ "hostname": "a.b" }, { "hostname": "*.b" }, {}] }),
            &["a.b"],
        );
        check(&json!({ "servers": "odd", "listeners": [1] }), &[]);
        check(&Value::Null, &[]);
    }
}
