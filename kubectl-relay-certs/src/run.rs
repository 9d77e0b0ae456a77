//! Which command runs.

use relay_shared::{ExitCode, Result};

use crate::{
    cli::{Cli, Command},
    csr, generate, init, inspect, manifests, rotate, status,
};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Init(args) => init::run(&cli.cluster, args).await,
        Command::Generate(args) => generate::run(&cli.cluster, args).await,
        Command::Status(args) => status::run(&cli.cluster, args).await,
        Command::Csr(args) => csr::run(&cli.cluster, args).await,
        Command::Manifests(args) => manifests::run(&cli.cluster, args).await,
        Command::Inspect(args) => inspect::run(&cli.cluster, args).await,
        Command::Rotate(args) => rotate::run(&cli.cluster, args).await,
        Command::About(about) => about.run::<Cli>(&cli.cluster).await,
    }
}
