//! The command line of `kubectl relay-certs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use relay_shared::{
    about::About,
    args::{ClusterArgs, ServiceArgs},
    remotes::RemoteArgs,
};

use crate::{
    choices::{ChoiceArgs, OwnArgs},
    password::RootKeyArgs,
};

/// Make and place the certificates that relay server and agents trust each other by
#[derive(Debug, Parser)]
#[command(bin_name = "kubectl relay-certs", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) cluster: ClusterArgs,

    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make the certificates and place them in every cluster; a second run changes nothing
    #[command(after_help = "\
Examples:
  # Everything, for a management cluster and two remotes
  kubectl relay-certs init --context mgmt \\
    --remote-context east --remote-context west

  # Add a remote later: it gets the root in use, and no key is needed
  kubectl relay-certs init --context mgmt --remote-context north

  # All clusters of a fleet, and one whose kubeconfig is a file of its own
  kubectl relay-certs init --context mgmt --remote-context 'prod-*' \\
    --remote-kubeconfig edge.yaml --remote-context edge.yaml:default")]
    Init(InitArgs),

    /// Make the certificates in a directory, without any cluster; a second run changes nothing
    #[command(after_help = "\
Examples:
  # As on the page: a root, and two certificates from it
  kubectl relay-certs generate --pki-dir relay-pki

  # Smaller keys, an address of the load balancer, a root key behind a password
  kubectl relay-certs generate --pki-dir relay-pki --key-algorithm ecdsa-p256 \\
    --san relay.example.com --encrypt-root-key

  # From your own CA
  kubectl relay-certs generate --pki-dir relay-pki --ca-cert ca.crt --ca-key ca.key")]
    Generate(GenerateArgs),

    #[command(flatten)]
    About(About),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Directory that keeps the certificates and their keys
    #[arg(long, value_name = "DIR", default_value = "relay-pki", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    #[command(flatten)]
    pub(crate) remotes: RemoteArgs,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) issue: IssueArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Directory that keeps the certificates and their keys
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) issue: IssueArgs,
}

/// What is issued, by whom, and where its key goes.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    #[command(flatten)]
    pub(crate) choices: ChoiceArgs,

    #[command(flatten)]
    pub(crate) own: OwnArgs,

    #[command(flatten)]
    pub(crate) root_key: RootKeyArgs,
}
