//! The command line of `kubectl relay-ingress`.

use clap::{Args, Parser, Subcommand, ValueEnum};
use relay_shared::{
    about::About,
    args::{ClusterArgs, DryRun, ServiceArgs},
    output::ObjectOutput,
};

/// Expose the relay server to the agents in other clusters
#[derive(Debug, Parser)]
#[command(bin_name = "kubectl relay-ingress", version)]
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
  # Ask the cloud for a load balancer
  kubectl relay-ingress apply --via loadbalancer

  # Pass TLS through the Istio ingress gateway; look at it first
  kubectl relay-ingress apply --via istio --dry-run=client -o yaml
  kubectl relay-ingress apply --via istio")]
    Apply(ApplyArgs),

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

    #[command(flatten)]
    pub(crate) output: ObjectOutput,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

/// What carries the agents' connections into the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(crate) enum Via {
    /// A load balancer of the relay server's own
    LoadBalancer,
    /// The Istio ingress gateway, which passes TLS through
    Istio,
}
