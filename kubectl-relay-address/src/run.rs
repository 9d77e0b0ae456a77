//! The flow of `kubectl relay-address`: connect, observe, choose, print.

use relay_shared::{ExitCode, Result, cluster::Cluster, exposure, terminal};

use crate::cli::{Cli, Command};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(Command::About(about)) = &cli.command {
        return about.run::<Cli>(&cli.cluster).await;
    }
    let kubeconfig = cli.cluster.load()?;
    let cluster = Cluster::management(&kubeconfig, &cli.cluster).await?;
    let findings = exposure::observe(&cluster, &cli.lookup()).await?;
    let address = exposure::relay_address(&findings, cluster.context())?;
    terminal::data(&format!("{address}\n"))?;
    Ok(ExitCode::Done)
}
