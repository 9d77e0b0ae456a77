//! One cluster of a fleet: what it holds now, and what is to be done so that it holds
//! what it should.

use futures::future::{try_join_all, try_join3};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use relay_shared::{
    Error, Result,
    certificate::Certificate,
    cluster::{Cluster, ObjectRef},
    manifest::Manifest,
    plan::{Action, ClusterPlan, Presence, Step},
    relay::{self, RelayHost},
    services,
};
use serde_json::json;

use crate::{
    material::Material,
    role::Role,
    secret_names::SecretNames,
    secrets::{self, Live},
    token::{self, LiveToken, Token},
};

/// Our name in `metadata.managedFields`.
pub(crate) const MANAGER: &str = "kubectl-relay-certs";

/// The management cluster's Secrets; a remote has only the root's.
const MANAGEMENT: [Role; 3] = [Role::Root, Role::Server, Role::Signing];
const REMOTE: [Role; 1] = [Role::Root];

/// Where the Secrets are, in every cluster.
#[derive(Clone, Copy)]
pub(crate) struct Places<'a> {
    pub(crate) namespace: &'a str,
    pub(crate) names: &'a SecretNames,
    /// The relay Service that was named.
    pub(crate) service: Option<&'a str>,
    /// Whether remotes have an identity token.
    pub(crate) identity_token: bool,
}

/// Which of the two kinds of cluster one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Management,
    Remote,
}

/// One cluster and what it holds now.
pub(crate) struct Member {
    pub(crate) cluster: Cluster,
    /// Unknown to who may not look at it.
    namespace: Option<Presence>,
    pub(crate) secrets: Vec<Slot>,
    pub(crate) token: Option<TokenSlot>,
    /// The management cluster's: what agents call the relay server.
    pub(crate) host: Option<RelayHost>,
}

/// The place of one Secret, and what is there.
pub(crate) struct Slot {
    pub(crate) role: Role,
    pub(crate) object: ObjectRef,
    pub(crate) live: Option<Live>,
}

/// The place of the identity token, and what is there.
pub(crate) struct TokenSlot {
    pub(crate) object: ObjectRef,
    pub(crate) live: Option<LiveToken>,
}

/// What every cluster should hold.
pub(crate) struct Wanted<'a> {
    pub(crate) material: &'a Material,
    /// Given to every cluster, if there is one.
    pub(crate) token: Option<&'a Token>,
    /// Whether objects of others are changed.
    pub(crate) take_over: bool,
}

impl Slot {
    /// What messages call it.
    pub(crate) fn place(&self, context: &str) -> String {
        format!("{} in context {context:?}", self.object)
    }
}

impl Places<'_> {
    /// A role's Secret.
    pub(crate) fn secret(&self, role: Role) -> ObjectRef {
        ObjectRef::new::<Secret>(self.namespace, self.names.of(role))
    }

    /// The Secret of the identity token.
    pub(crate) fn token(&self) -> ObjectRef {
        ObjectRef::new::<Secret>(self.namespace, relay::IDENTITY_TOKEN_SECRET)
    }
}

impl Member {
    /// Reads what a cluster holds.
    ///
    /// # Errors
    /// If it does not answer, or its namespace is being deleted.
    pub(crate) async fn observe(kind: Kind, cluster: Cluster, places: Places<'_>) -> Result<Self> {
        let roles = match kind {
            Kind::Management => &MANAGEMENT[..],
            Kind::Remote => &REMOTE[..],
        };
        let secrets = try_join_all(roles.iter().map(async |&role| {
            let object = places.secret(role);
            let live = cluster.get::<Secret>(&object).await?.map(Live::new);
            Result::Ok(Slot { role, object, live })
        }));
        let host = async {
            match kind {
                Kind::Management => observe_host(&cluster, places).await.map(Some),
                Kind::Remote => Ok(None),
            }
        };
        let token = observe_token(kind, &cluster, places);
        let (secrets, host, token) = try_join3(secrets, host, token).await?;
        // A Secret proves its namespace, so most runs need not ask for it.
        let namespace = match secrets.iter().any(|slot| slot.live.is_some()) {
            true => Some(Presence::Present),
            false => observe_namespace(&cluster, places.namespace).await?,
        };
        Ok(Self {
            cluster,
            namespace,
            secrets,
            token,
            host,
        })
    }

    /// The identity token that the cluster has, if any.
    pub(crate) fn identity_token(&self) -> Option<&Token> {
        self.token.as_ref()?.live.as_ref()?.token()
    }

    /// The certificates that the cluster trusts, if it knows any.
    pub(crate) fn trusted(&self) -> &[Certificate] {
        self.roots().unwrap_or_default()
    }

    /// The root certificates that the cluster trusts, if it knows any.
    pub(crate) fn roots(&self) -> Option<&[Certificate]> {
        let root = self.secrets.iter().find(|slot| slot.role == Role::Root)?;
        root.live.as_ref()?.roots.as_deref()
    }

    /// What is to be done so that the cluster holds what it should.
    ///
    /// # Errors
    /// All that a program looks after and would have to be changed, at once.
    pub(crate) fn plan(self, wanted: &Wanted<'_>) -> Result<ClusterPlan> {
        let namespace = match self.secrets.first() {
            Some(slot) => slot.object.namespace().unwrap_or_default(),
            None => "",
        };
        let object = ObjectRef::cluster_wide::<Namespace>(namespace);
        let manifest = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        // Nothing is said of a namespace that nobody has looked at.
        let namespace = self.namespace.map(|presence| {
            let action = match presence {
                Presence::Absent => Action::Create(Manifest::new(manifest)),
                Presence::Present => Action::Unchanged,
            };
            Ok(Step::new(object, action))
        });
        let secrets = self.secrets.into_iter().map(|Slot { role, object, live }| {
            let contents = wanted.material.contents(role);
            secrets::step(object, live.as_ref(), &contents, wanted.take_over)
        });
        let token = self.token.zip(wanted.token).map(|(slot, token)| {
            let TokenSlot { object, live } = slot;
            token::step(object, live.as_ref(), token, wanted.take_over)
        });
        let context = self.cluster.context();
        let steps = secrets
            .chain(token)
            .map(|step| step.map_err(|e| e.context(context)));
        let steps = all(namespace.into_iter().chain(steps), "objects cannot be changed")?;
        Ok(ClusterPlan {
            cluster: self.cluster,
            steps,
        })
    }
}

/// The host of the relay service: the one that was named, else the one there is.
async fn observe_host(cluster: &Cluster, places: Places<'_>) -> Result<RelayHost> {
    let Places {
        namespace, service, ..
    } = places;
    let found = match service {
        Some(_) => None,
        None => services::relay_service(cluster, namespace, None).await?,
    };
    let name = found.as_ref().map(|(object, _)| object.name()).or(service);
    Ok(RelayHost::of(name, namespace))
}

/// The identity token. The management cluster is asked in any case, to say what is
/// missing; if that is forbidden and nobody asked for it, it is not said.
async fn observe_token(kind: Kind, cluster: &Cluster, places: Places<'_>) -> Result<Option<TokenSlot>> {
    if kind == Kind::Remote && !places.identity_token {
        return Ok(None);
    }
    let object = places.token();
    match cluster.get::<Secret>(&object).await {
        Ok(secret) => Ok(Some(TokenSlot {
            object,
            live: secret.map(LiveToken::new),
        })),
        Err(error) if error.is_forbidden() && !places.identity_token => Ok(None),
        Err(error) => Err(error),
    }
}

async fn observe_namespace(cluster: &Cluster, name: &str) -> Result<Option<Presence>> {
    let object = ObjectRef::cluster_wide::<Namespace>(name);
    let namespace = match cluster.get::<Namespace>(&object).await {
        Ok(Some(namespace)) => namespace,
        Ok(None) => return Ok(Some(Presence::Absent)),
        // Who may only work inside the namespace was given one, most likely.
        Err(error) if error.is_forbidden() => return Ok(None),
        Err(error) => return Err(error),
    };
    match namespace.metadata.deletion_timestamp {
        None => Ok(Some(Presence::Present)),
        Some(_) => Err(Error::new("the namespace is being deleted")
            .context(cluster.context())
            .object(object)
            .hint("wait until it is gone, and run again")),
    }
}

/// All values, or one error that holds all errors.
fn all<T>(results: impl IntoIterator<Item = Result<T>>, what: &str) -> Result<Vec<T>> {
    let (mut values, mut errors) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => values.push(value),
            Err(error) => errors.push(error),
        }
    }
    Error::sum_up(errors, |failed| Error::new(format!("{failed} {what}")))?;
    Ok(values)
}
