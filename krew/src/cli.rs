//! The command line of the packager.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::{release::Origin, target::Target};

/// The profile of what is shipped.
pub(crate) const SHIPPED: &str = "dist";

/// Pack the relay plugins for krew
#[derive(Debug, Parser)]
#[command(name = "relay-krew", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Install the tools that packing needs, into target/tools
    Tools,

    /// Build the plugins for a target and pack them
    #[command(after_help = "\
Examples:
  # For this machine, to install with: kubectl krew install --manifest … --archive …
  cargo run -p relay-krew --release -- package --out dist

  # One of a release's targets
  cargo run -p relay-krew --release -- package --out dist \\
    --target aarch64-unknown-linux-gnu")]
    Package(PackageArgs),

    /// Write checksums and manifests for the archives that are in a directory
    #[command(after_help = "\
Example:
  # Archives of all targets, from the machines that made them
  cargo run -p relay-krew --release -- manifests --out dist \\
    --base-url https://example.com/relay/v0.1.0")]
    Manifests {
        /// Directory of the archives
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        #[command(flatten)]
        origin: Origin,
    },
}

#[derive(Debug, Args)]
pub(crate) struct PackageArgs {
    /// Directory for archives, checksums and manifests
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    /// Rust's name of the platform; this machine's if there is none
    #[arg(long, value_name = "TRIPLE", value_parser = Target::parse)]
    pub(crate) target: Option<Target>,

    /// Profile of cargo to build with
    #[arg(long, value_name = "NAME", default_value = SHIPPED)]
    pub(crate) profile: String,

    #[command(flatten)]
    pub(crate) origin: Origin,
}
