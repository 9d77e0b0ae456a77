//! What is to be done about one object, decided from how it is and how it is to be.

use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    cluster::{Conflicts, ObjectRef},
    manifest::Manifest,
    owner::Owner,
    plan::{Action, Presence, Step},
    terminal,
};
use serde_json::Value;

use crate::{
    diff::{Difference, differences},
    service,
    target::{MANAGED_BY, MANAGER},
};

/// A step, what it changes, and the object as it will be.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) step: Step,
    pub(crate) document: Value,
    /// Empty for what is created, and for what stays.
    differences: Vec<Difference>,
    /// What the user should know about it.
    note: Option<String>,
}

impl Change {
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
        let differences = differences(live, &document);
        let action = match differences.is_empty() {
            true => Action::Unchanged,
            false => Action::Apply(Manifest::new(document.clone()), Presence::Present, conflicts),
        };
        Self {
            differences,
            ..Self::new(object, action, document)
        }
    }

    /// Patches the relay server's Service, and says who may not like it.
    pub(crate) fn patch(object: ObjectRef, live: &Service, patch: Option<Value>) -> Self {
        let document = service::patched(live, patch.as_ref());
        let Some(patch) = patch else {
            return Self::new(object, Action::Unchanged, document);
        };
        let before = service::patched(live, None);
        let note = match (Owner::of(&live.metadata), patch.get("spec")) {
            (Owner::Program(owner), Some(spec)) => Some(reverted(&object, live, &owner, &spec["type"])),
            _ => None,
        };
        Self {
            differences: differences(&before, &patch),
            note,
            ..Self::new(object, Action::Merge(Manifest::new(patch)), document)
        }
    }

    /// A step that needs no more words than its report.
    pub(crate) fn new(object: ObjectRef, action: Action, document: Value) -> Self {
        Self {
            step: Step::new(object, action),
            document,
            differences: Vec::new(),
            note: None,
        }
    }

    /// Tells what will change, before it does.
    pub(crate) fn tell(&self) {
        if !self.differences.is_empty() {
            terminal::story(&format!("{} changes:", self.step.object));
        }
        let shown: Vec<_> = self.differences.iter().map(ToString::to_string).collect();
        for line in shown.join("\n").lines() {
            terminal::story(&format!("  {line}"));
        }
        if let Some(note) = &self.note {
            terminal::story(note);
        }
    }
}

/// A document without what says that it is ours.
fn spec(document: &Value) -> Value {
    let mut document = document.clone();
    if let Some(metadata) = document["metadata"].as_object_mut() {
        metadata.remove("labels");
    }
    document
}

/// Says who will undo a change of the Service's type, and how to make it stay.
fn reverted(object: &ObjectRef, live: &Service, owner: &str, type_: &Value) -> String {
    let labels = live.metadata.labels.as_ref();
    let version = labels.and_then(|labels| labels.get("app.kubernetes.io/version"));
    let values = service::helm_values(object.name(), version.map(String::as_str));
    let values: Vec<_> = values
        .iter()
        .map(|value| format!("{value}={}", type_.as_str().unwrap_or_default()))
        .collect();
    format!(
        "note: {object} belongs to {owner}, whose next upgrade or sync sets its type back\n  \
         hint: make it stay with the Helm value {}",
        values.join(", from 2.3 on ")
    )
}

/// The steps and the documents of changes.
pub(crate) fn unzip(changes: Vec<Change>) -> (Vec<Step>, Vec<Value>) {
    changes
        .into_iter()
        .map(|change| (change.step, change.document))
        .unzip()
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
            let change = Change::apply(object, live, wanted.clone(), conflicts);
            let got = match change.step.action {
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
