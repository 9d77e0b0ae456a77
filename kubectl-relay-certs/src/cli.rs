//! The command line of `kubectl relay-certs`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use relay_shared::{
    about::About,
    args::{ClusterArgs, DryRunArgs, ServiceArgs},
    output::{ObjectOutput, ReportOutput, TableOutput},
    remotes::RemoteArgs,
};
use time::Duration;

use crate::{
    choices::{self, ChoiceArgs, RequestArgs},
    own::{BroughtArgs, CaArgs},
    password::RootKeyArgs,
    rotate_args::Rotate,
    secret_names::SecretNames,
};

/// Make and place the certificates that relay server and agents trust each other by
#[derive(Debug, Parser)]
#[command(
    bin_name = "kubectl relay-certs",
    version,
    after_help = "\
Examples:
  # Make the certificates, and place them in the management cluster and remotes
  kubectl relay-certs init --context mgmt --remote-context east,west

  # Does every cluster trust the same root, and for how long?
  kubectl relay-certs status --context mgmt --remote-context east,west"
)]
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
    Init(Box<InitArgs>),

    /// Make the certificates in a directory, without any cluster; a second run changes nothing
    #[command(after_help = "\
Examples:
  # As on the page: a root, and two certificates from it
  kubectl relay-certs generate --pki-dir relay-pki

  # Smaller keys, an address of the load balancer, a root key behind a password
  kubectl relay-certs generate --pki-dir relay-pki --key-algorithm ecdsa-p256 \\
    --san relay.example.com --encrypt-root-key

  # From your own CA
  kubectl relay-certs generate --pki-dir relay-pki --ca-cert ca.crt \\
    --ca-key ca.key")]
    Generate(Box<GenerateArgs>),

    /// Ask an outside CA for the server's and the signing certificate
    #[command(after_help = "\
Examples:
  # Keys and requests; the keys stay in the directory
  kubectl relay-certs csr --pki-dir relay-pki

  # Place what the CA has answered, each with the intermediates above it
  kubectl relay-certs init --context mgmt --ca-cert root.crt \\
    --server-cert server.crt --server-key relay-pki/relay-server-tls.key \\
    --signing-cert signing.crt --signing-key relay-pki/relay-tls-signing.key")]
    Csr(CsrArgs),

    /// Print the secrets of a kind of cluster, for who keeps them in a repository
    #[command(after_help = "\
Examples:
  # What every remote gets: no key is in it
  kubectl relay-certs manifests --for remote --pki-dir relay-pki

  # Whole files, keys included, readable by you alone
  kubectl relay-certs manifests --for management --pki-dir relay-pki \\
    --output-dir secrets")]
    Manifests(Box<ManifestsArgs>),

    /// Show certificates in files or in a secret, and what is wrong with them
    #[command(after_help = "\
Examples:
  # A PKI directory
  kubectl relay-certs inspect relay-pki

  # A secret of the management cluster
  kubectl relay-certs inspect --context mgmt --secret relay-server-tls-secret

  # What a CA has answered, before it is placed
  kubectl relay-certs inspect server.crt --key server.key --ca-cert root.crt

Exits with 3 if anything is wrong, and with 4 if anything ends soon. What the relay
accepts and others refuse is a warning.")]
    Inspect(InspectArgs),

    /// Check the certificates of every cluster
    #[command(after_help = "\
Exit codes:
  0  everything is in order; defects that the relay accepts are warnings
  1  a cluster cannot be read
  3  something is wrong
  4  something expires soon

Examples:
  # Does every cluster trust the same root, and for how long?
  kubectl relay-certs status --context mgmt --remote-context 'prod-*'

  # For a monitor: complain 90 days before anything expires
  kubectl relay-certs status --context mgmt --remote-context 'prod-*' \\
    --expires-within 90d -o json")]
    Status(Box<StatusArgs>),

    /// Replace a certificate, or the root under all of them, while agents stay connected
    #[command(
        subcommand,
        after_help = "\
Examples:
  # Another certificate for the server, from the root in relay-pki
  kubectl relay-certs rotate server --context mgmt

  # Another root, in three steps: this is the first
  kubectl relay-certs rotate root --step publish \\
    --context mgmt --remote-context 'prod-*'"
    )]
    Rotate(Rotate),

    #[command(flatten)]
    About(About),
}

#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    /// Directory that keeps the certificates and their keys
    #[arg(long, value_name = "DIR", default_value = "relay-pki", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    /// Give all clusters the identity token by which new agents prove themselves
    ///
    /// The one that the management cluster has, or else a new one. Gloo Mesh's chart
    /// makes one by itself only with selfSigned=true.
    #[arg(long)]
    pub(crate) identity_token: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRunArgs,

    /// Leave out remotes that cannot be worked with; exits with 1 if there are any
    #[arg(long)]
    pub(crate) keep_going: bool,

    /// Change secrets that Helm, cert-manager or another program looks after, too
    #[arg(long)]
    pub(crate) take_over: bool,

    #[command(flatten)]
    pub(crate) output: ReportOutput,

    #[command(flatten)]
    pub(crate) remotes: RemoteArgs,

    #[command(flatten)]
    pub(crate) names: SecretNames,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) issue: IssueArgs,

    #[command(flatten)]
    pub(crate) brought: BroughtArgs,
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

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    /// How soon is soon, in hours, days or years: 24h, 90d, 1y
    #[arg(long, value_name = "TIME", default_value = "60d", value_parser = choices::lifetime)]
    pub(crate) expires_within: Duration,

    #[command(flatten)]
    pub(crate) output: TableOutput,

    #[command(flatten)]
    pub(crate) remotes: RemoteArgs,

    #[command(flatten)]
    pub(crate) names: SecretNames,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

#[derive(Debug, Args)]
pub(crate) struct CsrArgs {
    /// Directory that keeps the requests and their keys
    #[arg(long, value_name = "DIR", default_value = "relay-pki", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ManifestsArgs {
    /// Kind of cluster
    #[arg(long = "for", value_name = "KIND")]
    pub(crate) kind: ClusterKind,

    /// Directory that keeps the certificates and their keys
    #[arg(long, value_name = "DIR", default_value = "relay-pki", value_hint = ValueHint::DirPath)]
    pub(crate) pki_dir: PathBuf,

    /// Write a file for each secret, keys included, into this directory
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath, conflicts_with_all = ["output", "show_keys"])]
    pub(crate) output_dir: Option<PathBuf>,

    /// Print keys, too, instead of <redacted>
    #[arg(long)]
    pub(crate) show_keys: bool,

    #[command(flatten)]
    pub(crate) output: ObjectOutput,

    #[command(flatten)]
    pub(crate) names: SecretNames,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,

    #[command(flatten)]
    pub(crate) ca: CaArgs,

    #[command(flatten)]
    pub(crate) brought: BroughtArgs,
}

/// What a cluster is in the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ClusterKind {
    /// It has the relay server
    Management,
    /// It has an agent
    Remote,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// Files of certificates, or PKI directories
    #[arg(value_name = "PATH", value_hint = ValueHint::AnyPath, required_unless_present = "secret")]
    pub(crate) paths: Vec<PathBuf>,

    /// Secret to look into, in the management cluster
    #[arg(long, value_name = "NAME")]
    pub(crate) secret: Option<String>,

    /// File with the key of the certificate
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) key: Option<PathBuf>,

    /// File with what peers trust [default: the roots among what is shown]
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) ca_cert: Option<PathBuf>,

    /// Exit with 4 if anything ends within this time
    #[arg(long, value_name = "TIME", default_value = "60d", value_parser = choices::lifetime)]
    pub(crate) expires_within: Duration,

    #[command(flatten)]
    pub(crate) output: TableOutput,

    #[command(flatten)]
    pub(crate) service: ServiceArgs,
}

/// What is issued, by whom, and where its key goes.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    #[command(flatten)]
    pub(crate) choices: ChoiceArgs,

    #[command(flatten)]
    pub(crate) ca: CaArgs,

    #[command(flatten)]
    pub(crate) root_key: RootKeyArgs,
}
