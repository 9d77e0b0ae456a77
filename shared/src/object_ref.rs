//! The name of an object: what requests, plans, reports and errors are about.

use std::fmt;

use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::{
    Resource,
    api::{ApiResource, DynamicObject},
    core::Request,
};
use serde_json::Value;

/// Names one object: its kind, its namespace if it has one, its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
}

impl ObjectRef {
    /// An object in a namespace, of a kind that is known at compile time.
    pub fn new<K>(namespace: &str, name: &str) -> Self
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Self::dynamic(ApiResource::erase::<K>(&()), namespace, name)
    }

    /// An object of a kind that has no namespace.
    pub fn cluster_wide<K>(name: &str) -> Self
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope>,
    {
        Self {
            resource: ApiResource::erase::<K>(&()),
            namespace: None,
            name: name.to_owned(),
        }
    }

    /// A namespaced object of a kind that only its cluster knows.
    pub fn dynamic(resource: ApiResource, namespace: &str, name: &str) -> Self {
        Self {
            resource,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    /// The object of a kind that a document is of, as far as it says.
    pub fn of(resource: &ApiResource, document: &Value) -> Self {
        let text = |key: &str| document["metadata"][key].as_str().unwrap_or_default();
        Self::dynamic(resource.clone(), text("namespace"), text("name"))
    }

    /// The kind of the object.
    pub fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// Whether it is a namespace.
    pub fn is_namespace(&self) -> bool {
        self.resource.kind == "Namespace" && self.resource.group.is_empty()
    }

    /// Whether it is a Secret.
    pub fn is_secret(&self) -> bool {
        self.resource.kind == "Secret" && self.resource.group.is_empty()
    }

    /// The name of the object, without its namespace.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace of the object, if its kind has one.
    pub fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    /// `secret/NAME` or `gateway.networking.istio.io/NAME`, as kubectl reports it.
    pub fn path(&self) -> String {
        format!("{}/{}", self.kind(), self.name)
    }

    fn kind(&self) -> String {
        let kind = self.resource.kind.to_ascii_lowercase();
        match self.resource.group.as_str() {
            "" => kind,
            group => format!("{kind}.{group}"),
        }
    }

    /// The beginning of a request for it.
    pub(crate) fn request(&self) -> Request {
        Request::new(DynamicObject::url_path(&self.resource, self.namespace.as_deref()))
    }
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.resource.kind.to_ascii_lowercase();
        match &self.namespace {
            Some(namespace) => write!(f, "{kind} {namespace}/{}", self.name),
            None => write!(f, "{kind} {}", self.name),
        }
    }
}
