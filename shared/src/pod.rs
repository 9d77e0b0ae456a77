//! Pods, of which no more is read than something is decided by. Kubernetes' own type
//! reads every kind of volume, which is 300 KB of each program.

use std::borrow::Cow;

use k8s_openapi::{
    NamespaceResourceScope,
    api::core::v1::{self, PodCondition},
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time},
};
use kube::Resource;
use serde::Deserialize;

/// A pod. The names are Kubernetes' own, and so is what may be missing.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Pod {
    /// Its name, labels and times.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What was asked for.
    pub spec: Option<PodSpec>,
    /// What has become of it.
    pub status: Option<PodStatus>,
}

/// What is asked of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// The node it runs on, once there is one.
    pub node_name: Option<String>,
}

/// What has become of a pod.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// `Ready` and others, with whether they hold.
    pub conditions: Option<Vec<PodCondition>>,
    /// `Pending`, `Running`, `Succeeded`, `Failed` or `Unknown`.
    pub phase: Option<String>,
    /// When the kubelet took it on.
    pub start_time: Option<Time>,
}

impl Pod {
    /// Whether it is Ready and stays.
    pub fn is_ready(&self) -> bool {
        let status = self.status.as_ref();
        let conditions = status.and_then(|status| status.conditions.as_deref());
        self.metadata.deletion_timestamp.is_none()
            && conditions
                .unwrap_or_default()
                .iter()
                .any(|condition| condition.type_ == "Ready" && condition.status == "True")
    }
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(all: &()) -> Cow<'_, str> {
        v1::Pod::kind(all)
    }

    fn group(all: &()) -> Cow<'_, str> {
        v1::Pod::group(all)
    }

    fn version(all: &()) -> Cow<'_, str> {
        v1::Pod::version(all)
    }

    fn plural(all: &()) -> Cow<'_, str> {
        v1::Pod::plural(all)
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
