//! The flow of `kubectl relay-address`: connect, observe, choose, check, print.

use relay_shared::{
    ExitCode, Result, cluster::Cluster, exposure, kubeconfig::Kubeconfig, observation::Observation, render,
    terminal,
};

use crate::{
    check::{self, Trusting},
    cli::{Cli, Command, Output},
    report,
};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(Command::About(about)) = &cli.command {
        return about.run::<Cli>(&cli.cluster).await;
    }
    let output = cli.output()?;
    let kubeconfig = cli.cluster.load()?;
    let cluster = Cluster::management(&kubeconfig, &cli.cluster)?;
    let lookup = cli.lookup();
    let observation = match cli.patience() {
        Some(limit) => exposure::wait(&cluster, &lookup, limit).await?,
        None => exposure::observe(&cluster, &lookup).await?,
    };
    if cli.check.check {
        return check(&cli, &output, &kubeconfig, &cluster, &observation).await;
    }
    let found = observation.address(cluster.context());
    // What a shell evaluates has no place for a story.
    let is_evaluated = output == Output::Environment;
    if is_evaluated && cli.explains() {
        terminal::story(report::explanation(&observation).trim_end());
    }
    if found.is_ok() || (cli.explains() && !is_evaluated) {
        terminal::data(&show(&cli, &output, &observation)?)?;
    }
    found.map(|_| ExitCode::Done)
}

async fn check(
    cli: &Cli,
    output: &Output,
    kubeconfig: &Kubeconfig,
    cluster: &Cluster,
    observation: &Observation,
) -> Result<ExitCode> {
    let (address, _) = observation.address(cluster.context())?;
    let remotes = cli.remotes.connect(kubeconfig, &cli.cluster, Some(cluster))?;
    let trusting = Trusting {
        file: cli.check.ca_file.as_deref(),
        management: cluster,
        remotes: remotes.clusters,
        namespace: &cli.cluster.namespace,
        parallel: cli.remotes.parallel,
    };
    let steps = check::check(address, &observation.host, trusting).await;
    let shown = match output {
        Output::Document(format) => {
            let mut document = report::document(observation, false);
            document["checks"] = report::checks(&steps);
            render::documents(&[document], format)?
        }
        _ => report::proof(address, &steps),
    };
    terminal::data(&shown)?;
    report::hints(&steps)
        .iter()
        .for_each(|hint| terminal::story(hint));
    Ok(check::exit_code(&steps))
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
