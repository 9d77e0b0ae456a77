//! Whether we may do what a plan holds, asked before any of it is done.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};

use crate::{
    cluster::ObjectRef,
    error::{Error, Result},
    plan::{Action, ClusterPlan, Presence, Step},
};

/// Asks a cluster whether every write of its plan is allowed, and nothing where
/// there is none: what was read has proven itself.
///
/// # Errors
/// All that is forbidden, at once, or that the cluster does not answer.
pub async fn review(plan: &ClusterPlan) -> Result<()> {
    // Several objects may need one right: the first of them is named.
    let mut questions: BTreeMap<String, (ResourceAttributes, &ObjectRef)> = BTreeMap::new();
    for step in &plan.steps {
        for right in rights(step) {
            questions
                .entry(format!("{right:?}"))
                .or_insert((right, &step.object));
        }
    }
    let answers = questions.into_values().map(async |(right, object)| {
        let review = SelfSubjectAccessReview {
            spec: SelfSubjectAccessReviewSpec {
                resource_attributes: Some(right.clone()),
                ..Default::default()
            },
            ..Default::default()
        };
        let status = match plan.cluster.post(&review).await {
            Ok(review) => review.status.unwrap_or_default(),
            // Who may not even ask is told by the write itself.
            Err(error) if error.is_forbidden() => return Ok(None),
            Err(error) => return Err(error.object(object)),
        };
        let context = plan.cluster.context();
        let denied = || denial(&right, status.reason.as_deref(), object, context);
        Ok((!status.allowed).then(denied))
    });
    let denied = try_join_all(answers).await?.into_iter().flatten().collect();
    Error::sum_up(denied, |_| {
        Error::new("several rights are missing").context(plan.cluster.context())
    })
}

/// What a step needs. RBAC cannot grant to create an object of a certain name.
fn rights(step: &Step) -> Vec<ResourceAttributes> {
    let object = &step.object;
    let right = |verb: &str, name: Option<&str>| ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(object.resource().group.clone()).filter(|group| !group.is_empty()),
        resource: Some(object.resource().plural.clone()),
        namespace: object.namespace().map(str::to_owned),
        name: name.map(str::to_owned),
        ..Default::default()
    };
    let patch = || right("patch", Some(object.name()));
    match &step.action {
        Action::Create(_) => vec![right("create", None)],
        Action::Merge(_) | Action::Apply(_, Presence::Present, _) => vec![patch()],
        Action::Apply(_, Presence::Absent, _) => vec![patch(), right("create", None)],
        Action::Delete(_) => vec![right("delete", Some(object.name()))],
        Action::Unchanged => Vec::new(),
    }
}

fn denial(right: &ResourceAttributes, reason: Option<&str>, object: &ObjectRef, context: &str) -> Error {
    let verb = right.verb.as_deref().unwrap_or_default();
    let group = right.group.as_deref().map(|group| format!(".{group}"));
    let resource = format!(
        "{}{}",
        right.resource.as_deref().unwrap_or_default(),
        group.unwrap_or_default()
    );
    let place = right
        .namespace
        .as_deref()
        .map(|namespace| (format!(" in namespace {namespace:?}"), format!(" -n {namespace}")));
    let (place, flag) = place.unwrap_or_default();
    let reason = reason.filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
    Error::new(format!("you may not {verb} {resource}{place}{reason}"))
        .context(context)
        .object(object)
        .hint(format!(
            "ask for the right; `kubectl auth can-i {verb} {resource}{flag} --context {context}` \
             tells when it is there"
        ))
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::{Namespace, Secret};
    use serde_json::json;

    use super::*;
    use crate::{cluster::Conflicts, manifest::Manifest};

    #[test]
    fn a_write_needs_its_verb() {
        #[track_caller]
        fn check(object: ObjectRef, action: Action, want: &[&str]) {
            let rights: Vec<_> = rights(&Step::new(object, action))
                .into_iter()
                .map(|right| {
                    let words = [right.verb, right.resource, right.namespace, right.name];
                    words.into_iter().flatten().collect::<Vec<_>>().join(" ")
                })
                .collect();
            assert_eq!(rights, want);
        }
        let manifest = || Manifest::new(json!({}));
        let secret = || ObjectRef::new::<Secret>("ns", "root");
        check(secret(), Action::Unchanged, &[]);
        check(secret(), Action::Create(manifest()), &["create secrets ns"]);
        check(secret(), Action::Merge(manifest()), &["patch secrets ns root"]);
        check(
            secret(),
            Action::Apply(manifest(), Presence::Present, Conflicts::Refused),
            &["patch secrets ns root"],
        );
        check(
            secret(),
            Action::Apply(manifest(), Presence::Absent, Conflicts::Refused),
            &["patch secrets ns root", "create secrets ns"],
        );
        check(
            secret(),
            Action::Delete(Default::default()),
            &["delete secrets ns root"],
        );
        check(
            ObjectRef::cluster_wide::<Namespace>("ns"),
            Action::Create(manifest()),
            &["create namespaces"],
        );
    }
}
