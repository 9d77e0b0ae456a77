//! The command line of `kubectl relay-certs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueHint};
use relay_shared::{
    about::About,
    args::{self, ClusterArgs, ServiceArgs},
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
  kubectl relay-certs init --context mgmt --remote-context north")]
    Init(InitArgs),

    #[command(flatten)]
    About(About),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Context of a remote cluster; repeatable
    #[arg(long = "remote-context", value_name = "CONTEXT", add = args::contexts())]
    pub(crate) remote_contexts: Vec<String>,

    /// Directory that keeps the certificates and their keys
    #[arg(long, value_name = "DIR", default_value = "relay-pki", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}
