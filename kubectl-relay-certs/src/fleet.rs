//! The clusters that are worked on, and what each of them holds now.

use futures::{
    StreamExt as _,
    future::{try_join_all, try_join3},
    stream,
};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use relay_shared::{
    Error, Result, access,
    args::ClusterArgs,
    certificate::{Certificate, fingerprints},
    cluster::{Cluster, ObjectRef},
    exposure,
    kubeconfig::Kubeconfig,
    manifest::Manifest,
    plan::{Action, ClusterPlan, Plan, Presence, Step},
    relay::{self, RelayHost},
    remotes::RemoteArgs,
    terminal::Progress,
};
use serde_json::json;

use crate::{
    cli::SecretNames,
    directory::Pair,
    material::Material,
    role::Role,
    secrets::{self, Live},
    token::{self, LiveToken, Token},
};

/// The management cluster's Secrets; a remote has only the root's.
const MANAGEMENT: [Role; 3] = [Role::Root, Role::Server, Role::Signing];
const REMOTE: [Role; 1] = [Role::Root];

/// All clusters, none of them twice.
pub(crate) struct Fleet<M> {
    pub(crate) management: M,
    pub(crate) remotes: Vec<M>,
    /// What is wrong with the remotes that were left out.
    pub(crate) left_out: Vec<Error>,
    terms: Terms,
}

/// How a fleet is worked on.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// Whether remotes that cannot be worked with are left out.
    keep_going: bool,
    /// How many clusters are worked on at once.
    parallel: usize,
    /// Whether the management cluster was named as a remote, too.
    hosts_agent: bool,
}

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
        keep_going: bool,
    ) -> Result<Self> {
        let management = Cluster::management(kubeconfig, flags);
        let found = remotes.connect(kubeconfig, flags, management.as_ref().ok())?;
        let terms = Terms {
            keep_going,
            parallel: remotes.parallel,
            hosts_agent: found.hosts_agent,
        };
        let results = std::iter::once(management).chain(found.clusters).collect();
        Self::gather(results, Vec::new(), terms)
    }

    /// The management cluster alone.
    ///
    /// # Errors
    /// As for [`Cluster::management`].
    pub(crate) fn alone(kubeconfig: &Kubeconfig, flags: &ClusterArgs) -> Result<Self> {
        let terms = Terms {
            keep_going: false,
            parallel: 1,
            hosts_agent: false,
        };
        Self::gather(vec![Cluster::management(kubeconfig, flags)], Vec::new(), terms)
    }

    /// Reads all clusters, side by side.
    ///
    /// # Errors
    /// All that is wrong with any of the clusters, at once.
    pub(crate) async fn observe(self, places: Places<'_>) -> Result<Fleet<Member>> {
        self.each("reading clusters", async |kind, cluster| {
            Member::observe(kind, cluster, places).await
        })
        .await
    }
}

impl<M> Fleet<M> {
    /// Does something for every cluster, side by side.
    pub(crate) async fn each<N>(
        self,
        doing: &'static str,
        work: impl AsyncFn(Kind, M) -> Result<N>,
    ) -> Result<Fleet<N>> {
        let progress = &Progress::bar(doing, 1 + self.remotes.len());
        let work = &work;
        let management = std::iter::once((Kind::Management, self.management));
        let remotes = self.remotes.into_iter().map(|remote| (Kind::Remote, remote));
        let results = stream::iter(management.chain(remotes))
            .map(async |(kind, member)| {
                let done = work(kind, member).await;
                progress.advance();
                done
            })
            .buffered(self.terms.parallel)
            .collect()
            .await;
        Fleet::gather(results, self.left_out, self.terms)
    }

    /// Puts together what became of each cluster, the management cluster first.
    fn gather(results: Vec<Result<M>>, mut left_out: Vec<Error>, terms: Terms) -> Result<Self> {
        let total = results.len() + left_out.len();
        let mut results = results.into_iter();
        let management = results.next().expect("it comes first");
        let mut remotes = Vec::new();
        for result in results {
            match result {
                Ok(remote) => remotes.push(remote),
                Err(error) => left_out.push(error),
            }
        }
        match management {
            Ok(management) if terms.keep_going || left_out.is_empty() => Ok(Self {
                management,
                remotes,
                left_out,
                terms,
            }),
            management => Err(summed_up(management.err().into_iter().chain(left_out), total)),
        }
    }

    /// How many clusters run an agent, as far as we were told.
    pub(crate) fn agents(&self) -> usize {
        self.remotes.len() + usize::from(self.terms.hosts_agent)
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = &M> {
        std::iter::once(&self.management).chain(&self.remotes)
    }
}

impl Fleet<Member> {
    /// What agents call the relay server.
    pub(crate) fn host(&self) -> &RelayHost {
        let host = self.management.host.as_ref();
        host.expect("the management cluster was asked for it")
    }

    /// Leaves out the remotes that trust another root than the management cluster
    /// does, where remotes may be left out at all.
    ///
    /// # Errors
    /// None: who may not leave them out is told with all roots side by side.
    pub(crate) fn agreeing(self) -> Result<Self> {
        let Some(roots) = self.management.roots().filter(|_| self.terms.keep_going) else {
            return Ok(self);
        };
        let roots = roots.to_vec();
        let agreeing = |remote: Member| match remote.roots() {
            Some(other) if other != roots => {
                let (ours, theirs) = (fingerprints(&roots), fingerprints(other));
                Err(Error::new(format!(
                    "its root certificate is {theirs}, and the management cluster's is {ours}"
                ))
                .context(remote.cluster.context())
                .object(&remote.secrets[0].object)
                .hint("to replace a root that is in use: kubectl relay-certs rotate root"))
            }
            _ => Ok(remote),
        };
        let remotes = self.remotes.into_iter().map(agreeing);
        let results = std::iter::once(Ok(self.management)).chain(remotes).collect();
        Self::gather(results, self.left_out, self.terms)
    }

    /// Every root that a cluster trusts, with the place where it does.
    pub(crate) fn roots(&self) -> Vec<(String, Vec<Certificate>)> {
        let slots = self
            .members()
            .flat_map(|m| m.secrets.iter().map(|slot| (m.cluster.context(), slot)));
        slots
            .filter_map(|(context, slot)| {
                let roots = slot.live.as_ref()?.roots.clone()?;
                Some((slot.place(context), roots))
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

    /// The identity token for all clusters: the one they have, else a new one.
    ///
    /// # Errors
    /// If the management cluster has none and the remotes have different ones.
    pub(crate) fn identity_token(&self) -> Result<Token> {
        fn token(member: &Member) -> Option<&Token> {
            member.token.as_ref()?.live.as_ref()?.token()
        }
        let remotes = self.remotes.iter().filter_map(|remote| {
            let place = format!("context {:?}", remote.cluster.context());
            Some((place, token(remote)?))
        });
        token::decide(token(&self.management), &remotes.collect::<Vec<_>>())
    }

    /// What the user should know about what is there, a sentence each.
    pub(crate) fn findings(&self, identity_token: bool) -> Vec<String> {
        let open = self.remotes.iter().flat_map(|remote| {
            let slots = remote.secrets.iter();
            let open = slots.filter(|slot| slot.live.as_ref().is_some_and(Live::has_key));
            open.map(|slot| {
                let context = remote.cluster.context();
                format!(
                    "warning: {} in context {context:?} has a tls.key: who reads it there can make \
                     certificates that every cluster trusts. It is not needed on a remote",
                    slot.object
                )
            })
        });
        let token = self.management.token.as_ref();
        let missing = token.filter(|slot| slot.live.is_none() && !identity_token);
        let missing = missing.map(|slot| {
            format!(
                "{} in context {:?} does not exist.\n\
                 Gloo Mesh's chart makes it only with selfSigned=true: otherwise add --identity-token",
                slot.object,
                self.management.cluster.context()
            )
        });
        open.chain(missing).collect()
    }

    /// What is to be done in every cluster, and may be.
    ///
    /// # Errors
    /// All that forbids it anywhere, at once.
    pub(crate) async fn plan(
        self,
        plan: impl Fn(Member) -> Result<ClusterPlan>,
    ) -> Result<Fleet<ClusterPlan>> {
        self.each("checking rights", async |_, member| {
            let plan = plan(member)?;
            access::review(&plan).await?;
            Ok(plan)
        })
        .await
    }
}

impl Fleet<ClusterPlan> {
    /// The plan for all clusters, and what is wrong with those that it leaves out.
    pub(crate) fn into_plan(self, places: Places<'_>) -> (Plan, Vec<Error>) {
        let clusters = std::iter::once(self.management).chain(self.remotes);
        let plan = Plan {
            // What all clusters have to have in common is settled in one of them.
            locks: vec![places.secret(Role::Root), places.token()],
            parallel: self.terms.parallel,
            ..Plan::new(clusters.collect())
        };
        (plan, self.left_out)
    }
}

impl Slot {
    /// What messages call it.
    pub(crate) fn place(&self, context: &str) -> String {
        format!("{} in context {context:?}", self.object)
    }
}

impl Places<'_> {
    fn secret(&self, role: Role) -> ObjectRef {
        ObjectRef::new::<Secret>(self.namespace, self.names.of(role))
    }

    fn token(&self) -> ObjectRef {
        ObjectRef::new::<Secret>(self.namespace, relay::IDENTITY_TOKEN_SECRET)
    }
}

impl Member {
    async fn observe(kind: Kind, cluster: Cluster, places: Places<'_>) -> Result<Self> {
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
        None => exposure::relay_service(cluster, namespace, None).await?,
    };
    let object = found.map(|(object, _)| object);
    Ok(exposure::relay_host(object.as_ref(), service, namespace))
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
    match errors.len() {
        0 => Ok(values),
        1 => Err(errors.remove(0)),
        failed => Err(Error::new(format!("{failed} {what}")).causes(errors)),
    }
}

/// The error of some clusters, of so many in total.
fn summed_up(errors: impl IntoIterator<Item = Error>, total: usize) -> Error {
    let mut errors: Vec<_> = errors.into_iter().collect();
    match errors.len() {
        1 => errors.remove(0),
        failed => Error::new(format!("{failed} of {total} clusters cannot be worked with"))
            .causes(errors)
            .hint("nothing was written; mend them and run again"),
    }
}
