//! The command line of `kubectl relay-address`.

use std::{net::IpAddr, time::Duration};

use clap::{Args, Parser, Subcommand, builder::NonEmptyStringValueParser};
use clap_complete::engine::ArgValueCandidates;
use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    Error, Result,
    about::About,
    address::{Family, HostKind, NodeAddressType},
    args::{self, ClusterArgs, ServiceArgs},
    candidate::Preferences,
    cluster::ObjectRef,
    observation::{Lookup, Via},
    output::{self, Format, TemplateArgs},
    relay,
    remotes::RemoteArgs,
    service_address::PortRef,
};

use crate::check::CheckArgs;

/// Print the address at which agents reach the relay server, as HOST:PORT
#[derive(Debug, Parser)]
#[command(
    bin_name = "kubectl relay-address",
    version,
    after_help = "\
Examples:
  # The address to register clusters with
  RELAY_ADDRESS=$(kubectl relay-address --context mgmt)

  # The page's three variables
  eval \"$(kubectl relay-address -o env)\"

  # Why this address and no other
  kubectl relay-address --explain

  # Wait for the cloud's load balancer
  kubectl relay-address --wait=10m

  # Prove it from here, against the root that each cluster trusts
  kubectl relay-address --check --remote-context 'prod-*'

  # On kind, which has no load balancers
  kubectl relay-address --node-port

  # Only the Istio ingress gateway counts, and it is not where Istio puts it
  kubectl relay-address --via istio --ingress-namespace edge"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(flatten)]
    lookup: LookupArgs,

    #[command(flatten)]
    choice: ChoiceArgs,

    #[command(flatten)]
    output: AddressOutput,

    #[command(flatten)]
    pub(crate) check: CheckArgs,

    #[command(flatten)]
    pub(crate) remotes: RemoteArgs,

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
    #[arg(long, value_name = "PORT", default_value = relay::PORT_NAME, value_parser = NonEmptyStringValueParser::new())]
    port_name: String,

    /// Name that agents ask for [default: SERVICE.NAMESPACE of the relay server]
    ///
    /// An IP is none: TLS asks for a server by a DNS name, and agents ask for the one
    /// that they are told, whichever address they dial.
    #[arg(long, value_name = "NAME", value_parser = server_name)]
    server_name: Option<String>,

    /// Namespace of the Istio ingress gateway [default: wherever one serves the relay]
    ///
    /// By default every Istio gateway is found whose Gateway passes TLS through for
    /// the relay's name. Without any, and where only its service is named, it is
    /// istio-system.
    #[arg(long, value_name = "NAMESPACE", value_parser = args::namespace)]
    ingress_namespace: Option<String>,

    /// Service of the Istio ingress gateway [default: whichever serves the relay]
    ///
    /// Where only its namespace is named, and where none is found, it is
    /// istio-ingressgateway.
    #[arg(long, value_name = "NAME", value_parser = args::label)]
    ingress_service: Option<String>,

    /// Port of the Istio ingress gateway, by name or number [default: the Gateway's]
    ///
    /// Where no Gateway says which, it is the one named https.
    #[arg(long, value_name = "PORT", value_parser = NonEmptyStringValueParser::new())]
    ingress_port_name: Option<String>,
}

/// Which of several addresses.
#[derive(Debug, Args)]
#[command(next_help_heading = "Choice")]
struct ChoiceArgs {
    /// Take node ports, also those of LoadBalancer services, as on kind
    #[arg(long)]
    node_port: bool,

    /// Types of node addresses that count, best first; repeatable, or with commas
    #[arg(
        long,
        value_name = "TYPE",
        value_enum,
        ignore_case = true,
        value_delimiter = ',',
        hide_possible_values = true,
        long_help = "Types of node addresses that count, best first; repeatable, or with commas\n\n\
                       By default all do: ExternalIP, ExternalDNS, InternalIP, InternalDNS, Hostname."
    )]
    node_address_type: Vec<NodeAddressType>,

    /// What to take first of the addresses that one load balancer has
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        hide_possible_values = true,
        value_name = "ip|hostname"
    )]
    prefer: Option<HostKind>,

    /// Family that an IP has to be of
    #[arg(
        long,
        value_enum,
        ignore_case = true,
        hide_possible_values = true,
        value_name = "ipv4|ipv6"
    )]
    ip_family: Option<Family>,

    /// Print every address that works, one a line, the best first
    ///
    /// Every address of the sources that --via names, each once: what load balancers
    /// and external IPs have, and where node ports count all that the nodes have which
    /// answer. -o wide says where each is from.
    #[arg(long)]
    pub(crate) all: bool,

    /// Show what was found where, and why each is taken or not
    ///
    /// Looks everywhere, even where an address was found already. With -o json it is
    /// in `candidates`; with -o env it goes to stderr.
    #[arg(long)]
    pub(crate) explain: bool,

    /// Wait until there is an address [default: 5m where no duration is given]
    #[arg(long, value_name = "DURATION", value_parser = args::duration, num_args = 0..=1,
          default_missing_value = "5m")]
    wait: Option<Duration>,
}

/// The flag that says how the address is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct AddressOutput {
    /// Print more: env, wide, json, yaml, jsonpath=TEMPLATE, jsonpath-file=FILE or
    /// jsonpath-as-json=TEMPLATE
    ///
    /// env is for eval in a shell. json has address, host, port, source and
    /// candidates, and stays like this.
    #[arg(short, long, value_name = "FORMAT", add = ArgValueCandidates::new(|| output::candidates(&FORMATS)))]
    output: Option<String>,

    #[command(flatten)]
    template: TemplateArgs,
}

/// In the order of kubectl's message.
const FORMATS: [&str; 7] = [
    "env",
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "wide",
    "yaml",
];

/// How the address is printed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Output {
    /// As it is.
    Address,
    /// As assignments of a shell's variables.
    Environment,
    /// With where it is from.
    Wide,
    /// As a document.
    Document(Format),
}

/// A name that agents can ask for. Go sends none where it is an IP (RFC 6066, section
/// 3), so that no gateway could tell whom it is for.
fn server_name(text: &str) -> Result<String, String> {
    match text.parse::<IpAddr>() {
        Ok(_) => Err("expected a DNS name: agents cannot ask for a server by an IP".to_owned()),
        Err(_) => args::dns_name(text),
    }
}

impl AddressOutput {
    /// The format that is asked for.
    ///
    /// # Errors
    /// If there is no such format, or its template makes no sense or cannot be read.
    fn parse(&self) -> Result<Output> {
        Ok(match self.output.as_deref().unwrap_or_default() {
            "" => Output::Address,
            "env" => Output::Environment,
            "wide" => Output::Wide,
            output => Output::Document(output::format(output, &FORMATS, &self.template)?),
        })
    }
}

impl Cli {
    /// How to print what was found.
    ///
    /// # Errors
    /// As [`AddressOutput::parse`], or if flags make no sense together.
    pub(crate) fn output(&self) -> Result<Output> {
        if !self.check.check && !self.remotes.is_empty() {
            return Err(
                Error::usage("--remote-context and --remote-kubeconfig need --check")
                    .hint("the address is the management cluster's; --check proves it to each remote's root"),
            );
        }
        let output = self.output.parse()?;
        if self.choice.all && output == Output::Environment {
            return Err(
                Error::usage("-o env assigns one address, and --all prints every one")
                    .hint("leave one of them out: --all prints an address a line"),
            );
        }
        if self.check.check && matches!(output, Output::Wide | Output::Environment) {
            return Err(
                Error::usage("--check prints a table or a document, not this format")
                    .hint("leave -o out, or take json, yaml or a template"),
            );
        }
        Ok(output)
    }

    /// What to look for, as the flags say.
    pub(crate) fn lookup(&self) -> Lookup {
        let LookupArgs {
            via,
            service,
            port_name,
            server_name,
            ingress_namespace,
            ingress_service,
            ingress_port_name,
        } = &self.lookup;
        let choice = &self.choice;
        let named = ingress_namespace.is_some() || ingress_service.is_some();
        let ingress = || {
            let namespace = ingress_namespace.as_deref().unwrap_or(relay::INGRESS_NAMESPACE);
            let service = ingress_service.as_deref().unwrap_or(relay::INGRESS_SERVICE);
            ObjectRef::new::<Service>(namespace, service)
        };
        Lookup {
            via: *via,
            everywhere: self.explains() || self.prints_all(),
            namespace: self.cluster.namespace.clone(),
            service: service.service.clone(),
            port: PortRef::new(port_name),
            host: server_name.clone(),
            ingress: named.then(ingress),
            ingress_port: ingress_port_name.as_ref().map(PortRef::new),
            preferences: Preferences {
                kind: choice.prefer,
                family: choice.ip_family,
                node_port: choice.node_port,
                node_address_types: choice.node_address_type.clone(),
            },
        }
    }

    /// Whether to say why an address is taken.
    pub(crate) fn explains(&self) -> bool {
        self.choice.explain
    }

    /// Whether to print every address.
    pub(crate) fn prints_all(&self) -> bool {
        self.choice.all
    }

    /// How long to wait for an address, if at all.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.choice.wait
    }
}
