//! What is to be done about one object, decided from how it is and how it is to be.

use k8s_openapi::api::core::v1::Service;
use relay_shared::{
    cluster::{Conflicts, ObjectRef},
    manifest::Manifest,
    owner::Owner,
    plan::{Action, Change, Presence, Step},
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
        let changes = differences(&before, &patch);
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
