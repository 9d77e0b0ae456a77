//! What is to be written, decided before anything is.

use kube::api::Preconditions;
use serde_json::{Value, json};

use crate::{
    cluster::{Cluster, Conflicts, ObjectRef},
    manifest::Manifest,
};

/// How many clusters are worked on at once where nothing else is asked for.
pub const PARALLEL: usize = 50;

/// Everything a command will do, cluster by cluster, in the order it was asked for.
#[derive(Debug)]
pub struct Plan {
    /// One entry for each cluster, also where there is nothing to do.
    pub clusters: Vec<ClusterPlan>,
    /// Objects of the first cluster that go before everything but its namespace, one
    /// after the other. Where two runs are at work, the server lets one of them make
    /// such an object, and the other writes nothing more.
    pub locks: Vec<ObjectRef>,
    /// How many clusters are worked on at once; at least 1.
    pub parallel: usize,
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
    /// What of it changes, as far as people want to compare it.
    pub changes: Vec<Change>,
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

/// What becomes of one field, in words that may be shown: a fingerprint, never a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The field, such as `ca.crt`.
    pub field: String,
    /// What it holds now; empty where it holds nothing.
    pub from: String,
    /// What it will hold; empty where it is removed.
    pub to: String,
}

impl Plan {
    /// A plan without locks.
    pub fn new(clusters: Vec<ClusterPlan>) -> Self {
        Self {
            clusters,
            locks: Vec::new(),
            parallel: PARALLEL,
        }
    }

    /// Whether applying it would send nothing.
    pub fn is_empty(&self) -> bool {
        self.clusters
            .iter()
            .flat_map(|c| &c.steps)
            .all(Step::is_unchanged)
    }
}

impl Step {
    /// A step that says no more than what becomes of the object.
    pub fn new(object: ObjectRef, action: Action) -> Self {
        Self {
            object,
            action,
            changes: Vec::new(),
        }
    }

    /// A step that leaves its object alone.
    pub fn unchanged(object: ObjectRef) -> Self {
        Self::new(object, Action::Unchanged)
    }

    /// Whether it sends nothing.
    pub fn is_unchanged(&self) -> bool {
        matches!(self.action, Action::Unchanged)
    }

    /// Whether it creates a namespace.
    pub fn creates_namespace(&self) -> bool {
        self.object.is_namespace() && matches!(self.action, Action::Create(_))
    }
}

impl Change {
    /// As `-o json` shows it; what is empty is `null`.
    pub fn document(&self) -> Value {
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        json!({ "field": self.field, "from": some(&self.from), "to": some(&self.to) })
    }
}
