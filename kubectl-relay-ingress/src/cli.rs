//! The command line of `kubectl relay-ingress`.

use std::{collections::BTreeMap, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_shared::{
    about::About,
    args::{self, ClusterArgs, DryRun, ServiceArgs},
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

    /// What to do instead of writing
    #[arg(long, value_enum, default_value_t = DryRun::None)]
    pub(crate) dry_run: DryRun,

    /// Take fields over that another manager has set to another value
    #[arg(long)]
    pub(crate) force_conflicts: bool,

    /// Wait for the relay's address and end with it [default: 5m where no duration is
    /// given]
    #[arg(long, value_name = "DURATION", value_parser = args::duration, num_args = 0..=1, require_equals = true,
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

    /// Name that agents ask for [default: SERVICE.NAMESPACE of the relay server]
    #[arg(long, value_name = "NAME", value_parser = args::dns_name, help_heading = "Relay")]
    pub(crate) host: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// What to do instead of writing
    #[arg(long, value_enum, default_value_t = DryRun::None)]
    pub(crate) dry_run: DryRun,

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
    /// Labels of the ingress gateway's pods
    #[arg(long, value_name = "LABELS", default_value = "istio=ingressgateway", value_parser = selector)]
    pub(crate) gateway_selector: BTreeMap<String, String>,

    /// Namespace of the Gateway and of what routes from it [default: the relay's]
    #[arg(long, value_name = "NAMESPACE", value_parser = args::namespace, add = args::namespaces())]
    pub(crate) gateway_namespace: Option<String>,

    /// Name that agents ask for [default: SERVICE.NAMESPACE of the relay server]
    #[arg(long, value_name = "NAME", value_parser = args::dns_name)]
    pub(crate) host: Option<String>,

    /// Port of the gateway that agents dial
    #[arg(long, value_name = "PORT", default_value_t = 443, value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: u16,

    /// Class of Gateway API's Gateway [default: the only one there is]
    #[arg(long, value_name = "NAME", value_parser = args::dns_name)]
    pub(crate) gateway_class: Option<String>,

    /// Name of the objects
    #[arg(long, value_name = "NAME", default_value = "gloo-mesh-ingress", value_parser = args::label)]
    pub(crate) name: String,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("expected KEY=VALUE".to_owned()),
    }
}

/// Labels as kubectl writes them, `KEY=VALUE` separated by commas; a Gateway
/// selects by equality alone.
fn selector(text: &str) -> Result<BTreeMap<String, String>, String> {
    let labels = text.split(',').map(|label| pair(label.trim()));
    labels
        .collect::<Result<_, _>>()
        .map_err(|_| "expected KEY=VALUE,…".to_owned())
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
    }
}
