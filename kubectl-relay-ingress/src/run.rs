//! Which command does what.

use relay_shared::{ExitCode, Result};

use crate::{
    apply,
    cli::{Cli, Command},
    delete, status,
};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    match &cli.command {
        Command::Apply(args) => apply::run(&cli.cluster, args).await,
        Command::Status(args) => status::status(&cli.cluster, args).await,
        Command::Lint(args) => status::lint(&cli.cluster, args).await,
        Command::Delete(args) => delete::run(&cli.cluster, args).await,
        Command::About(about) => about.run::<Cli>(&cli.cluster).await,
    }
}
