//! What is to be done about one object, decided from how it is and how it is to be; and
//! how it is done.

use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    Result,
    apply::{self, Report},
    args::DryRun,
    cluster::{Cluster, Conflicts, ObjectRef},
    manifest::Manifest,
    owner::Owner,
    plan::{Action, Change, ClusterPlan, Plan, Presence, Step},
    render, terminal,
};
use serde_json::Value;

use crate::{
    diff::{differences, differences_of},
    service,
    target::{MANAGED_BY, MANAGER},
};

/// A step, the object as it will be, and what its user should know.
#[derive(Debug)]
pub(crate) struct Intent {
    pub(crate) step: Step,
    pub(crate) document: Value,
    pub(crate) note: Option<String>,
}

impl Intent {
    /// Applies an object of ours, unless all of it is there.
    ///
    /// One that somebody else made is not made ours by agreeing with it, nor by
    /// adding what it lacks: only by taking it over.
    pub(crate) fn apply(
        object: ObjectRef,
        live: Option<&Value>,
        mut document: Value,
        conflicts: Conflicts,
    ) -> Self {
        let Some(live) = live else {
            let action = Action::Apply(Manifest::new(document.clone()), Presence::Absent, conflicts);
            return Self::new(object, action, document);
        };
        let is_ours = live["metadata"]["labels"][MANAGED_BY] == MANAGER;
        if !is_ours && (conflicts == Conflicts::Refused || differences(live, &spec(&document)).is_empty()) {
            document = spec(&document);
        }
        let changes = differences_of(MANAGER, live, &document);
        let action = match changes.is_empty() {
            true => Action::Unchanged,
            false => Action::Apply(Manifest::new(document.clone()), Presence::Present, conflicts),
        };
        Self::changing(object, action, changes, document)
    }

    /// Changes the relay server's Service, and says who may not like it.
    pub(crate) fn expose(object: ObjectRef, live: &Service, patch: Option<Value>) -> Self {
        match patch {
            Some(patch) => Self::patch(object, live, patch, reverted),
            None => Self::new(object, Action::Unchanged, service::patched(live, None)),
        }
    }

    /// Takes back what was changed about the relay server's Service, and says who may
    /// have been told to keep it.
    pub(crate) fn restore(object: ObjectRef, live: &Service, patch: Value) -> Self {
        Self::patch(object, live, patch, kept)
    }

    fn patch(
        object: ObjectRef,
        live: &Service,
        patch: Value,
        note: impl Fn(&ObjectRef, &str, &[String]) -> String,
    ) -> Self {
        let document = service::patched(live, Some(&patch));
        let before = service::patched(live, None);
        let note = match (Owner::of(&live.metadata), patch["spec"]["type"].as_str()) {
            (Owner::Program(owner), Some(type_)) => Some(note(&object, &owner, &values(live, type_))),
            _ => None,
        };
        let mut changes = differences(&before, &patch);
        for change in &mut changes {
            if change.field == format!("metadata.annotations[{:?}]", service::CHANGED) {
                // Nobody reads JSON in JSON; `-o yaml` has it.
                let is_removed = change.to.is_empty();
                let kept = "(for `delete`)".to_owned();
                (change.from, change.to) = match is_removed {
                    true => (kept, String::new()),
                    false => (String::new(), kept),
                };
            }
        }
        let action = Action::Merge(Manifest::new(patch));
        Self {
            note,
            ..Self::changing(object, action, changes, document)
        }
    }

    /// A step that needs no more words than its report.
    pub(crate) fn new(object: ObjectRef, action: Action, document: Value) -> Self {
        Self::changing(object, action, Vec::new(), document)
    }

    fn changing(object: ObjectRef, action: Action, changes: Vec<Change>, document: Value) -> Self {
        Self {
            step: Step {
                object,
                action,
                changes,
            },
            document,
            note: None,
        }
    }
}

/// Applies intents to a cluster, or as much of that as a dry run does, after telling
/// what they change; the documents are the objects as they will be.
///
/// # Errors
/// If the server refuses any of it beforehand: then nothing is changed.
pub(crate) async fn carry_out(
    cluster: Cluster,
    intents: Vec<Intent>,
    dry_run: DryRun,
) -> Result<(Report, Vec<Value>)> {
    let (mut steps, mut documents, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for Intent { step, document, note } in intents {
        steps.push(step);
        documents.push(document);
        notes.extend(note);
    }
    let plan = Plan::new(vec![ClusterPlan { cluster, steps }]);
    let told = [render::changes(&plan).trim_end().to_owned()]
        .into_iter()
        .chain(notes);
    for told in told.filter(|told| !told.is_empty()) {
        terminal::story(&told);
    }
    if dry_run == DryRun::None {
        apply::rehearse(&plan, MANAGER).await?;
    }
    Ok((apply::carry_out(plan, MANAGER, dry_run).await, documents))
}

/// A document without what says that it is ours.
fn spec(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(metadata) = document["metadata"].as_object_mut() {
        metadata.remove("labels");
    }
    document
}

/// The Helm values that give a relay server's Service a type, as `--set` takes them: one
/// where its release is known.
fn values(live: &Service, type_: &str) -> Vec<String> {
    let labels = live.metadata.labels.as_ref();
    let version = labels.and_then(|labels| labels.get("app.kubernetes.io/version"));
    let name = live.metadata.name.as_deref().unwrap_or_default();
    let values = service::helm_values(name, version.map(String::as_str));
    values.iter().map(|value| format!("{value}={type_}")).collect()
}

/// Says who will undo a change of the Service's type, and how to make it stay.
fn reverted(object: &ObjectRef, owner: &str, values: &[String]) -> String {
    format!(
        "note: {object} belongs to {owner}, whose next upgrade or sync sets its type back\n  \
         hint: make it stay with the Helm value {}",
        values.join(", from 2.3 on ")
    )
}

/// Says who may set the Service's type again after it was taken back.
fn kept(object: &ObjectRef, owner: &str, values: &[String]) -> String {
    format!(
        "note: {object} belongs to {owner}, whose next upgrade or sync exposes it again if told to\n  \
         hint: the Helm value that does not is {}",
        values.join(", from 2.3 on ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_we_made_is_ours() {
        let document = |host: &str, label: &str| json!({ "metadata": { "name": "g", "labels": { MANAGED_BY: label } }, "spec": { "host": host } });
        let wanted = document("ours", MANAGER);
        #[track_caller]
        fn check(
            live: Option<&Value>,
            wanted: &Value,
            conflicts: Conflicts,
            applied: Option<(Presence, bool)>,
        ) {
            let object = ObjectRef::new::<Service>("ns", "g");
            let intent = Intent::apply(object, live, wanted.clone(), conflicts);
            let got = match intent.step.action {
                Action::Apply(manifest, presence, _) => Some((
                    presence,
                    manifest.shown()["metadata"]["labels"][MANAGED_BY] == MANAGER,
                )),
                _ => None,
            };
            assert_eq!(got, applied);
        }
        use Conflicts::{Overridden, Refused};
        use Presence::{Absent, Present};
        check(None, &wanted, Refused, Some((Absent, true)));
        check(Some(&document("ours", MANAGER)), &wanted, Refused, None);
        check(
            Some(&document("other", MANAGER)),
            &wanted,
            Refused,
            Some((Present, true)),
        );
        let theirs = |host| document(host, "helm");
        check(Some(&theirs("ours")), &wanted, Refused, None);
        check(Some(&theirs("ours")), &wanted, Overridden, None);
        check(Some(&theirs("other")), &wanted, Refused, Some((Present, false)));
        check(Some(&theirs("other")), &wanted, Overridden, Some((Present, true)));
    }
}
