//! The clusters that are registered with the relay server: all of them have to take
//! part where the root changes, or their agents are refused later.

use futures::future::try_join_all;
use relay_shared::{Error, Result, cluster::Cluster};
use serde_json::Value;

/// The API groups that KubernetesCluster has been in, in Gloo Mesh 1.x and 2.x.
const GROUPS: [&str; 2] = ["multicluster.solo.io", "admin.gloo.solo.io"];

/// The names of all registered clusters, sorted; none where the management cluster
/// knows of no such thing, or does not let us see it.
///
/// # Errors
/// If the cluster does not answer.
pub(crate) async fn clusters(management: &Cluster, namespace: &str) -> Result<Vec<String>> {
    let names = try_join_all(GROUPS.map(|group| of_group(management, namespace, group)));
    let mut names: Vec<_> = names.await?.concat();
    names.sort();
    names.dedup();
    Ok(names)
}

async fn of_group(management: &Cluster, namespace: &str, group: &str) -> Result<Vec<String>> {
    let listed = async {
        let kinds = management.kinds(group).await?;
        match kinds.iter().find(|kind| kind.kind == "KubernetesCluster") {
            Some(kind) => management.list_dynamic(kind, Some(namespace), "").await,
            None => Ok(Vec::new()),
        }
    };
    let listed = match listed.await {
        Err(error) if error.is_forbidden() => Vec::new(),
        listed => listed?,
    };
    let name = |object: &Value| Some(object.pointer("/metadata/name")?.as_str()?.to_owned());
    Ok(listed.iter().filter_map(name).collect())
}

/// Refuses to leave out a registered cluster: whoever runs the relay may count its
/// clusters, and cannot tell which context leads to which.
///
/// # Errors
/// If more clusters are registered than are worked on.
pub(crate) fn all_take_part(registered: &[String], worked_on: usize) -> Result<()> {
    if registered.len() <= worked_on {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} clusters are registered with the relay server, and {worked_on} take part: {}",
        registered.len(),
        registered.join(", ")
    ))
    .hint("name them all with --remote-context; `--only-these` goes on without the others"))
}
