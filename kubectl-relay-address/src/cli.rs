//! The command line of `kubectl relay-address`.

use clap::{Args, Parser, Subcommand};
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    about::About,
    address::PortRef,
    args::{self, ClusterArgs, ServiceArgs},
    cluster::ObjectRef,
    exposure::{Lookup, Via},
    output::TableOutput,
    relay,
};

/// Print the address at which agents reach the relay server, as HOST:PORT
#[derive(Debug, Parser)]
#[command(
    bin_name = "kubectl relay-address",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "\
Examples:
  # The address to register clusters with
  RELAY_ADDRESS=$(kubectl relay-address --context mgmt)

  # Only the Istio ingress gateway counts, and it is not where Istio puts it
  kubectl relay-address --via istio --ingress-namespace edge"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(flatten)]
    lookup: LookupArgs,

    #[command(flatten)]
    pub(crate) output: TableOutput,

    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    About(About),
}

/// What exposes the relay server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Relay")]
struct LookupArgs {
    /// Where to look
    #[arg(long, value_enum, default_value_t = Via::Auto)]
    via: Via,

    #[command(flatten)]
    service: ServiceArgs,

    /// Port of the relay server's Service, by name or number
    #[arg(long, value_name = "PORT", default_value = relay::PORT_NAME)]
    port_name: String,

    /// Namespace of the Istio ingress gateway
    #[arg(long, value_name = "NAMESPACE", default_value = relay::INGRESS_NAMESPACE, value_parser = args::namespace, add = args::namespaces())]
    ingress_namespace: String,

    /// Service of the Istio ingress gateway
    #[arg(long, value_name = "NAME", default_value = relay::INGRESS_SERVICE, value_parser = args::label)]
    ingress_service: String,

    /// Port of the Istio ingress gateway, by name or number
    #[arg(long, value_name = "PORT", default_value = relay::INGRESS_PORT_NAME)]
    ingress_port_name: String,
}

impl Cli {
    /// What to look for, as the flags say.
    pub(crate) fn lookup(&self) -> Lookup {
        let flags = &self.lookup;
        Lookup {
            via: flags.via,
            namespace: self.cluster.namespace.clone(),
            service: flags.service.service.clone(),
            port: PortRef::new(&flags.port_name),
            ingress: ObjectRef::new::<Service>(&flags.ingress_namespace, &flags.ingress_service),
            ingress_port: PortRef::new(&flags.ingress_port_name),
        }
    }
}
