//! One cluster: a context's name, a client, and requests whose errors say which
//! object in which context they are about.

use std::fmt;

use futures::{Stream, StreamExt as _, future::try_join_all};
use http::Request as HttpRequest;
use k8s_openapi::{
    ClusterResourceScope,
    apimachinery::pkg::{
        apis::meta::v1::{APIGroup, APIResourceList},
        version::Info,
    },
    serde::de::DeserializeOwned,
};
use kube::{
    Client, Resource,
    api::{
        ApiResource, DeleteParams, DynamicObject, GetParams, ListParams, ObjectList, Patch, PatchParams,
        PostParams, Preconditions, ValidationDirective, WatchEvent, WatchParams,
    },
    core::Request,
};
use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    args::ClusterArgs,
    client,
    error::{Error, Result, root_cause},
    failure::{self, try_again_after, worded},
    kubeconfig::Kubeconfig,
    manifest::Manifest,
    overrides::Overrides,
    terminal,
};

pub use crate::object_ref::ObjectRef;

/// How often a request is sent before its refusal is an error.
const ATTEMPTS: u32 = 4;

/// A cluster that requests can be sent to.
#[derive(Clone)]
pub struct Cluster {
    context: String,
    server: String,
    /// The name that its certificate is checked for, if not the host of the URL.
    tls_server_name: Option<String>,
    client: Client,
}

/// How a write is made: under whose name, and whether it is kept.
#[derive(Debug, Clone, Copy)]
pub struct Writer {
    /// The field manager, as `metadata.managedFields` will name it.
    pub manager: &'static str,
    /// Whether the server checks the write without keeping it.
    pub dry_run: bool,
}

/// What to do about a field that another manager has set to another value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conflicts {
    /// Fail, and name the manager.
    Refused,
    /// Set it, and take it from its manager: somebody asked for that.
    Overridden,
}

impl Cluster {
    /// The management cluster, as the flags say.
    ///
    /// # Errors
    /// As [`Kubeconfig::connection`].
    pub fn management(kubeconfig: &Kubeconfig, args: &ClusterArgs) -> Result<Self> {
        Self::connect(kubeconfig, args.context(), &args.overrides())
    }

    /// The cluster of a context, or of the current one. No request is sent yet.
    ///
    /// # Errors
    /// As [`Kubeconfig::connection`], or if a certificate or key cannot be used.
    pub fn connect(kubeconfig: &Kubeconfig, context: Option<&str>, overrides: &Overrides) -> Result<Self> {
        let connection = kubeconfig.connection(context, overrides)?;
        let context = connection.context.clone();
        let server = connection.config.cluster_url.to_string();
        let tls_server_name = connection.config.tls_server_name.clone();
        let client = client::client(connection, overrides.verbosity)
            .map_err(|e| Error::new(root_cause(&*e)).context(&context))?;
        Ok(Self {
            context,
            server,
            tls_server_name,
            client,
        })
    }

    /// The same cluster under another name, where its context's is not enough.
    #[must_use]
    pub fn called(self, context: &str) -> Self {
        Self {
            context: context.to_owned(),
            ..self
        }
    }

    /// Whether both names lead to one API server. Proxies that tell clusters apart
    /// by the name in TLS lead to several.
    pub fn is_same_server(&self, other: &Self) -> bool {
        (&self.server, &self.tls_server_name) == (&other.server, &other.tls_server_name)
    }

    /// The name of its context.
    pub fn context(&self) -> &str {
        &self.context
    }

    /// The URL of its API server.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// The version of its API server.
    pub async fn version(&self) -> Result<Info> {
        let request = http::Request::get("/version").body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        self.send(request).await.map_err(|e| self.error(e))
    }

    /// Reads an object; `None` where it, or its namespace, does not exist.
    pub async fn get<K: DeserializeOwned>(&self, object: &ObjectRef) -> Result<Option<K>> {
        let request = object.request().get(object.name(), &GetParams::default());
        match self.send(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.code == 404 => match status.details {
                // Only for a kind that it serves does the server name what is missing.
                Some(details) if !details.name.is_empty() => Ok(None),
                _ => Err(self.unknown_resource(object.resource()).object(object)),
            },
            Err(e) => Err(self.error(e).object(object)),
        }
    }

    /// Reads all objects of a kind, in a namespace or in all of them, that carry
    /// the labels.
    pub async fn list<K>(&self, namespace: Option<&str>, labels: &str) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    {
        let request = Request::new(K::url_path(&(), namespace)).list(&ListParams::default().labels(labels));
        match self.send::<ObjectList<K>>(request).await {
            Ok(list) => Ok(list.items),
            Err(e) => {
                let place = namespace
                    .map(|n| format!(" in namespace {n:?}"))
                    .unwrap_or_default();
                Err(self.error(e).object(format!("{}{place}", K::plural(&()))))
            }
        }
    }

    /// Reads all objects of a kind that only its cluster knows, as [`Cluster::list`].
    pub async fn list_dynamic(
        &self,
        resource: &ApiResource,
        namespace: Option<&str>,
        labels: &str,
    ) -> Result<Vec<Value>> {
        #[derive(serde::Deserialize)]
        struct Items {
            items: Vec<Value>,
        }
        let url = DynamicObject::url_path(resource, namespace);
        let request = Request::new(url).list(&ListParams::default().labels(labels));
        match self.send::<Items>(request).await {
            Ok(list) => Ok(list.items),
            Err(e) => {
                let error = match e {
                    kube::Error::Api(status) if status.code == 404 => self.unknown_resource(resource),
                    e => self.error(e),
                };
                Err(error.object(format!("{}.{}", resource.plural, resource.group)))
            }
        }
    }

    /// The kinds of an API group that the cluster serves, each in its newest version,
    /// by name; none where it does not know the group.
    pub async fn kinds(&self, group: &str) -> Result<Vec<ApiResource>> {
        let Some(served) = self.discover::<APIGroup>(&format!("/apis/{group}")).await? else {
            return Ok(Vec::new());
        };
        // The server lists the newest first: v1, v1beta1, v1alpha3.
        let lists = served.versions.iter().map(async |version| {
            let path = format!("/apis/{group}/{}", version.version);
            let list = self.discover::<APIResourceList>(&path).await?;
            Ok((
                &version.version,
                list.map_or_else(Vec::new, |list| list.resources),
            ))
        });
        let mut kinds: Vec<ApiResource> = Vec::new();
        for (version, resources) in try_join_all(lists).await? {
            for resource in resources.into_iter().filter(|r| !r.name.contains('/')) {
                if kinds.iter().all(|known| known.kind != resource.kind) {
                    kinds.push(ApiResource {
                        group: group.to_owned(),
                        version: version.clone(),
                        api_version: format!("{group}/{version}"),
                        kind: resource.kind,
                        plural: resource.name,
                    });
                }
            }
        }
        // Servers list them in the order in which they got to know them.
        kinds.sort_by(|a, b| a.kind.cmp(&b.kind));
        Ok(kinds)
    }

    /// Reads a document of the API server's about itself; `None` where there is none.
    async fn discover<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>> {
        let request = HttpRequest::get(path).body(Vec::new());
        let request = request.map_err(kube::core::request::Error::BuildRequest);
        match self.send(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(None),
            Err(e) => Err(self.error(e).object(path)),
        }
    }

    /// Asks by creating an object that the server answers and does not keep.
    pub(crate) async fn post<K>(&self, question: &K) -> Result<K>
    where
        K: Resource<DynamicType = (), Scope = ClusterResourceScope> + Serialize + DeserializeOwned,
    {
        let body = serde_json::to_vec(question).expect("an object can always be written");
        let request = Request::new(K::url_path(&(), None)).create(&PostParams::default(), body);
        self.send(request).await.map_err(|e| self.error(e))
    }

    /// Opens a watch of all objects in a path that the parameters select, from a
    /// resource version on; without one, it begins with those that there are.
    pub(crate) async fn events<T: Clone + DeserializeOwned>(
        &self,
        path: &str,
        params: &WatchParams,
        version: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>>> + use<T>> {
        let request = Request::new(path).watch(params, version);
        let request = request.map_err(kube::Error::BuildRequest);
        let events = match request {
            Ok(request) => self.client.request_events(request).await,
            Err(e) => Err(e),
        };
        let cluster = self.clone();
        let events = events.map_err(|e| self.error(e))?;
        Ok(events.map(move |event| match event {
            Ok(WatchEvent::Error(status)) => Err(cluster.error(kube::Error::Api(status))),
            event => event.map_err(|e| cluster.error(e)),
        }))
    }

    /// Creates an object, and returns it as the server answers, as all writes do: `None`
    /// for a Secret, whose keys it would repeat.
    pub async fn create(
        &self,
        object: &ObjectRef,
        manifest: &Manifest,
        writer: Writer,
    ) -> Result<Option<Value>> {
        let params = PostParams {
            dry_run: writer.dry_run,
            field_manager: Some(writer.manager.to_owned()),
        };
        let request = object.request().create(&params, manifest.to_json());
        self.write(object, request).await
    }

    /// Changes the fields of an object that the manifest holds (RFC 7386). Its
    /// `metadata.resourceVersion` makes the server refuse if the object is no
    /// longer what was read.
    pub async fn merge(
        &self,
        object: &ObjectRef,
        manifest: &Manifest,
        writer: Writer,
    ) -> Result<Option<Value>> {
        let params = PatchParams {
            dry_run: writer.dry_run,
            field_manager: Some(writer.manager.to_owned()),
            ..Default::default()
        };
        let request = object.request().patch(object.name(), &params, &Patch::Merge(()));
        let request = request.map(|r| r.map(|_| manifest.to_json()));
        self.write(object, request).await
    }

    /// Applies an object on the server's side; by force only where conflicts are to
    /// be overridden.
    pub async fn apply(
        &self,
        object: &ObjectRef,
        manifest: &Manifest,
        conflicts: Conflicts,
        writer: Writer,
    ) -> Result<Option<Value>> {
        let params = PatchParams {
            dry_run: writer.dry_run,
            force: conflicts == Conflicts::Overridden,
            field_manager: Some(writer.manager.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let request = object.request().patch(object.name(), &params, &Patch::Apply(()));
        let request = request.map(|r| r.map(|_| manifest.to_json()));
        self.write(object, request).await
    }

    /// Deletes an object, if it still is what was read; one that is gone already is
    /// no error.
    pub async fn delete(
        &self,
        object: &ObjectRef,
        preconditions: &Preconditions,
        writer: Writer,
    ) -> Result<()> {
        let params = DeleteParams {
            dry_run: writer.dry_run,
            preconditions: Some(preconditions.clone()),
            ..Default::default()
        };
        let request = object.request().delete(object.name(), &params);
        match self.send::<IgnoredAny>(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(|_| ()).map_err(|e| self.error(e).object(object)),
        }
    }

    async fn write(
        &self,
        object: &ObjectRef,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<Option<Value>> {
        let answer = match object.is_secret() {
            true => self.send::<IgnoredAny>(request).await.map(|_| None),
            false => self.send(request).await.map(Some),
        };
        answer.map_err(|e| self.error(e).object(object))
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> kube::Result<T> {
        let request = request.map_err(kube::Error::BuildRequest)?;
        for attempt in 1..ATTEMPTS {
            match self.client.request(request.clone()).await {
                Err(kube::Error::Api(status))
                    if let Some(wait) = try_again_after(&status, request.method()) =>
                {
                    let status = worded(*status);
                    let seconds = wait.as_secs();
                    terminal::story(&format!(
                        "context {:?} answers {} {}: trying again in {seconds} s ({attempt} of {})",
                        self.context,
                        status.code,
                        status.reason,
                        ATTEMPTS - 1
                    ));
                    tokio::time::sleep(wait).await;
                }
                ended => return ended,
            }
        }
        self.client.request(request).await
    }

    fn unknown_resource(&self, resource: &ApiResource) -> Error {
        failure::unknown_resource(resource, &self.server).context(&self.context)
    }

    fn error(&self, error: kube::Error) -> Error {
        failure::explain(error, &self.server).context(&self.context)
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cluster")
            .field("context", &self.context)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
