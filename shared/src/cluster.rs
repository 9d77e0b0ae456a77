//! One cluster: a context's name, a client, and requests whose errors say which
//! object in which context they are about.

use std::{fmt, io, time::Duration};

use futures::{Stream, StreamExt as _, future::try_join_all};
use http::Request as HttpRequest;
use k8s_openapi::{
    ClusterResourceScope, NamespaceResourceScope,
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
    core::{Request, Status},
};
use serde::{Serialize, de::IgnoredAny};
use serde_json::Value;

use crate::{
    args::ClusterArgs,
    client,
    credentials::Failure,
    error::{Error, Result},
    kubeconfig::Kubeconfig,
    manifest::Manifest,
    overrides::Overrides,
    proxy, terminal,
};

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

/// Names one object: its kind, its namespace if it has one, its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRef {
    resource: ApiResource,
    namespace: Option<String>,
    name: String,
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
            .map_err(|e| Error::new(root_cause(&e)).context(&context))?;
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
        let request = object.request().get(&object.name, &GetParams::default());
        match self.send(request).await {
            Ok(found) => Ok(Some(found)),
            Err(kube::Error::Api(status)) if status.code == 404 => match status.details {
                // Only for a kind that it serves does the server name what is missing.
                Some(details) if !details.name.is_empty() => Ok(None),
                _ => Err(self.unknown_resource(&object.resource).object(object)),
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
            Err(kube::Error::Api(status)) if status.code == 404 => Err(self.unknown_resource(resource)),
            Err(e) => Err(self
                .error(e)
                .object(format!("{}.{}", resource.plural, resource.group))),
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
            Err(e) => Err(self.error(e)),
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

    /// Creates an object.
    pub async fn create(&self, object: &ObjectRef, manifest: &Manifest, writer: Writer) -> Result<()> {
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
    pub async fn merge(&self, object: &ObjectRef, manifest: &Manifest, writer: Writer) -> Result<()> {
        let params = PatchParams {
            dry_run: writer.dry_run,
            field_manager: Some(writer.manager.to_owned()),
            ..Default::default()
        };
        let request = object.request().patch(&object.name, &params, &Patch::Merge(()));
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
    ) -> Result<()> {
        let params = PatchParams {
            dry_run: writer.dry_run,
            force: conflicts == Conflicts::Overridden,
            field_manager: Some(writer.manager.to_owned()),
            field_validation: Some(ValidationDirective::Strict),
        };
        let request = object.request().patch(&object.name, &params, &Patch::Apply(()));
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
        let request = object.request().delete(&object.name, &params);
        match self.send::<IgnoredAny>(request).await {
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            answer => answer.map(|_| ()).map_err(|e| self.error(e).object(object)),
        }
    }

    async fn write(
        &self,
        object: &ObjectRef,
        request: Result<HttpRequest<Vec<u8>>, kube::core::request::Error>,
    ) -> Result<()> {
        // The answer repeats the object, keys included: it is not kept.
        let answer = self.send::<IgnoredAny>(request).await;
        answer.map(|_| ()).map_err(|e| self.error(e).object(object))
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
        let ApiResource {
            plural, api_version, ..
        } = resource;
        let error = Error::new(format!(
            "the server doesn't have a resource type {plural:?} in {api_version:?}"
        ))
        .context(&self.context);
        // Every API server has these.
        match resource.group.is_empty() {
            true => error.hint(format!(
                "the kubeconfig says {}; see whether something else answers there",
                self.server
            )),
            false => error,
        }
    }

    fn error(&self, error: kube::Error) -> Error {
        let error = match error {
            kube::Error::Api(status) => kube::Error::Api(Box::new(worded(*status))),
            error => error,
        };
        let error = match error {
            kube::Error::Api(status) if status.reason == "Conflict" => {
                // Only where fields of other managers are at stake are there causes.
                let owned = status
                    .details
                    .as_ref()
                    .is_some_and(|details| !details.causes.is_empty());
                let hint = match owned {
                    true => "leave it to whoever that is, or take these fields over with --force-conflicts",
                    false => "someone else changed it just now: run the same command again",
                };
                Error::from_server(&status.reason, status.message).hint(hint)
            }
            kube::Error::Api(status) if status.reason == "AlreadyExists" => {
                Error::from_server(&status.reason, status.message)
                    .hint("somebody made it since it was looked for: run again to see what it holds")
            }
            kube::Error::Api(status) => Error::from_server(&status.reason, status.message).hint_for_reason(),
            // What is wrong in particular might repeat a part of a Secret.
            kube::Error::SerdeError(_) | kube::Error::FromUtf8(_) => Error::new(
                "cannot read what the server answered: it is not what an API server says",
            )
            .hint(format!(
                "the kubeconfig says {}; see whether something else answers there",
                self.server
            )),
            error => match chain(&error).find_map(|e| e.downcast_ref::<Failure>()) {
                Some(failure) => failure.to_error(),
                None => unreachable_server(&error, &self.server),
            },
        };
        error.context(&self.context)
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

    fn request(&self) -> Request {
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

/// How often a request is sent before its refusal is an error.
const ATTEMPTS: u32 = 4;

/// How long to wait before a request is sent again, if that may help: a busy
/// server has not looked at it (429), or only reads are at stake.
fn try_again_after(status: &Status, method: &http::Method) -> Option<Duration> {
    let busy = status.code == 429 || (matches!(status.code, 503 | 504) && method == http::Method::GET);
    let asked = status
        .details
        .as_ref()
        .map_or(0, |details| details.retry_after_seconds);
    busy.then(|| Duration::from_secs(u64::from(asked).clamp(1, 10)))
}

/// What an answer without a `Status` means, which may come from a proxy on the way:
/// apimachinery's `NewGenericServerResponse`, whose words these are.
fn worded(mut status: Status) -> Status {
    if status.reason != "Failed to parse error data" {
        return status;
    }
    let said = std::mem::take(&mut status.message);
    let (reason, message) = match status.code {
        401 => (
            "Unauthorized",
            "the server has asked for the client to provide credentials".to_owned(),
        ),
        403 => ("Forbidden", said),
        404 => (
            "NotFound",
            "the server could not find the requested resource".to_owned(),
        ),
        429 => (
            "TooManyRequests",
            "the server has received too many requests and has asked us to try again later".to_owned(),
        ),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request".to_owned(),
        ),
        504 => (
            "Timeout",
            "the server was unable to return a response in the time allotted, but may still be \
             processing the request"
                .to_owned(),
        ),
        500.. => (
            "InternalError",
            format!("an error on the server ({said:?}) has prevented the request from succeeding"),
        ),
        code => (
            "",
            format!("the server responded with the status code {code} but did not return more information"),
        ),
    };
    Status {
        reason: reason.to_owned(),
        message,
        ..status
    }
}

/// What is at the bottom of a chain of errors, each of which repeats the next.
pub(crate) fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// An error, what caused it, what caused that, and so on.
fn chain<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |e| e.source())
}

/// Says in kubectl's words why there was no answer.
fn unreachable_server(error: &(dyn std::error::Error + 'static), server: &str) -> Error {
    if let Some(failure) = chain(error).find_map(|e| e.downcast_ref::<proxy::Failure>()) {
        return Error::unreachable(format!("Unable to connect to the server: {failure}")).hint(
            "`proxy-url` of the cluster in the kubeconfig names the proxy, or else $HTTPS_PROXY; \
             $NO_PROXY lists what is reached without it",
        );
    }
    let url = server.parse::<http::Uri>().ok();
    let host = url.as_ref().and_then(http::Uri::authority);
    // Without the password that some URLs hold.
    let host = host.map_or("", |host| host.as_str().rsplit('@').next().unwrap_or_default());
    let mut causes = chain(error).filter_map(|e| e.downcast_ref::<io::Error>());
    if causes.any(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        return Error::unreachable(format!(
            "The connection to the server {host} was refused - did you specify the right host or port?"
        ))
        .hint("see whether the server runs, and whether the kubeconfig says where");
    }
    Error::unreachable(format!("Unable to connect to the server: {}", root_cause(error))).hint(format!(
        "the kubeconfig says {host}; check the network, proxies and certificates on the way"
    ))
}
