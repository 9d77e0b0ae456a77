//! Who has to be started again before a new root counts. Of what the relay reads, only
//! the server's own Secret is watched; roots and the signing certificate are read when
//! a pod starts.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ManagedFieldsEntry, ObjectMeta, Time};
use relay_shared::{Result, cluster::Cluster, pod::Pod, relay, shell};

/// The relay's two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Peer {
    /// In the management cluster.
    Server,
    /// In every remote.
    Agent,
}

impl Peer {
    /// The names that its Deployment has had, which its pods carry as label `app`.
    fn names(self) -> [&'static str; 2] {
        match self {
            Self::Server => relay::SERVICES,
            Self::Agent => relay::AGENTS,
        }
    }

    /// The command that starts it again, where the relay service is of that name.
    pub(crate) fn restart(self, service: &str, namespace: &str, context: &str) -> String {
        let generation = usize::from(service == relay::SERVICES[1]);
        let name = self.names()[generation];
        let context = shell::word(context);
        format!("kubectl --context {context} -n {namespace} rollout restart deployment/{name}")
    }

    /// Its pods. Who may not see pods sees none.
    ///
    /// # Errors
    /// If the cluster does not answer.
    pub(crate) async fn pods(self, cluster: &Cluster, namespace: &str) -> Result<Vec<Pod>> {
        let labels = format!("app in ({})", self.names().join(","));
        match cluster.list::<Pod>(Some(namespace), &labels).await {
            Err(error) if error.is_forbidden() => Ok(Vec::new()),
            pods => pods,
        }
    }
}

/// Whether a pod runs that started before a time. Both are in whole seconds: within
/// the same second it may have.
pub(crate) fn is_before(pod: &Pod, time: &Time) -> bool {
    let status = pod.status.as_ref();
    let has_ended = status
        .and_then(|status| status.phase.as_deref())
        .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
    let started = status.and_then(|status| status.start_time.as_ref());
    !has_ended && pod.metadata.deletion_timestamp.is_none() && started.is_some_and(|started| started <= time)
}

/// When a key of a Secret was written last, as far as the API server remembers it.
pub(crate) fn written(metadata: &ObjectMeta, key: &str) -> Option<Time> {
    let holds = |entry: &&ManagedFieldsEntry| {
        let fields = entry.fields_v1.as_ref();
        fields.is_some_and(|fields| !fields.0["f:data"][format!("f:{key}")].is_null())
    };
    let entries = metadata.managed_fields.iter().flatten().filter(holds);
    let last = entries.filter_map(|entry| entry.time.clone()).max();
    last.or_else(|| metadata.creation_timestamp.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn time(text: &str) -> Time {
        serde_json::from_value(json!(text)).expect("is a time")
    }

    #[test]
    fn a_pod_that_started_before_has_not_read_it() {
        #[track_caller]
        fn check(metadata: Value, status: Value, want: bool) {
            let pod = serde_json::from_value(json!({ "metadata": metadata, "status": status }));
            assert_eq!(
                is_before(&pod.expect("is a pod"), &time("2026-01-01T00:00:10Z")),
                want
            );
        }
        let at =
            |second: u8| json!({ "phase": "Running", "startTime": format!("2026-01-01T00:00:{second:02}Z") });
        check(json!({}), at(9), true);
        check(json!({}), at(10), true);
        check(json!({}), at(11), false);
        check(json!({}), json!({ "phase": "Pending" }), false);
        check(
            json!({}),
            json!({ "phase": "Failed", "startTime": "2026-01-01T00:00:09Z" }),
            false,
        );
        check(
            json!({ "deletionTimestamp": "2026-01-01T00:00:12Z" }),
            at(9),
            false,
        );
    }

    #[test]
    fn a_key_was_written_when_its_managers_last_did() {
        #[track_caller]
        fn check(managed: Value, want: &str) {
            let metadata = json!({ "creationTimestamp": "2026-01-01T00:00:00Z", "managedFields": managed });
            let metadata = serde_json::from_value(metadata).expect("is metadata");
            assert_eq!(written(&metadata, "ca.crt"), Some(time(want)));
        }
        let entry = |key: &str, day: u8| {
            json!({
                "time": format!("2026-01-{day:02}T00:00:00Z"),
                "fieldsV1": { "f:data": { format!("f:{key}"): {} } },
            })
        };
        check(
            json!([entry("ca.crt", 2), entry("ca.crt", 4), entry("tls.crt", 5)]),
            "2026-01-04T00:00:00Z",
        );
        check(json!([entry("tls.crt", 5)]), "2026-01-01T00:00:00Z");
        check(json!(null), "2026-01-01T00:00:00Z");
    }
}
