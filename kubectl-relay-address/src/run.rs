//! The flow of `kubectl relay-address`: connect, observe, choose, print.

use relay_shared::{ExitCode, Result, cluster::Cluster, exposure, exposure::Observation, render, terminal};

use crate::{
    cli::{Cli, Command, Output},
    report,
};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(Command::About(about)) = &cli.command {
        return about.run::<Cli>(&cli.cluster).await;
    }
    let output = cli.output.parse()?;
    let kubeconfig = cli.cluster.load()?;
    let cluster = Cluster::management(&kubeconfig, &cli.cluster)?;
    let lookup = cli.lookup();
    let observation = match cli.patience() {
        Some(limit) => exposure::wait(&cluster, &lookup, limit).await?,
        None => exposure::observe(&cluster, &lookup).await?,
    };
    let found = observation.address(cluster.context());
    if found.is_ok() || cli.explains() {
        terminal::data(&show(&cli, &output, &observation)?)?;
    }
    found.map(|_| ExitCode::Done)
}

fn show(cli: &Cli, output: &Output, observation: &Observation) -> Result<String> {
    let addresses = report::addresses(observation);
    let addresses = match cli.prints_all() {
        true => addresses.as_slice(),
        false => addresses.get(..1).unwrap_or_default(),
    };
    match output {
        Output::Document(format) => {
            render::documents(&[report::document(observation, cli.explains())], format)
        }
        Output::Address | Output::Wide if cli.explains() => Ok(report::explanation(observation)),
        Output::Address => Ok(report::lines(addresses)),
        Output::Wide => Ok(render::columns(&report::wide(addresses))),
        Output::Environment => Ok(report::environment(addresses)),
    }
}
