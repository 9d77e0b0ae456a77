//! Carries a plan out, clusters side by side, and reports what became of every
//! object of it.

use futures::{StreamExt as _, future::join_all, stream};
use serde_json::Value;

use crate::{
    args::DryRun,
    cluster::{Cluster, ObjectRef, Writer},
    error::{Error, Result},
    interrupt,
    plan::{Action, Change, ClusterPlan, Plan, Presence, Step},
    terminal::Progress,
};

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
    pub objects: Vec<ObjectReport>,
}

/// What became of one object.
#[derive(Debug)]
pub struct ObjectReport {
    /// The object.
    pub object: ObjectRef,
    /// What became of it.
    pub outcome: Outcome,
    /// What of it was to change.
    pub changes: Vec<Change>,
    /// What was to be sent, private values redacted; `null` where nothing was.
    pub sent: Value,
    /// The object as the server answered; never a Secret.
    pub answer: Option<Value>,
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
        let objects = self.clusters.iter().flat_map(|c| &c.objects);
        !objects
            .into_iter()
            .any(|object| matches!(object.outcome, Outcome::Failed(_) | Outcome::NotTried))
    }

    /// The error that sums up what failed, if anything did.
    pub fn into_result(self) -> Result<()> {
        let clusters = self.clusters.len();
        let mut not_tried = false;
        let mut failed = 0;
        let mut causes = Vec::new();
        for cluster in self.clusters {
            let before = causes.len();
            let outcomes = cluster.objects.into_iter().map(|object| object.outcome);
            causes.extend(outcomes.filter_map(|outcome| match outcome {
                Outcome::Failed(error) => Some(error),
                Outcome::NotTried => {
                    not_tried = true;
                    None
                }
                Outcome::Created | Outcome::Configured | Outcome::Deleted | Outcome::Unchanged => None,
            }));
            failed += usize::from(causes.len() > before);
        }
        if interrupt::requested() && not_tried {
            return Err(Error::interrupted().causes(causes));
        }
        Error::sum_up(causes, |_| {
            Error::new(format!("{failed} of {clusters} clusters are not done"))
                .hint("what is listed as created or configured is in place; run the same command again for the rest")
        })
    }
}

impl Outcome {
    /// As reports show it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Deleted => "deleted",
            Self::Unchanged => "unchanged",
            Self::Failed(_) => "failed",
            Self::NotTried => "not tried",
        }
    }
}

/// What would become of a plan if every write went well. Nothing is sent.
fn foresee(plan: Plan) -> Report {
    let clusters = plan.clusters.into_iter();
    let foreseen = clusters.map(|c| ClusterReport::foreseen(c.cluster.context(), c.steps));
    Report {
        clusters: foreseen.collect(),
    }
}

impl ClusterReport {
    /// What would become of steps, also in a cluster that cannot be reached.
    pub fn foreseen(context: &str, steps: Vec<Step>) -> Self {
        let objects = steps.into_iter().map(|step| {
            let outcome = done(&step.action);
            ObjectReport::new(step, outcome, None)
        });
        Self {
            context: context.to_owned(),
            objects: objects.collect(),
        }
    }
}

impl ObjectReport {
    fn new(step: Step, outcome: Outcome, answer: Option<Value>) -> Self {
        Self {
            object: step.object,
            outcome,
            changes: step.changes,
            sent: match step.action {
                Action::Create(manifest) | Action::Merge(manifest) | Action::Apply(manifest, ..) => {
                    manifest.into_shown()
                }
                Action::Delete(_) | Action::Unchanged => Value::Null,
            },
            answer,
        }
    }
}

/// Carries a plan out under the name of a field manager, as far as a dry run goes.
pub async fn carry_out(plan: Plan, manager: &'static str, dry_run: DryRun) -> Report {
    let writer = |dry_run| Writer { manager, dry_run };
    match dry_run {
        DryRun::None => apply(plan, writer(false)).await,
        DryRun::Client => foresee(plan),
        DryRun::Server => apply(plan, writer(true)).await,
    }
}

/// Has the servers check all writes of a plan and keep none, so that a plan that one of
/// them refuses is not carried out in part. A single write needs no such check.
///
/// # Errors
/// If any of them is refused.
pub async fn rehearse(plan: &Plan, manager: &'static str) -> Result<()> {
    let clusters = plan.clusters.iter();
    let steps = clusters.flat_map(|plan| plan.steps.iter().map(|step| (&plan.cluster, step)));
    let writes: Vec<_> = steps.filter(|(_, step)| !step.is_unchanged()).collect();
    if writes.len() < 2 {
        return Ok(());
    }
    let progress = Progress::bar("checking", writes.len());
    let writer = Writer {
        manager,
        dry_run: true,
    };
    let tried = stream::iter(writes)
        .map(|(cluster, step)| try_step(cluster, step, writer, &progress))
        .buffered(plan.parallel);
    let outcomes: Vec<_> = tried.collect().await;
    if interrupt::requested() {
        return Err(Error::interrupted());
    }
    let refused = outcomes.into_iter().filter_map(|(outcome, _)| match outcome {
        Outcome::Failed(error) => Some(error),
        _ => None,
    });
    Error::sum_up(refused.collect(), |_| {
        Error::new("this would be refused, so nothing was changed")
    })
}

/// Carries a plan out: what locks it, then all clusters at once.
async fn apply(plan: Plan, writer: Writer) -> Report {
    let Plan {
        clusters,
        locks,
        parallel,
    } = plan;
    let steps = clusters.iter().flat_map(|cluster| &cluster.steps);
    let writes = steps.filter(|step| !step.is_unchanged()).count();
    let progress = Progress::bar("writing", writes);
    let mut work: Vec<_> = clusters.into_iter().map(Work::new).collect();
    if let Some(first) = work.first_mut().filter(|_| !locks.is_empty()) {
        let mut locked = first.namespaces(writer, &progress).await;
        for lock in &locks {
            locked = locked && first.all(|step| step.object == *lock, writer, &progress).await;
        }
        if !locked {
            let clusters = work.into_iter().map(Work::report).collect();
            return Report { clusters };
        }
    }
    let clusters = stream::iter(work)
        .map(async |mut work| {
            if work.namespaces(writer, &progress).await {
                work.all(|_| true, writer, &progress).await;
            }
            work.report()
        })
        .buffered(parallel)
        .collect()
        .await;
    Report { clusters }
}

/// What has become of a step, and what the server answered.
type Tried = (Outcome, Option<Value>);

/// A cluster's plan while it is carried out.
struct Work {
    cluster: Cluster,
    steps: Vec<Step>,
    /// What has become of each step, once it was tried.
    outcomes: Vec<Option<Tried>>,
}

impl Work {
    fn new(plan: ClusterPlan) -> Self {
        let ClusterPlan { cluster, steps } = plan;
        let outcomes = steps.iter().map(|_| None).collect();
        Self {
            cluster,
            steps,
            outcomes,
        }
    }

    /// Writes the namespaces, which go before what lives in them. Says whether that
    /// can follow: a namespace that the server only checked is not there.
    async fn namespaces(&mut self, writer: Writer, progress: &Progress) -> bool {
        let made = self
            .all(|step| step.object.is_namespace(), writer, progress)
            .await;
        if made && writer.dry_run && self.steps.iter().any(Step::creates_namespace) {
            for (step, outcome) in self.steps.iter().zip(&mut self.outcomes) {
                outcome.get_or_insert_with(|| (done(&step.action), None));
            }
        }
        made
    }

    /// Carries out, at once, all steps that are chosen and were not tried yet. Says
    /// whether all went well.
    async fn all(&mut self, chosen: impl Fn(&Step) -> bool, writer: Writer, progress: &Progress) -> bool {
        let cluster = &self.cluster;
        let tried = self.steps.iter().zip(&mut self.outcomes);
        let tried = tried.filter(|(step, outcome)| outcome.is_none() && chosen(step));
        let went_well = join_all(tried.map(async |(step, outcome)| {
            let ended = try_step(cluster, step, writer, progress).await;
            !matches!(outcome.insert(ended).0, Outcome::Failed(_) | Outcome::NotTried)
        }));
        went_well.await.into_iter().all(|went_well| went_well)
    }

    fn report(self) -> ClusterReport {
        let objects = self.steps.into_iter().zip(self.outcomes);
        let objects = objects.map(|(step, tried)| {
            let (outcome, answer) = tried.unwrap_or((Outcome::NotTried, None));
            ObjectReport::new(step, outcome, answer)
        });
        ClusterReport {
            context: self.cluster.context().to_owned(),
            objects: objects.collect(),
        }
    }
}

async fn try_step(cluster: &Cluster, step: &Step, writer: Writer, progress: &Progress) -> Tried {
    let Step { object, action, .. } = step;
    if !matches!(action, Action::Unchanged) && interrupt::requested() {
        return (Outcome::NotTried, None);
    }
    let _writing = interrupt::Writing::begin();
    let written = match action {
        Action::Unchanged => return (Outcome::Unchanged, None),
        Action::Create(manifest) => cluster.create(object, manifest, writer).await,
        Action::Merge(manifest) => cluster.merge(object, manifest, writer).await,
        Action::Apply(manifest, _, conflicts) => cluster.apply(object, manifest, *conflicts, writer).await,
        Action::Delete(preconditions) => cluster.delete(object, preconditions, writer).await.map(|()| None),
    };
    progress.advance();
    match written {
        Ok(answer) => (done(action), answer),
        // A namespace holds nothing of ours: whoever made it meanwhile did our work.
        Err(error) if object.is_namespace() && error.is_already_there() => (Outcome::Unchanged, None),
        Err(error) => (Outcome::Failed(error), None),
    }
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
