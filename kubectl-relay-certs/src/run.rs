//! Which command runs.

use relay_shared::{ExitCode, Result};

use crate::{
    cli::{Cli, Command},
    csr, generate, init, inspect, manifests,
    role::Child,
    rotate_args::Rotate,
    rotate_pair, rotate_root, status,
};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Init(args) => init::run(&cli.cluster, args).await,
        Command::Generate(args) => generate::run(&cli.cluster, args).await,
        Command::Status(args) => status::run(&cli.cluster, args).await,
        Command::Csr(args) => csr::run(&cli.cluster, args).await,
        Command::Manifests(args) => manifests::run(&cli.cluster, args).await,
        Command::Inspect(args) => inspect::run(&cli.cluster, args).await,
        Command::Rotate(Rotate::Server(args)) => rotate_pair::run(&cli.cluster, args, Child::Server).await,
        Command::Rotate(Rotate::Signing(args)) => rotate_pair::run(&cli.cluster, args, Child::Signing).await,
        Command::Rotate(Rotate::Root(args)) => rotate_root::run(&cli.cluster, args).await,
        Command::About(about) => about.run::<Cli>(&cli.cluster).await,
    }
}
