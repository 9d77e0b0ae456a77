//! The clusters that are worked on, side by side.

use futures::{StreamExt as _, stream};
use relay_shared::{
    Error, Result, access,
    args::ClusterArgs,
    certificate::fingerprints,
    cluster::Cluster,
    kubeconfig::Kubeconfig,
    plan::{ClusterPlan, Plan},
    relay::RelayHost,
    remotes::RemoteArgs,
    terminal::Progress,
};

use crate::{
    found::{Pair, Trust},
    member::{Kind, Member, Places},
    role::Role,
    secrets::Live,
    token::{self, Token},
};

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

    /// All clusters, the management cluster first.
    pub(crate) fn members(&self) -> impl Iterator<Item = (Kind, &M)> {
        let management = std::iter::once((Kind::Management, &self.management));
        management.chain(self.remotes.iter().map(|remote| (Kind::Remote, remote)))
    }
}

impl Fleet<Member> {
    /// What agents call the relay server.
    pub(crate) fn host(&self) -> &RelayHost {
        let host = self.management.host.as_ref();
        host.expect("the management cluster was asked for it")
    }

    /// Leaves out the remotes that trust another root than the management cluster
    /// does, where remotes may be left out: else all roots are told side by side.
    pub(crate) fn agreeing(mut self) -> Self {
        let Some(roots) = self.management.roots().filter(|_| self.terms.keep_going) else {
            return self;
        };
        let differs = |remote: &mut Member| remote.roots().is_some_and(|other| other != roots);
        let strangers: Vec<_> = self.remotes.extract_if(.., differs).collect();
        self.left_out.extend(strangers.iter().map(|remote| {
            let (ours, theirs) = (fingerprints(roots), fingerprints(remote.trusted()));
            Error::new(format!(
                "its root certificate is {theirs}, and the management cluster's is {ours}"
            ))
            .context(remote.cluster.context())
            .object(&remote.secrets[0].object)
            .hint("to replace a root that is in use: kubectl relay-certs rotate root")
        }));
        self
    }

    /// What every cluster trusts, in each of its Secrets.
    pub(crate) fn roots(&self) -> Vec<Trust> {
        let slots = self
            .members()
            .flat_map(|(_, m)| m.secrets.iter().map(|slot| (m.cluster.context(), slot)));
        slots
            .filter_map(|(context, slot)| {
                Some(Trust {
                    place: slot.place(context),
                    certificates: slot.live.as_ref()?.roots.clone()?,
                })
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
        let remotes = self.remotes.iter().filter_map(|remote| {
            let place = format!("context {:?}", remote.cluster.context());
            Some((place, remote.identity_token()?))
        });
        token::decide(self.management.identity_token(), &remotes.collect::<Vec<_>>())
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
