//! The clusters that are worked on, and what each of them holds now.

use futures::{
    StreamExt as _,
    future::{try_join, try_join_all},
    stream,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use relay_shared::{
    Error, Result,
    args::ClusterArgs,
    cluster::{Cluster, ObjectRef},
    exposure,
    kubeconfig::Kubeconfig,
    manifest::Manifest,
    plan::{Action, ClusterPlan, Plan, Presence, Step},
    relay::RelayHost,
    remotes::RemoteArgs,
    terminal::Progress,
};
use serde_json::json;

use crate::{
    certificate::Certificate,
    directory::Pair,
    material::Material,
    secrets::{self, Live, Role},
};

/// The management cluster's Secrets; a remote has only the root's.
const MANAGEMENT: [Role; 3] = [Role::Root, Role::Server, Role::Signing];
const REMOTE: [Role; 1] = [Role::Root];

/// All clusters, none of them twice.
pub(crate) struct Fleet<M> {
    pub(crate) management: M,
    pub(crate) remotes: Vec<M>,
}

/// One cluster and what it holds now.
pub(crate) struct Member {
    pub(crate) cluster: Cluster,
    pub(crate) namespace: Presence,
    pub(crate) secrets: Vec<Slot>,
}

/// The place of one Secret, and what is there.
pub(crate) struct Slot {
    pub(crate) role: Role,
    pub(crate) object: ObjectRef,
    pub(crate) live: Option<Live>,
}

impl Fleet<Cluster> {
    /// Finds the clusters of all contexts. No request is sent yet. A remote that
    /// is the management cluster, or is named twice, is worked once.
    ///
    /// # Errors
    /// All that is wrong with any of the contexts, at once.
    pub(crate) fn connect(
        kubeconfig: &Kubeconfig,
        flags: &ClusterArgs,
        remotes: &RemoteArgs,
    ) -> Result<Self> {
        let management = Cluster::management(kubeconfig, flags);
        let remotes = remotes.connect(kubeconfig, flags, management.as_ref().ok())?;
        let mut clusters = all(std::iter::once(management).chain(remotes))?.into_iter();
        Ok(Self {
            management: clusters.next().expect("it was put there"),
            remotes: clusters.collect(),
        })
    }

    /// Reads all clusters, side by side, and the host that agents will ask for.
    ///
    /// # Errors
    /// All that is wrong with any of the clusters, at once.
    pub(crate) async fn observe(
        self,
        namespace: &str,
        service: Option<&str>,
        parallel: usize,
    ) -> Result<(RelayHost, Fleet<Member>)> {
        let host = observe_host(self.management.clone(), namespace, service);
        let progress = Progress::bar("reading clusters", 1 + self.remotes.len());
        let management = std::iter::once((self.management, &MANAGEMENT[..]));
        let remotes = self.remotes.into_iter().map(|cluster| (cluster, &REMOTE[..]));
        let members = stream::iter(management.chain(remotes))
            .map(async |(cluster, roles)| {
                let member = Member::observe(cluster, namespace, roles).await;
                progress.advance();
                member
            })
            .buffered(parallel)
            .collect::<Vec<_>>();
        let (host, members) = try_join(host, async { all(members.await) }).await?;
        let mut members = members.into_iter();
        let fleet = Fleet {
            management: members.next().expect("it was asked first"),
            remotes: members.collect(),
        };
        Ok((host, fleet))
    }
}

impl Fleet<Member> {
    /// Every root that a cluster trusts, with the place where it does.
    pub(crate) fn roots(&self) -> Vec<(String, Vec<Certificate>)> {
        let members = std::iter::once(&self.management).chain(&self.remotes);
        let slots = members.flat_map(|m| m.secrets.iter().map(|slot| (m.cluster.context(), slot)));
        slots
            .filter_map(|(context, slot)| {
                let roots = slot.live.as_ref()?.roots.clone()?;
                Some((format!("{} in context {context:?}", slot.object), roots))
            })
            .collect()
    }

    /// The management cluster's certificate and key of a role, once.
    pub(crate) fn take_pair(&mut self, role: Role) -> Pair {
        let slots = self.management.secrets.iter_mut();
        let slot = slots
            .filter(|slot| slot.role == role)
            .find_map(|slot| slot.live.as_mut());
        slot.map(Live::take_pair).unwrap_or_default()
    }

    /// What is to be done so that every cluster holds what it should.
    ///
    /// # Errors
    /// All that forbids it anywhere, at once.
    pub(crate) fn plan(self, material: &Material, namespace: &str) -> Result<Plan> {
        let members = std::iter::once(self.management).chain(self.remotes);
        let clusters = all(members.map(|member| member.plan(material, namespace)))?;
        Ok(Plan { clusters })
    }
}

impl Member {
    async fn observe(cluster: Cluster, namespace: &str, roles: &[Role]) -> Result<Self> {
        let secrets = roles.iter().map(async |&role| {
            let object = ObjectRef::new::<Secret>(namespace, role.secret());
            let live = cluster.get::<Secret>(&object).await?.map(Live::new);
            Result::Ok(Slot { role, object, live })
        });
        let secrets = try_join_all(secrets).await?;
        // A Secret proves its namespace, so most runs need not ask for it.
        let namespace = match secrets.iter().any(|slot| slot.live.is_some()) {
            true => Presence::Present,
            false => observe_namespace(&cluster, namespace).await?,
        };
        Ok(Self {
            cluster,
            namespace,
            secrets,
        })
    }

    fn plan(self, material: &Material, namespace: &str) -> Result<ClusterPlan> {
        let object = ObjectRef::cluster_wide::<Namespace>(namespace);
        let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        let mut steps = vec![Step {
            object,
            action: match self.namespace {
                Presence::Absent => Action::Create(Manifest::new(manifest)),
                Presence::Present => Action::Unchanged,
            },
        }];
        for Slot { role, object, live } in self.secrets {
            let step = secrets::step(object, live.as_ref(), &material.contents(role));
            steps.push(step.map_err(|e| e.context(self.cluster.context()))?);
        }
        Ok(ClusterPlan {
            cluster: self.cluster,
            steps,
        })
    }
}

/// The host of the relay service: the one that was named, else the one there is.
async fn observe_host(cluster: Cluster, namespace: &str, named: Option<&str>) -> Result<RelayHost> {
    let found = match named {
        Some(_) => None,
        None => exposure::relay_service(&cluster, namespace, None).await?,
    };
    let object = found.map(|(object, _)| object);
    Ok(exposure::relay_host(object.as_ref(), named, namespace))
}

async fn observe_namespace(cluster: &Cluster, name: &str) -> Result<Presence> {
    let object = ObjectRef::cluster_wide::<Namespace>(name);
    let namespace = match cluster.get::<Namespace>(&object).await {
        Ok(Some(namespace)) => namespace,
        Ok(None) => return Ok(Presence::Absent),
        // Who may only work inside the namespace was given one.
        Err(error) if error.is_forbidden() => return Ok(Presence::Present),
        Err(error) => return Err(error),
    };
    match namespace.metadata.deletion_timestamp {
        None => Ok(Presence::Present),
        Some(_) => Err(Error::new("the namespace is being deleted")
            .context(cluster.context())
            .object(object)
            .hint("wait until it is gone, and run again")),
    }
}

/// All values, or one error that holds all errors.
fn all<T>(results: impl IntoIterator<Item = Result<T>>) -> Result<Vec<T>> {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    let total = values.len() + errors.len();
    match errors.len() {
        0 => Ok(values),
        1 => Err(errors.remove(0)),
        failed => Err(
            Error::new(format!("{failed} of {total} clusters cannot be worked with"))
                .causes(errors)
                .hint("nothing was written; mend them and run again"),
        ),
    }
}
