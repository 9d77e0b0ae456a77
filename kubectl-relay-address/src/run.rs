//! The flow of `kubectl relay-address`: connect, observe, choose, print.

use relay_shared::{
    ExitCode, Result,
    address::{Address, Finding},
    cluster::Cluster,
    exposure,
    output::Table,
    render, terminal,
};
use serde_json::{Value, json};

use crate::cli::{Cli, Command};

pub(crate) async fn run(cli: Cli) -> Result<ExitCode> {
    if let Some(Command::About(about)) = &cli.command {
        return about.run::<Cli>(&cli.cluster).await;
    }
    let table = cli.output.table()?;
    let kubeconfig = cli.cluster.load()?;
    let cluster = Cluster::management(&kubeconfig, &cli.cluster)?;
    let findings = exposure::observe(&cluster, &cli.lookup()).await?;
    let (address, finding) = exposure::relay_address(&findings, cluster.context())?;
    let shown = match table {
        None => format!("{address}\n"),
        Some(Table::Wide) => render::columns(&wide(address, finding)),
        Some(Table::Document(format)) => render::documents(&[document(address, finding)], &format)?,
    };
    terminal::data(&shown)?;
    Ok(ExitCode::Done)
}

fn wide(address: &Address, finding: &Finding) -> [[String; 4]; 2] {
    let object = &finding.object;
    [
        ["ADDRESS", "NAMESPACE", "SOURCE", "FIELD"].map(str::to_owned),
        [
            address.to_string(),
            object.namespace().unwrap_or_default().to_owned(),
            object.path(),
            finding.field.clone(),
        ],
    ]
}

/// What `-o json` prints and templates are applied to:
///
/// ```json
/// {
///     "address": "203.0.113.10:9900",
///     "host": "203.0.113.10",
///     "port": 9900,
///     "source": {
///         "field": "status.loadBalancer.ingress[0].ip",
///         "kind": "Service",
///         "name": "enterprise-networking",
///         "namespace": "gloo-mesh"
///     }
/// }
/// ```
///
/// An IPv6 host has brackets in `address` and none in `host`.
fn document(address: &Address, finding: &Finding) -> Value {
    let object = &finding.object;
    json!({
        "address": address.to_string(),
        "host": address.host(),
        "port": address.port(),
        "source": {
            "field": finding.field,
            "kind": object.resource().kind,
            "name": object.name(),
            "namespace": object.namespace(),
        },
    })
}
