//! The command line of `rotate`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueHint};
use relay_shared::{
    args::{DryRun, DryRunArgs, ServiceArgs},
    output::ReportOutput,
    remotes::RemoteArgs,
};
use time::Duration;

use crate::{choices, member::Places, password::PasswordArgs, rotation::Turn, secret_names::SecretNames};

/// What is replaced.
#[derive(Debug, Subcommand)]
pub(crate) enum Rotate {
    /// Give the relay server another certificate of the same root, with the same names
    ///
    /// The server notices by itself, and no agent is refused at any time.
    #[command(after_help = "\
Examples:
  # A new key and certificate from the root in relay-pki
  kubectl relay-certs rotate server --context mgmt

  # One that your own CA has issued
  kubectl relay-certs rotate server --context mgmt --cert new.crt --key new.key")]
    Server(Box<PairArgs>),

    /// Give the relay server another certificate of the same root to issue by
    ///
    /// The server has to be restarted; certificates that were issued stay valid.
    #[command(after_help = "\
Examples:
  kubectl relay-certs rotate signing --context mgmt
  kubectl --context mgmt -n gloo-mesh rollout restart \\
    deployment/enterprise-networking")]
    Signing(Box<PairArgs>),

    /// Replace the root in three steps, none of which cuts off an agent
    ///
    /// publish: every cluster trusts a new root beside the old one. issue: the server's
    /// certificates come from the new root. retire: no cluster trusts the old root any
    /// more. Between them the relay has to be restarted; each step says how, and the
    /// next one looks whether it was done.
    ///
    /// All clusters take part in every step. A step can be repeated: it finishes what
    /// was interrupted, and changes nothing that is done. Whether the relay, whose
    /// source is closed, reads more than one root from ca.crt is untested.
    #[command(after_help = "\
Examples:
  kubectl relay-certs rotate root --step publish \\
    --context mgmt --remote-context 'prod-*'
  kubectl relay-certs rotate root --step issue \\
    --context mgmt --remote-context 'prod-*'
  kubectl relay-certs rotate root --step retire \\
    --context mgmt --remote-context 'prod-*'

  # Take publishing back
  kubectl relay-certs rotate root --abort \\
    --context mgmt --remote-context 'prod-*'")]
    Root(Box<RootArgs>),
}

/// What every rotation is told.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Directory that keeps the certificates and their keys
    #[arg(long, value_name = "DIR", default_value = "relay-pki", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    /// How long what is made is valid, in hours, days or years: 24h, 90d, 10y
    #[arg(long, value_name = "TIME", value_parser = choices::lifetime, default_value = "3650d")]
    pub(crate) lifetime: Duration,

    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,

    /// Change secrets that Helm, cert-manager or another program looks after, too
    #[arg(long)]
    pub(crate) take_over: bool,

    #[command(flatten)]
    pub(crate) output: ReportOutput,

    #[command(flatten)]
    pub(crate) names: SecretNames,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PairArgs {
    /// File with a certificate of yours, then the intermediates above it, instead of a new one
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "key")]
    pub(crate) cert: Option<PathBuf>,

    /// File with the key of that certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath, requires = "cert")]
    pub(crate) key: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) common: CommonArgs,

    #[command(flatten)]
    pub(crate) password: PasswordArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RootArgs {
    /// Which step to take
    #[arg(long, value_enum, required_unless_present = "abort", conflicts_with = "abort")]
    pub(crate) step: Option<Turn>,

    /// Take publishing back: no cluster trusts the new root any more
    #[arg(long)]
    pub(crate) abort: bool,

    /// Issue even if pods are older than the root that they have to trust
    #[arg(long)]
    pub(crate) assume_restarted: bool,

    /// Go on although more clusters are registered than take part
    #[arg(long)]
    pub(crate) only_these: bool,

    /// Keep the key of the new root behind a password, as is done if the old one's is
    #[arg(long)]
    pub(crate) encrypt_root_key: bool,

    #[command(flatten)]
    pub(crate) common: CommonArgs,

    #[command(flatten)]
    pub(crate) password: PasswordArgs,

    #[command(flatten)]
    pub(crate) remotes: RemoteArgs,
}

impl CommonArgs {
    /// Where the Secrets are that take part.
    pub(crate) fn places<'a>(&'a self, namespace: &'a str) -> Places<'a> {
        Places {
            namespace,
            names: &self.names,
            service: self.service.service.as_deref(),
            identity_token: false,
        }
    }

    /// Whether anything is written.
    pub(crate) fn writes(&self) -> bool {
        self.dry_run.mode == DryRun::None
    }
}
