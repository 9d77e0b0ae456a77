//! Waits for a cluster to change: what was read of it once is watched from then on,
//! so that nothing has to be asked for again and again.

use std::{cell::RefCell, collections::HashSet, rc::Rc, time::Duration};

use futures::{
    FutureExt as _, StreamExt as _,
    stream::{self, LocalBoxStream, SelectAll},
};
use k8s_openapi::{
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    serde::de::DeserializeOwned,
};
use kube::{
    Resource,
    api::{ApiResource, DynamicObject, WatchEvent, WatchParams},
};
use serde::Deserialize;
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::{
    cluster::{Cluster, ObjectRef},
    error::{Error, Result},
    terminal,
};

/// How long a watch lasts before the server ends it, in seconds: shorter than a
/// client waits for the next byte.
const LASTS: u32 = 25;

/// When we end a watch that the server should have ended.
const ENDS: Duration = Duration::from_secs(30);

/// How long to wait for what changes together, and before a broken watch is opened
/// again.
const TOGETHER: Duration = Duration::from_millis(50);
const AGAIN: Duration = Duration::from_secs(1);

/// How long after its definition has changed a kind is served, at most.
const SERVED: Duration = Duration::from_secs(1);

/// Reads a cluster and remembers what was read.
#[derive(Debug)]
pub struct Reading<'c> {
    cluster: &'c Cluster,
    read: RefCell<Vec<Watched>>,
}

/// What is watched: some or all objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Watched {
    path: String,
    /// Selectors, as the API takes them.
    fields: String,
    labels: String,
    /// How long to wait after a change for what changes together.
    settles: Duration,
}

impl<'c> Reading<'c> {
    /// Nothing is read yet.
    pub fn new(cluster: &'c Cluster) -> Self {
        Self {
            cluster,
            read: RefCell::default(),
        }
    }

    /// The cluster.
    pub fn cluster(&self) -> &'c Cluster {
        self.cluster
    }

    /// As [`Cluster::get`].
    pub async fn get<K: DeserializeOwned>(&self, object: &ObjectRef) -> Result<Option<K>> {
        self.remember(Watched {
            path: DynamicObject::url_path(object.resource(), object.namespace()),
            fields: format!("metadata.name={}", object.name()),
            labels: String::new(),
            settles: TOGETHER,
        });
        self.cluster.get(object).await
    }

    /// As [`Cluster::list`].
    pub async fn list<K>(&self, namespace: Option<&str>, labels: &str) -> Result<Vec<K>>
    where
        K: Resource<DynamicType = ()> + Clone + DeserializeOwned,
    {
        self.remember(Watched {
            path: K::url_path(&(), namespace),
            fields: String::new(),
            labels: labels.to_owned(),
            settles: TOGETHER,
        });
        self.cluster.list(namespace, labels).await
    }

    /// As [`Cluster::list_dynamic`], in all namespaces.
    pub async fn list_dynamic(&self, resource: &ApiResource) -> Result<Vec<Value>> {
        self.remember(Watched {
            path: DynamicObject::url_path(resource, None),
            fields: String::new(),
            labels: String::new(),
            settles: TOGETHER,
        });
        self.cluster.list_dynamic(resource, None, "").await
    }

    /// Remembers that a kind is not served: its definition is watched, as somebody may
    /// install it.
    pub fn misses(&self, group: &str, plural: &str) {
        self.remember(Watched {
            path: CustomResourceDefinition::url_path(&(), None),
            fields: format!("metadata.name={plural}.{group}"),
            labels: String::new(),
            settles: SERVED,
        });
    }

    fn remember(&self, watched: Watched) {
        let mut read = self.read.borrow_mut();
        if !read.contains(&watched) {
            read.push(watched);
        }
    }
}

/// Watches of what was read.
#[derive(Default)]
pub struct Watches<'c> {
    watched: Vec<Watched>,
    complaints: Complaints,
    changes: SelectAll<LocalBoxStream<'c, Result<Duration>>>,
}

impl<'c> Watches<'c> {
    /// Watches what was read, too, from now on: what is there already counts as a
    /// change once more, as it may have come between reading and watching.
    pub fn add(&mut self, reading: Reading<'c>) {
        for watched in reading.read.into_inner() {
            if !self.watched.contains(&watched) {
                let changes = changes(reading.cluster, watched.clone(), self.complaints.clone());
                self.changes.push(changes.boxed_local());
                self.watched.push(watched);
            }
        }
    }

    /// Ends when something changes.
    ///
    /// # Errors
    /// If nothing may be watched.
    pub async fn changed(&mut self) -> Result<()> {
        let mut refused = None;
        let settles = loop {
            match self.changes.next().await {
                Some(Ok(settles)) => break settles,
                Some(Err(error)) => {
                    tell(&error);
                    refused = Some(error);
                }
                None => {
                    let error = refused.unwrap_or_else(|| Error::new("nothing is left to watch"));
                    return Err(error.hint("without the right to watch, run the command again later"));
                }
            }
        };
        // One change seldom comes alone.
        tokio::time::sleep(settles).await;
        while let Some(Some(change)) = self.changes.next().now_or_never() {
            if let Err(error) = change {
                tell(&error);
            }
        }
        Ok(())
    }
}

fn tell(refused: &Error) {
    terminal::story(&format!("not watched: {}", refused.message()));
}

/// Why watches cannot be opened, each said once until one can: a server that is away is
/// so for all of them, and tried for every second.
#[derive(Debug, Clone, Default)]
struct Complaints(Rc<RefCell<HashSet<String>>>);

impl Complaints {
    fn tell(&self, error: &Error) {
        let message = error.message();
        if self.0.borrow_mut().insert(message.to_owned()) {
            terminal::story(&format!("watching again every second: {message}"));
        }
    }

    fn forget(&self) {
        self.0.borrow_mut().clear();
    }
}

/// What is kept of an object or a bookmark.
#[derive(Clone, Deserialize)]
struct Versioned {
    metadata: Version,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Version {
    resource_version: String,
}

/// A watch that goes on where the one before has ended.
#[derive(Default)]
struct Watch<'c> {
    /// What was seen last, as the server counts; empty before the first event.
    version: String,
    /// What comes, and when it is to have ended.
    open: Option<(LocalBoxStream<'c, Result<WatchEvent<Versioned>>>, Instant)>,
}

/// Yields how long each change takes to settle, for as long as it may be watched: where
/// a watch ends, the next one goes on.
fn changes(
    cluster: &Cluster,
    watched: Watched,
    complaints: Complaints,
) -> impl stream::Stream<Item = Result<Duration>> {
    let params = WatchParams {
        field_selector: Some(watched.fields).filter(|fields| !fields.is_empty()),
        label_selector: Some(watched.labels).filter(|labels| !labels.is_empty()),
        timeout: Some(LASTS),
        bookmarks: true,
        send_initial_events: false,
    };
    let start = Watch::default();
    stream::unfold(Some(start), move |watch| {
        let (params, path, settles) = (params.clone(), watched.path.clone(), watched.settles);
        let complaints = complaints.clone();
        async move {
            let mut watch: Watch<'_> = watch?;
            loop {
                let (events, end) = match &mut watch.open {
                    Some(open) => open,
                    None => match cluster.events(&path, &params, &watch.version).await {
                        Ok(events) => {
                            complaints.forget();
                            watch.open.insert((events.boxed_local(), Instant::now() + ENDS))
                        }
                        Err(error) if error.is_forbidden() => return Some((Err(error), None)),
                        Err(error) => {
                            complaints.tell(&error);
                            // What it does not like may be the version.
                            watch = Watch::default();
                            tokio::time::sleep(AGAIN).await;
                            continue;
                        }
                    },
                };
                match timeout_at(*end, events.next()).await {
                    Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => {
                        watch.version = bookmark.metadata.resource_version;
                    }
                    Ok(Some(Ok(
                        WatchEvent::Added(object)
                        | WatchEvent::Modified(object)
                        | WatchEvent::Deleted(object),
                    ))) => {
                        watch.version = object.metadata.resource_version;
                        return Some((Ok(settles), Some(watch)));
                    }
                    // Too long ago for the server to remember (410), or a connection that
                    // broke or says nothing that ends: begin with what there is.
                    Ok(Some(Err(_) | Ok(WatchEvent::Error(_)))) | Err(_) => {
                        watch = Watch::default();
                        tokio::time::sleep(AGAIN).await;
                    }
                    Ok(None) => {
                        watch.open = None;
                        tokio::time::sleep(AGAIN).await;
                    }
                }
            }
        }
    })
}
