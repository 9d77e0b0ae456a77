//! The fleet's part in a rotation: what has to be true of its clusters before a turn,
//! and what each of them holds after it.

use std::collections::HashMap;

use k8s_openapi::api::core::v1::Secret;
use relay_shared::{
    Error, Result, certificate::Certificate, cluster::ObjectRef, plan::ClusterPlan, pod::Pod, relay, shell,
};

use crate::{
    fleet::Fleet,
    issue::CertifiedKey,
    member::{Kind, Member, Slot},
    restarts::{Peer, is_before},
    role::{Child, Role},
    secrets::{self, Contents, Live},
};

/// What Secrets hold after a turn.
pub(crate) struct Becomes<'a> {
    /// What each `ca.crt` is to hold, by its place as [`Fleet::roots`] names it.
    pub(crate) trusts: HashMap<String, Vec<Certificate>>,
    /// What the management cluster is given anew.
    pub(crate) issued: &'a [(Child, CertifiedKey)],
    /// Whether objects of others are changed.
    pub(crate) take_over: bool,
}

impl Fleet<Member> {
    /// Makes sure that every Secret is there that has to take part.
    ///
    /// # Errors
    /// With every place that trusts nothing yet.
    pub(crate) fn complete(&self) -> Result<()> {
        let missing = self.members().flat_map(|(_, member)| {
            let slots = member.secrets.iter();
            let empty = slots.filter(|slot| slot.live.as_ref().is_none_or(|live| live.roots.is_none()));
            empty.map(|slot| {
                Error::new("there is no root certificate in it")
                    .context(member.cluster.context())
                    .object(&slot.object)
            })
        });
        Error::sum_up(missing.collect(), |more| {
            Error::new(format!("{more} secrets are not complete"))
                .hint("run `kubectl relay-certs init` for these clusters first")
        })
        .map_err(|e| e.hint("run `kubectl relay-certs init` for this cluster first"))
    }

    /// Makes sure that every pod of the relay that can be seen has started after its
    /// cluster was given the roots that it trusts now.
    ///
    /// # Errors
    /// With every pod that is too old.
    pub(crate) async fn restarted(self, namespace: &str) -> Result<Self> {
        self.each("looking at pods", async |kind, member| {
            let service = member
                .host
                .as_ref()
                .map_or(relay::SERVICES[0], |host| host.service());
            let root = member.secrets.iter().find(|slot| slot.role == Role::Root);
            let Some(written) = root.and_then(|slot| slot.live.as_ref()?.roots_written()) else {
                return Ok(member);
            };
            let context = member.cluster.context();
            for &peer in peers(kind) {
                let pods = peer.pods(&member.cluster, namespace).await?;
                if let Some(pod) = pods.iter().find(|pod| is_before(pod, &written)) {
                    let name = pod.metadata.name.clone().unwrap_or_default();
                    return Err(Error::new("it has started before the new root was written")
                        .context(context)
                        .object(ObjectRef::new::<Pod>(namespace, &name))
                        .hint(format!(
                            "{}; where it reads roots without that: --assume-restarted",
                            peer.restart(service, namespace, context)
                        )));
                }
            }
            Ok(member)
        })
        .await
    }

    /// Makes sure that every agent's own certificate that can be seen leads to the
    /// root that stays.
    ///
    /// # Errors
    /// With every certificate that would be refused, and how to renew it.
    pub(crate) async fn renewed(self, namespace: &str, stays: &Certificate) -> Result<Self> {
        let object = ObjectRef::new::<Secret>(namespace, relay::CLIENT_SECRET);
        self.each("looking at agents", async |_, member| {
            let context = member.cluster.context();
            let secret = match member.cluster.get::<Secret>(&object).await {
                Err(error) if error.is_forbidden() => None,
                secret => secret?,
            };
            let live = secret.map(Live::new);
            let stale = live.is_some_and(|live| {
                let path = live.chain().map(|chain| chain.path(std::slice::from_ref(stays)));
                path.is_none_or(|path| path.broken.is_some())
            });
            if stale {
                let service = relay::SERVICES[0];
                let restart = Peer::Agent.restart(service, namespace, context);
                let quoted = shell::word(context);
                return Err(Error::new("the agent's certificate does not come from the new root")
                    .context(context)
                    .object(&object)
                    .hint(format!(
                        "have it renewed: kubectl --context {quoted} -n {namespace} delete {} && {restart}",
                        object.path()
                    )));
            }
            Ok(member)
        })
        .await
    }

    /// The lines that start the relay again: agents, too, or the server alone.
    ///
    /// # Errors
    /// If a cluster does not answer.
    pub(crate) async fn restarts(&self, namespace: &str, agents: bool) -> Result<Vec<String>> {
        let service = self.host().service();
        let line = |peer: Peer, member: &Member| peer.restart(service, namespace, member.cluster.context());
        let mut lines = vec![line(Peer::Server, &self.management)];
        if agents {
            let pods = Peer::Agent.pods(&self.management.cluster, namespace).await?;
            let here = Some(&self.management).filter(|_| !pods.is_empty());
            lines.extend(
                here.into_iter()
                    .chain(&self.remotes)
                    .map(|member| line(Peer::Agent, member)),
            );
        }
        Ok(lines)
    }
}

impl Member {
    /// What is to be done so that the cluster holds what it should after a turn.
    ///
    /// # Errors
    /// If a program looks after what has to be changed.
    pub(crate) fn turn(self, becomes: &Becomes<'_>) -> Result<ClusterPlan> {
        let context = self.cluster.context();
        let steps = self.secrets.into_iter().map(|slot| {
            let roots = becomes.trusts.get(&slot.place(context)).map(Vec::as_slice);
            let Slot { role, object, live } = slot;
            let issued = becomes.issued.iter().find(|(child, _)| child.role() == role);
            let contents = Contents {
                roots: roots.unwrap_or_default(),
                pair: issued.map(|(_, pair)| pair),
            };
            secrets::step(object, live.as_ref(), &contents, becomes.take_over).map_err(|e| e.context(context))
        });
        Ok(ClusterPlan {
            steps: steps.collect::<Result<_>>()?,
            cluster: self.cluster.clone(),
        })
    }
}

/// An agent may run beside its server, too.
fn peers(kind: Kind) -> &'static [Peer] {
    match kind {
        Kind::Management => &[Peer::Server, Peer::Agent],
        Kind::Remote => &[Peer::Agent],
    }
}
