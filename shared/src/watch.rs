//! Waits for a cluster to change: what was read of it once is watched from then on,
//! so that nothing has to be asked for again and again.

use std::{cell::RefCell, collections::HashSet, rc::Rc, time::Duration};

use futures::{
    FutureExt as _, StreamExt as _,
    future::join_all,
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

/// How long to wait at most before a watch that was refused is tried again, as client-go
/// does: it begins with [`AGAIN`], and doubles.
const SELDOM: Duration = Duration::from_secs(30);

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
    changes: SelectAll<LocalBoxStream<'c, Duration>>,
}

impl<'c> Watches<'c> {
    /// Watches what was read, too, from now on: what is there already counts as a
    /// change once more, as it may have come between reading and watching. What may not
    /// be watched is told of in the order in which it was read.
    pub async fn add(&mut self, reading: Reading<'c>) {
        let new = reading.read.into_inner().into_iter();
        let new: Vec<_> = new.filter(|read| !self.watched.contains(read)).collect();
        let mut watches: Vec<_> = new
            .iter()
            .map(|watched| Watch::new(reading.cluster, watched.clone(), self.complaints.clone()))
            .collect();
        let opened = join_all(watches.iter_mut().map(Watch::open)).await;
        for (mut watch, opened) in watches.into_iter().zip(opened) {
            if let Err(error) = opened {
                watch.complain(&error);
            }
            self.changes.push(watch.changes().boxed_local());
        }
        self.watched.extend(new);
    }

    /// Ends when something changes, or may have: what may not be watched is to be looked
    /// at again from time to time.
    pub async fn changed(&mut self) {
        let Some(settles) = self.changes.next().await else {
            return std::future::pending().await;
        };
        // One change seldom comes alone.
        tokio::time::sleep(settles).await;
        while let Some(Some(_)) = self.changes.next().now_or_never() {}
    }
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
struct Watch<'c> {
    cluster: &'c Cluster,
    watched: Watched,
    complaints: Complaints,
    /// What was seen last, as the server counts; empty before the first event.
    version: String,
    /// What comes, and when it is to have ended.
    open: Option<(LocalBoxStream<'c, Result<WatchEvent<Versioned>>>, Instant)>,
    /// How long to wait until it is tried again; zero unless it was refused.
    refused: Duration,
}

impl<'c> Watch<'c> {
    fn new(cluster: &'c Cluster, watched: Watched, complaints: Complaints) -> Self {
        Self {
            cluster,
            watched,
            complaints,
            version: String::new(),
            open: None,
            refused: Duration::ZERO,
        }
    }

    async fn open(&mut self) -> Result<()> {
        let Watched {
            path, fields, labels, ..
        } = &self.watched;
        let selector = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
        let params = WatchParams {
            field_selector: selector(fields),
            label_selector: selector(labels),
            timeout: Some(LASTS),
            bookmarks: true,
            send_initial_events: false,
        };
        let events = self.cluster.events(path, &params, &self.version).await?;
        self.complaints.forget();
        self.refused = Duration::ZERO;
        self.open = Some((events.boxed_local(), Instant::now() + ENDS));
        Ok(())
    }

    /// Tells why it could not be opened, and when it is tried again.
    fn complain(&mut self, error: &Error) {
        // What the server does not like may be the version.
        self.version.clear();
        if !error.is_forbidden() {
            return self.complaints.tell(error);
        }
        if self.refused.is_zero() {
            terminal::story(&format!("looking again from time to time: {}", error.message()));
        }
        self.refused = (self.refused * 2).clamp(AGAIN, SELDOM);
    }

    /// Yields how long each change takes to settle: where a watch ends, the next one goes
    /// on. Where none is allowed, each time that it was tried counts as a change: the right
    /// may come, and what there is may be read without it.
    fn changes(self) -> impl stream::Stream<Item = Duration> {
        stream::unfold(self, async |mut watch| {
            watch.change().await;
            Some((watch.watched.settles, watch))
        })
    }

    async fn change(&mut self) {
        loop {
            let Some((events, end)) = &mut self.open else {
                tokio::time::sleep(self.refused.max(AGAIN)).await;
                if let Err(error) = self.open().await {
                    self.complain(&error);
                    if error.is_forbidden() {
                        return;
                    }
                }
                continue;
            };
            match timeout_at(*end, events.next()).await {
                Ok(Some(Ok(WatchEvent::Bookmark(bookmark)))) => {
                    self.version = bookmark.metadata.resource_version;
                }
                Ok(Some(Ok(
                    WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object),
                ))) => {
                    self.version = object.metadata.resource_version;
                    return;
                }
                // Too long ago for the server to remember (410), or a connection that
                // broke or says nothing that ends: begin with what there is.
                Ok(Some(Err(_) | Ok(WatchEvent::Error(_)))) | Err(_) => {
                    self.version.clear();
                    self.open = None;
                }
                Ok(None) => self.open = None,
            }
        }
    }
}
