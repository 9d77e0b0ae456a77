//! Who looks after an object: whoever it is would undo a change of ours, or be
//! undone by it.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Who looks after an object, as far as its metadata tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// One of our plugins made it.
    Ours,
    /// A person did, with kubectl; they are asking us now.
    Person,
    /// A program does, named as its users know it.
    Program(String),
}

/// Whether a field manager is a person at a keyboard: each of kubectl's commands
/// has a default of its own, such as `kubectl-label`.
fn is_person(manager: &str) -> bool {
    manager == "kubectl" || manager.starts_with("kubectl-")
}

impl Owner {
    /// Tells whose an object is. A program that says so by label, annotation or
    /// owner reference comes before whoever wrote its fields last.
    pub fn of(metadata: &ObjectMeta) -> Self {
        let labels = metadata.labels.as_ref();
        let annotations = metadata.annotations.as_ref();
        let label = |key: &str| labels.and_then(|l| l.get(key)).map(String::as_str);
        let annotation = |key: &str| annotations.and_then(|a| a.get(key)).map(String::as_str);
        if let Some(release) = annotation("meta.helm.sh/release-name") {
            return Self::Program(format!("Helm release {release:?}"));
        }
        if let Some(certificate) = annotation("cert-manager.io/certificate-name") {
            return Self::Program(format!("cert-manager's Certificate {certificate:?}"));
        }
        if let Some(application) = annotation("argocd.argoproj.io/tracking-id") {
            return Self::Program(format!("Argo CD ({application:?})"));
        }
        let managers = || {
            let managers = metadata.managed_fields.iter().flatten();
            managers
                .filter(|entry| entry.subresource.as_deref().unwrap_or_default().is_empty())
                .filter_map(|entry| entry.manager.as_deref())
        };
        // It may track by a label that charts have, too; these say `Helm` of themselves.
        if managers().any(|manager| manager.starts_with("argocd")) {
            return Self::Program("Argo CD".to_owned());
        }
        if let Some(manager) = label("app.kubernetes.io/managed-by") {
            return Self::Program(manager.to_owned());
        }
        if let Some(owner) = metadata.owner_references.iter().flatten().next() {
            return Self::Program(format!("{} {:?}", owner.kind, owner.name));
        }
        let mut person = false;
        let mut ours = false;
        for manager in managers() {
            match manager {
                _ if manager.starts_with("kubectl-relay-") => ours = true,
                _ if is_person(manager) => person = true,
                other => return Self::Program(format!("field manager {other:?}")),
            }
        }
        match ours && !person {
            true => Self::Ours,
            false => Self::Person,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("this tool"),
            Self::Person => f.write_str("a person with kubectl"),
            Self::Program(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn owners_are_told_by_name() {
        #[track_caller]
        fn check(metadata: Value, want: &str) {
            let metadata: ObjectMeta = serde_json::from_value(metadata).expect("is metadata");
            assert_eq!(Owner::of(&metadata).to_string(), want);
        }
        let managed = |names: &[&str]| {
            let entries: Vec<_> = names.iter().map(|name| json!({ "manager": name })).collect();
            json!({ "managedFields": entries })
        };
        check(json!({}), "a person with kubectl");
        check(managed(&["kubectl-relay-certs"]), "this tool");
        check(
            managed(&["kubectl-relay-certs", "kubectl-edit"]),
            "a person with kubectl",
        );
        check(managed(&["kubectl-create"]), "a person with kubectl");
        check(
            managed(&["kubectl", "kubectl-label", "kubectl-annotate"]),
            "a person with kubectl",
        );
        check(managed(&["kubectlish"]), "field manager \"kubectlish\"");
        check(
            managed(&["kubectl-create", "external-secrets"]),
            "field manager \"external-secrets\"",
        );
        check(
            json!({ "managedFields": [{ "manager": "kubelet", "subresource": "status" }] }),
            "a person with kubectl",
        );
        check(
            json!({ "annotations": { "meta.helm.sh/release-name": "gloo" } }),
            "Helm release \"gloo\"",
        );
        check(
            json!({ "annotations": { "cert-manager.io/certificate-name": "relay" } }),
            "cert-manager's Certificate \"relay\"",
        );
        check(
            json!({ "labels": { "app.kubernetes.io/managed-by": "Flux" } }),
            "Flux",
        );
        check(
            json!({
                "labels": { "app.kubernetes.io/managed-by": "Helm" },
                "managedFields": [{ "manager": "argocd-controller" }],
            }),
            "Argo CD",
        );
        check(
            json!({ "annotations": { "argocd.argoproj.io/tracking-id": "gloo:/Service:ns/x" } }),
            "Argo CD (\"gloo:/Service:ns/x\")",
        );
        check(
            json!({ "ownerReferences": [{ "apiVersion": "v1", "kind": "SealedSecret", "name": "x", "uid": "u" }] }),
            "SealedSecret \"x\"",
        );
    }
}
