//! What is to be written, decided before anything is.

use kube::api::Preconditions;

use crate::{
    cluster::{Cluster, Conflicts, ObjectRef},
    manifest::Manifest,
};

/// Everything a command will do, cluster by cluster, in the order it was asked for.
#[derive(Debug, Default)]
pub struct Plan {
    /// One entry for each cluster, also where there is nothing to do.
    pub clusters: Vec<ClusterPlan>,
}

/// What is to be done in one cluster.
#[derive(Debug)]
pub struct ClusterPlan {
    /// Where.
    pub cluster: Cluster,
    /// What, in the order of the report.
    pub steps: Vec<Step>,
}

/// What is to be done about one object.
#[derive(Debug)]
pub struct Step {
    /// The object.
    pub object: ObjectRef,
    /// What becomes of it.
    pub action: Action,
}

/// What becomes of an object.
#[derive(Debug)]
pub enum Action {
    /// It is not there, and is created whole.
    Create(Manifest),
    /// It is there and some fields change, if it still is the version that was read.
    Merge(Manifest),
    /// It is applied on the server's side; the flags say whether it is there already
    /// and what becomes of fields that someone else set otherwise.
    Apply(Manifest, Presence, Conflicts),
    /// It is deleted, if it still is the version that was read.
    Delete(Preconditions),
    /// It is as it should be, and no request is sent.
    Unchanged,
}

/// Whether an object is in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It is not.
    Absent,
    /// It is.
    Present,
}

impl Plan {
    /// Whether applying it would send nothing.
    pub fn is_empty(&self) -> bool {
        self.clusters
            .iter()
            .flat_map(|c| &c.steps)
            .all(Step::is_unchanged)
    }
}

impl Step {
    /// A step that leaves its object alone.
    pub fn unchanged(object: ObjectRef) -> Self {
        Self {
            object,
            action: Action::Unchanged,
        }
    }

    /// Whether it sends nothing.
    pub fn is_unchanged(&self) -> bool {
        matches!(self.action, Action::Unchanged)
    }

    /// What would be sent, if anything is.
    pub fn manifest(&self) -> Option<&Manifest> {
        match &self.action {
            Action::Create(manifest) | Action::Merge(manifest) | Action::Apply(manifest, ..) => {
                Some(manifest)
            }
            Action::Delete(_) | Action::Unchanged => None,
        }
    }
}
