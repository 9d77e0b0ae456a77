//! `apply`: connect, observe, plan, apply, report.

use std::time::Duration;

use futures::future::try_join_all;
use relay_shared::{
    ExitCode, Result,
    apply::{ClusterReport, Report},
    args::{ClusterArgs, DryRun},
    cluster::Cluster,
    exposure,
    observation::Lookup,
    relay, render, shell, terminal,
};
use serde_json::Value;

use crate::{
    cli::ApplyArgs,
    intent::{self, Intent},
    site::Site,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &ApplyArgs) -> Result<ExitCode> {
    args.check()?;
    let format = args.output.format()?;
    let site = Site::observe(flags, args).await?;
    let way = site.choose(args.via).await?;
    let intents = site.change(&way, args).await?;

    let lookup = way.lookup(&site.target.relay);
    let cluster = site.seen.map(|seen| seen.cluster);
    let asked = cluster.clone().filter(|_| args.dry_run.mode != DryRun::Client);
    let applied_to = asked.clone().filter(|_| args.dry_run.mode == DryRun::None);
    let (report, foreseen) = match cluster {
        Some(cluster) => intent::carry_out(cluster, intents, args.dry_run.mode).await?,
        None => foresee(flags, intents),
    };
    let shown = match (&format, &asked) {
        (Some(format), Some(cluster)) if report.is_done() => {
            render::documents(&answered(cluster, &report, foreseen).await?, format)?
        }
        (Some(format), None) if report.is_done() => render::documents(&foreseen, format)?,
        _ => render::report(&report, args.dry_run.mode),
    };
    terminal::data(&shown)?;
    report.into_result()?;
    match applied_to.zip(args.wait) {
        Some((cluster, limit)) => wait(&cluster, &lookup, limit, format.is_none()).await?,
        None if args.dry_run.mode == DryRun::None && format.is_none() => {
            terminal::story(&next(flags, args));
        }
        None => {}
    }
    Ok(ExitCode::Done)
}

/// The objects as the server answers, as kubectl shows them: with node ports and all
/// else that it chooses. What did not change is read; what is gone again is as it was
/// foreseen.
async fn answered(cluster: &Cluster, report: &Report, foreseen: Vec<Value>) -> Result<Vec<Value>> {
    let objects = report.clusters.iter().flat_map(|cluster| &cluster.objects);
    let objects = objects.zip(foreseen).map(async |(report, foreseen)| {
        let mut object = match &report.answer {
            Some(answer) => answer.clone(),
            None => cluster.get(&report.object).await?.unwrap_or(foreseen),
        };
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("managedFields");
        }
        Ok(object)
    });
    try_join_all(objects).await
}

/// How to go on: with the flags that were given here, as they say where.
fn next(flags: &ClusterArgs, args: &ApplyArgs) -> String {
    let given = [
        ("--context", flags.context()),
        (
            "--namespace",
            Some(flags.namespace.as_str()).filter(|name| *name != relay::NAMESPACE),
        ),
        ("--service", args.service.service.as_deref()),
        ("--server-name", args.gateway.host.as_deref()),
    ];
    let given = given
        .into_iter()
        .filter_map(|(flag, value)| Some(format!(" {flag} {}", shell::word(value?))));
    format!(
        "next: `kubectl relay-address{}` prints the address to register clusters with",
        given.collect::<String>()
    )
}

/// What would become of intents in a cluster that cannot be reached.
fn foresee(flags: &ClusterArgs, intents: Vec<Intent>) -> (Report, Vec<Value>) {
    let parts = intents.into_iter().map(|intent| (intent.step, intent.document));
    let (steps, documents) = parts.unzip();
    let cluster = flags.load().and_then(|known| Cluster::management(&known, flags));
    let context = cluster.as_ref().map_or("-", Cluster::context);
    let clusters = vec![ClusterReport::foreseen(context, steps)];
    (Report { clusters }, documents)
}

/// Waits for an address and ends with it, or with the reason why there is none: on
/// stdout, unless documents are there.
async fn wait(cluster: &Cluster, lookup: &Lookup, limit: Duration, on_stdout: bool) -> Result<()> {
    let observation = exposure::wait(cluster, lookup, limit).await?;
    let (address, _) = observation.address(cluster.context())?;
    match on_stdout {
        true => terminal::data(&format!("{address}\n")),
        false => {
            terminal::story(&format!("the address is {address}"));
            Ok(())
        }
    }
}
