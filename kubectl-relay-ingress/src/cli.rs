//! The command line of `kubectl relay-ingress`.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_shared::{
    Error, Result,
    about::About,
    args::{self, ClusterArgs, DryRun, DryRunArgs, ServiceArgs},
    output::{ObjectOutput, TableOutput},
};

/// Expose the relay server to the agents in other clusters
#[derive(Debug, Parser)]
#[command(
    bin_name = "kubectl relay-ingress",
    version,
    after_help = "\
Examples:
  # Expose the relay server by a load balancer of its own
  kubectl relay-ingress apply --via loadbalancer

  # Can agents get through?
  kubectl relay-ingress status"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Expose the relay server; a second run changes nothing
    #[command(after_help = "\
Examples:
  # Ask the cloud for a load balancer, an internal one
  kubectl relay-ingress apply --via loadbalancer \\
    --service-annotation networking.gke.io/load-balancer-type=Internal

  # Wait for its address, and print that last
  kubectl relay-ingress apply --via loadbalancer --wait

  # Pass TLS through the Istio ingress gateway; look at it first
  kubectl relay-ingress apply --via istio --dry-run=client -o yaml
  kubectl relay-ingress apply --via istio

  # Through a gateway of Gateway API's, in a namespace of its own
  kubectl relay-ingress apply --via gateway-api --gateway-namespace edge

  # Through a gateway that Istio's Helm chart installed
  kubectl relay-ingress apply --via istio --gateway-selector istio=ingress")]
    Apply(ApplyArgs),

    /// Show what exposes the relay server, whether it works, and the address
    #[command(after_help = "\
Examples:
  # At a glance; exits with 3 where something is broken
  kubectl relay-ingress status

  # For a script
  kubectl relay-ingress status -o jsonpath='{.ways[?(@.healthy==true)].address}'")]
    Status(StatusArgs),

    /// Find what keeps agents from the relay server, in what is applied now
    #[command(after_help = "\
Examples:
  # Exits with 3 where agents cannot get through; warnings alone are no failure
  kubectl relay-ingress lint")]
    Lint(StatusArgs),

    /// Take back what apply did, and nothing else
    #[command(after_help = "\
Examples:
  # See what would go
  kubectl relay-ingress delete --dry-run=server

  # The Service gets its former type back, our Gateways and routes are deleted
  kubectl relay-ingress delete")]
    Delete(DeleteArgs),

    #[command(flatten)]
    About(About),
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// How to expose it
    #[arg(long, value_enum)]
    pub(crate) via: Via,

    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,

    /// Take fields over that another manager has set to another value
    #[arg(long)]
    pub(crate) force_conflicts: bool,

    /// Wait for the relay's address and end with it [default: 5m where no duration is
    /// given]
    #[arg(long, value_name = "DURATION", value_parser = args::duration, num_args = 0..=1,
          default_missing_value = "5m")]
    pub(crate) wait: Option<Duration>,

    #[command(flatten)]
    pub(crate) output: ObjectOutput,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    /// Annotation for the relay server's Service, which clouds read; repeatable
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair, help_heading = "Relay")]
    pub(crate) service_annotation: Vec<(String, String)>,

    #[command(flatten)]
    pub(crate) gateway: GatewayArgs,
}

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    pub(crate) output: TableOutput,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    /// Name that agents ask for [default: SERVICE.NAMESPACE of the relay server, and the
    /// names under which `apply` has exposed it]
    #[arg(long, value_name = "NAME", value_parser = args::dns_name, help_heading = "Relay")]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

/// What carries the agents' connections into the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Via {
    /// A load balancer of the relay server's own
    LoadBalancer,
    /// A port of the relay server's own on every node
    NodePort,
    /// The Istio ingress gateway, which passes TLS through
    Istio,
    /// A gateway of Gateway API's, which passes TLS through
    #[value(name = "gateway-api")]
    GatewayApi,
    /// Istio or else Gateway API, if the cluster serves it
    Auto,
}

/// What leads through a gateway to the relay server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Gateway")]
pub(crate) struct GatewayArgs {
    /// Labels of the Istio ingress gateway's pods [default: istio=ingressgateway]
    #[arg(long, value_name = "LABELS", value_parser = selector)]
    pub(crate) gateway_selector: Option<Labels>,

    /// Namespace of the Gateway, and of Istio's VirtualService; a TLSRoute stays beside
    /// the relay [default: the relay's]
    #[arg(long, value_name = "NAMESPACE", value_parser = args::namespace)]
    pub(crate) gateway_namespace: Option<String>,

    /// Name that agents ask for [default: SERVICE.NAMESPACE of the relay server]
    #[arg(long, value_name = "NAME", value_parser = args::dns_name)]
    pub(crate) host: Option<String>,

    /// Port of the gateway that agents dial [default: 443]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,

    /// Class of Gateway API's Gateway [default: the only one there is]
    #[arg(long, value_name = "NAME", value_parser = args::dns_name)]
    pub(crate) gateway_class: Option<String>,

    /// Name of the objects [default: gloo-mesh-ingress]
    #[arg(long, value_name = "NAME", value_parser = args::label)]
    pub(crate) name: Option<String>,
}

/// Labels by key.
pub(crate) type Labels = BTreeMap<String, String>;

impl ApplyArgs {
    /// Checks that the flags make sense together: who gives one that counts for nothing
    /// wants something else than they would get.
    ///
    /// # Errors
    /// If they do not.
    pub(crate) fn check(&self) -> Result<()> {
        if self.wait.is_some() && self.dry_run.mode != DryRun::None {
            return Err(
                Error::usage("a dry run exposes nothing, so there is no address to wait for")
                    .hint("leave out --wait or --dry-run"),
            );
        }
        let flags = &self.gateway;
        let annotation = ("--service-annotation", !self.service_annotation.is_empty());
        let class = ("--gateway-class", flags.gateway_class.is_some());
        let selector = ("--gateway-selector", flags.gateway_selector.is_some());
        let of_gateways = [
            class,
            selector,
            ("--gateway-namespace", flags.gateway_namespace.is_some()),
            ("--host", flags.host.is_some()),
            ("--port", flags.port.is_some()),
            ("--name", flags.name.is_some()),
        ];
        let service = "expose the Service itself: --via loadbalancer or --via nodeport";
        let gateway = "go through a gateway: --via istio or --via gateway-api";
        let (idle, why, instead): (&[_], _, _) = match self.via {
            _ if !self.via.is_service() && annotation.1 => {
                (&[annotation], "the relay's Service stays as it is", service)
            }
            Via::LoadBalancer | Via::NodePort => (&of_gateways, "it is for gateways", gateway),
            Via::Istio => (
                &[class],
                "it is for Gateway API",
                "go through that: --via gateway-api",
            ),
            Via::GatewayApi => (
                &[selector],
                "a Gateway of Gateway API's has pods of its own",
                "go through Istio's: --via istio",
            ),
            Via::Auto => (&[], "", ""),
        };
        match idle.iter().find(|(_, is_given)| *is_given) {
            Some((flag, _)) => Err(Error::usage(format!("{flag} has no use here: {why}"))
                .hint(format!("leave it out, or {instead}"))),
            None => Ok(()),
        }
    }
}

impl Via {
    /// Whether it changes the relay server's own Service.
    fn is_service(self) -> bool {
        matches!(self, Self::LoadBalancer | Self::NodePort)
    }
}

/// An annotation, or a label: their keys follow the same rules.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if is_qualified(key) => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE with a KEY such as example.com/name".to_owned()),
    }
}

/// Labels as kubectl writes them, `KEY=VALUE` separated by commas; a Gateway
/// selects by equality alone.
fn selector(text: &str) -> Result<Labels, String> {
    let mut labels = Labels::new();
    for label in text.split(',') {
        let known = match pair(label.trim()) {
            Ok((key, value)) if value.is_empty() || is_name(&value) => labels.insert(key, value),
            _ => return Err("expected labels KEY=VALUE,…".to_owned()),
        };
        if known.is_some() {
            return Err("expected each label once".to_owned());
        }
    }
    Ok(labels)
}

/// Whether it is a key of labels and annotations: a name, perhaps after a DNS subdomain
/// (apimachinery's `IsQualifiedName`).
fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => args::subdomain(prefix).is_ok() && is_name(name),
        None => is_name(key),
    }
}

/// At most 63 letters, digits, dashes, underscores and dots, a letter or digit at both
/// ends (apimachinery's `IsQualifiedName` and `IsValidLabelValue`).
fn is_name(text: &str) -> bool {
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let is_end = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    text.len() <= 63 && text.chars().all(valid) && is_end(text.chars().next()) && is_end(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_labels() {
        #[track_caller]
        fn check(text: &str, want: Option<&[(&str, &str)]>) {
            let want = want.map(|labels| {
                let owned = labels
                    .iter()
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
                owned.collect()
            });
            assert_eq!(selector(text).ok(), want);
        }
        check("istio=ingress", Some(&[("istio", "ingress")]));
        check("app=gw, istio=", Some(&[("app", "gw"), ("istio", "")]));
        check("", None);
        check("istio", None);
        check("=x", None);
        check("a=b,", None);
        check("example.com/a_b.c-d=X.1", Some(&[("example.com/a_b.c-d", "X.1")]));
        for bad in [
            "a b=c",
            "a=b c",
            "/a=b",
            "a/=b",
            "a/b/c=d",
            "-a=b",
            "a=b-",
            "A.com/a=b",
            "a=ü",
        ] {
            check(bad, None);
        }
        check("a=b,a=c", None);
        check(&format!("a={}", "x".repeat(64)), None);
    }

    #[test]
    fn annotations_hold_anything_under_a_key() {
        for good in ["a=", "a=b=c d", "example.com/a={\"x\": 1}"] {
            assert!(pair(good).is_ok(), "{good:?}");
        }
        for bad in ["", "a", "=a", "a b=c", "\u{1b}[2J=a"] {
            assert!(pair(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn flags_that_count_for_nothing_are_refused() {
        #[track_caller]
        fn check(line: &str, want: Option<&str>) {
            let words = "kubectl-relay_ingress apply --via"
                .split(' ')
                .chain(line.split(' '));
            let Command::Apply(args) = Cli::try_parse_from(words).expect("can be parsed").command else {
                panic!("is no apply");
            };
            let message = args.check().map_err(|error| error.message().to_owned());
            assert_eq!(message.err().as_deref(), want);
        }
        for via in ["loadbalancer", "nodeport", "istio", "gateway-api", "auto"] {
            check(via, None);
            check(&format!("{via} --wait"), None);
            let waiting = "a dry run exposes nothing, so there is no address to wait for";
            check(&format!("{via} --wait --dry-run=client"), Some(waiting));
        }
        let gateway = "--gateway-namespace=edge --host=a.b --port=1 --name=x";
        check("loadbalancer --service-annotation=a=b", None);
        check(&format!("istio {gateway} --gateway-selector=a=b"), None);
        check(&format!("gateway-api {gateway} --gateway-class=c"), None);
        check(
            &format!("auto {gateway} --gateway-selector=a=b --gateway-class=c"),
            None,
        );
        for flag in gateway.split(' ') {
            let name = flag.split('=').next().unwrap_or_default();
            let want = format!("{name} has no use here: it is for gateways");
            check(&format!("nodeport {flag}"), Some(&want));
        }
        let stays = "--service-annotation has no use here: the relay's Service stays as it is";
        for via in ["istio", "gateway-api", "auto"] {
            check(&format!("{via} --service-annotation=a=b"), Some(stays));
        }
        let class = "--gateway-class has no use here: it is for Gateway API";
        check("istio --gateway-class=c", Some(class));
        let selector = "--gateway-selector has no use here: a Gateway of Gateway API's has pods of its own";
        check("gateway-api --gateway-selector=a=b", Some(selector));
    }
}
