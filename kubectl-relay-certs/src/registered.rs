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

/// Refuses to leave out a registered cluster. Which context leads to which cannot be
/// told, so they are counted.
///
/// # Errors
/// If more clusters are registered than take part.
pub(crate) fn all_take_part(registered: &[String], taking_part: usize) -> Result<()> {
    if registered.len() <= taking_part {
        return Ok(());
    }
    Err(Error::new(format!(
        "{} clusters are registered with the relay server, and {taking_part} take part: {}",
        registered.len(),
        registered.join(", ")
    ))
    .hint(
        "name them all with --remote-context, also the management cluster's if an agent runs there; \
         --only-these goes on without the others",
    ))
}
