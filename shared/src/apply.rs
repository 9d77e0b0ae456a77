//! Carries a plan out, clusters side by side, and reports what became of every
//! object of it.

use futures::{StreamExt as _, future::join_all, stream};

use crate::{
    cluster::{Cluster, ObjectRef, Writer},
    error::{Error, Result},
    interrupt,
    plan::{Action, ClusterPlan, Plan, Presence, Step},
    terminal::Progress,
};

/// How many clusters are worked at once where nothing else is asked for.
pub const PARALLEL: usize = 50;

/// What became of a plan; it has an entry for each of its steps.
#[derive(Debug)]
pub struct Report {
    /// One entry for each cluster, in the order of the plan.
    pub clusters: Vec<ClusterReport>,
}

/// What became of one cluster's part of a plan.
#[derive(Debug)]
pub struct ClusterReport {
    /// The cluster's context.
    pub context: String,
    /// What became of each object, in the order of the plan.
    pub outcomes: Vec<(ObjectRef, Outcome)>,
}

/// What became of one object.
#[derive(Debug)]
pub enum Outcome {
    /// It was not there, and now is.
    Created,
    /// It was there and is changed.
    Configured,
    /// It was there, and now is not.
    Deleted,
    /// It already was as it should be.
    Unchanged,
    /// It is as it was, as far as we know.
    Failed(Error),
    /// It is as it was: something that it needs failed.
    NotTried,
}

impl Report {
    /// Whether everything asked for is in place.
    pub fn is_done(&self) -> bool {
        let outcomes = self.clusters.iter().flat_map(|c| &c.outcomes);
        !outcomes
            .into_iter()
            .any(|(_, outcome)| matches!(outcome, Outcome::Failed(_) | Outcome::NotTried))
    }

    /// The error that sums up what failed, if anything did.
    pub fn into_result(self) -> Result<()> {
        let clusters = self.clusters.len();
        let mut not_tried = false;
        let outcomes = self.clusters.into_iter().map(|c| c.outcomes);
        let mut failed = 0;
        let mut causes = Vec::new();
        for outcomes in outcomes {
            let before = causes.len();
            causes.extend(outcomes.into_iter().filter_map(|(_, outcome)| match outcome {
                Outcome::Failed(error) => Some(error),
                Outcome::NotTried => {
                    not_tried = true;
                    None
                }
                Outcome::Created | Outcome::Configured | Outcome::Deleted | Outcome::Unchanged => None,
            }));
            failed += usize::from(causes.len() > before);
        }
        match causes.len() {
            _ if interrupt::requested() && not_tried => Err(Error::interrupted().causes(causes)),
            0 => Ok(()),
            1 => Err(causes.remove(0)),
            _ => Err(Error::new(format!("{failed} of {clusters} clusters are not done"))
                .causes(causes)
                .hint("what is listed as created or configured is in place; run the same command again for the rest")),
        }
    }
}

/// What would become of a plan if every write went well. Nothing is sent.
pub fn foresee(plan: Plan) -> Report {
    let clusters = plan.clusters.into_iter();
    let foreseen = clusters.map(|c| ClusterReport::foreseen(c.cluster.context(), c.steps));
    Report {
        clusters: foreseen.collect(),
    }
}

impl ClusterReport {
    /// What would become of steps, also in a cluster that cannot be reached.
    pub fn foreseen(context: &str, steps: Vec<Step>) -> Self {
        let outcomes = steps.into_iter().map(|step| (step.object, done(&step.action)));
        Self {
            context: context.to_owned(),
            outcomes: outcomes.collect(),
        }
    }
}

/// Carries a plan out.
pub async fn apply(plan: Plan, writer: Writer) -> Report {
    let writes = plan
        .clusters
        .iter()
        .flat_map(|c| &c.steps)
        .filter(|s| !s.is_unchanged())
        .count();
    let progress = Progress::bar("writing", writes);
    let clusters = stream::iter(plan.clusters)
        .map(|cluster| apply_cluster(cluster, writer, &progress))
        .buffered(PARALLEL)
        .collect()
        .await;
    Report { clusters }
}

/// Namespaces go first; then everything that lives in them goes at once.
async fn apply_cluster(plan: ClusterPlan, writer: Writer, progress: &Progress) -> ClusterReport {
    let ClusterPlan { cluster, steps } = plan;
    let (namespaces, rest): (Vec<_>, Vec<_>) = steps
        .into_iter()
        .partition(|step| step.object.resource().kind == "Namespace");

    let mut outcomes = join_all(
        namespaces
            .into_iter()
            .map(|s| apply_step(&cluster, s, writer, progress)),
    )
    .await;
    let blocked = outcomes
        .iter()
        .any(|(_, outcome)| matches!(outcome, Outcome::Failed(_)));
    outcomes.extend(match blocked {
        true => rest
            .into_iter()
            .map(|step| (step.object, Outcome::NotTried))
            .collect(),
        false => {
            join_all(
                rest.into_iter()
                    .map(|s| apply_step(&cluster, s, writer, progress)),
            )
            .await
        }
    });
    ClusterReport {
        context: cluster.context().to_owned(),
        outcomes,
    }
}

async fn apply_step(
    cluster: &Cluster,
    step: Step,
    writer: Writer,
    progress: &Progress,
) -> (ObjectRef, Outcome) {
    let Step { object, action } = step;
    if !matches!(action, Action::Unchanged) && interrupt::requested() {
        return (object, Outcome::NotTried);
    }
    let _writing = interrupt::Writing::begin();
    let written = match &action {
        Action::Unchanged => return (object, Outcome::Unchanged),
        Action::Create(manifest) => cluster.create(&object, manifest, writer).await,
        Action::Merge(manifest) => cluster.merge(&object, manifest, writer).await,
        Action::Apply(manifest, _, conflicts) => cluster.apply(&object, manifest, *conflicts, writer).await,
        Action::Delete(preconditions) => cluster.delete(&object, preconditions, writer).await,
    };
    progress.advance();
    let outcome = written.map_or_else(Outcome::Failed, |()| done(&action));
    (object, outcome)
}

/// What has become of an object once its action is carried out.
fn done(action: &Action) -> Outcome {
    match action {
        Action::Create(_) | Action::Apply(_, Presence::Absent, _) => Outcome::Created,
        Action::Merge(_) | Action::Apply(_, Presence::Present, _) => Outcome::Configured,
        Action::Delete(_) => Outcome::Deleted,
        Action::Unchanged => Outcome::Unchanged,
    }
}
