//! The flow of `rotate root`: connect, observe, decide the turn, make what it needs,
//! plan, write files, apply, report, and say what has to be restarted.

use std::path::Path;

use relay_shared::{
    Error, ExitCode, Result, args::ClusterArgs, certificate::Certificate, chain::Chain, terminal,
};
use time::OffsetDateTime;

use crate::{
    fleet::Fleet,
    found::Pair,
    issue::CertifiedKey,
    member::Member,
    new_root, registered,
    role::{Child, Role},
    rotate_args::{CommonArgs, RootArgs},
    rotation::{Outcome, Seen, Turn},
    successors::{self, Successor},
    turnover::Becomes,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &RootArgs) -> Result<ExitCode> {
    let common = &args.common;
    common.output.format()?;
    common.names.check()?;
    let next = successors::read(&common.pki_dir, Role::Root)?;
    let kubeconfig = flags.load()?;
    let fleet = Fleet::connect(&kubeconfig, flags, &args.remotes, false)?;
    let fleet = fleet.observe(common.places(&flags.namespace)).await?;
    fleet.complete()?;
    if !args.only_these {
        let registered = registered::clusters(&fleet.management.cluster, &flags.namespace).await?;
        registered::all_take_part(&registered, fleet.agents())?;
    }
    let turn = Rotation::observe(flags, args, fleet, next)?;
    match args.step {
        Some(Turn::Publish) => turn.publish().await,
        Some(Turn::Issue) => turn.issue().await,
        Some(Turn::Retire) => turn.retire().await,
        None => turn.abort().await,
    }
}

/// A rotation as it is found.
struct Rotation<'a> {
    namespace: &'a str,
    args: &'a RootArgs,
    fleet: Fleet<Member>,
    seen: Seen,
    /// The certificates that the management cluster has in use.
    served: Vec<(Child, Chain)>,
    next: Successor,
}

impl<'a> Rotation<'a> {
    fn observe(
        flags: &'a ClusterArgs,
        args: &'a RootArgs,
        mut fleet: Fleet<Member>,
        next: Successor,
    ) -> Result<Self> {
        let trusts = fleet.roots();
        let trusted: Vec<_> = trusts
            .iter()
            .flat_map(|trust| trust.certificates.clone())
            .collect();
        let context = fleet.management.cluster.context().to_owned();
        let served = Child::BOTH.into_iter().map(|child| {
            let pair = fleet.take_pair(child.role());
            let (chain, root) = leads_to(pair, &trusted).map_err(|e| e.context(&context))?;
            Ok(((child, chain), (child, root)))
        });
        let (served, roots) = served.collect::<Result<_>>()?;
        let seen = Seen {
            trusts,
            served: roots,
            next: next.chain.as_ref().map(|chain| chain.leaf().clone()),
        };
        Ok(Self {
            namespace: &flags.namespace,
            args,
            fleet,
            seen,
            served,
            next,
        })
    }

    async fn publish(mut self) -> Result<ExitCode> {
        let common = &self.args.common;
        let made = match self.seen.needs_root() {
            true => {
                let (left, old) = (std::mem::take(&mut self.next), self.seen.only_root()?);
                Some(new_root::make(self.args, left, old, self.namespace).await?)
            }
            false => None,
        };
        if let Some(root) = &made {
            self.seen.next = Some(root.certificate().clone());
        }
        let outcome = self.seen.take(Turn::Publish)?;
        if made.is_none() && self.seen.is_changed_by(&outcome) {
            self.next.can_be_published(OffsetDateTime::now_utc())?;
        }
        let restarts = self.fleet.restarts(self.namespace, true).await?;
        let becomes = becomes(&self.seen, outcome, &[], common);
        let keep = || match &made {
            Some(root) => new_root::keep(self.args, root),
            None => Ok(()),
        };
        common
            .carry_out(self.namespace, self.fleet, &becomes, keep)
            .await?;
        tell(
            common,
            "Every cluster trusts the new root, too. Restart the relay, so that it reads it:",
            &restarts,
        );
        common.then("Then: kubectl relay-certs rotate root --step issue");
        Ok(ExitCode::Done)
    }

    async fn issue(self) -> Result<ExitCode> {
        let Self {
            namespace,
            args,
            fleet,
            seen,
            served,
            next,
        } = self;
        let common = &args.common;
        let outcome = seen.take(Turn::Issue)?;
        let fleet = match args.assume_restarted || outcome.issues.is_empty() {
            true => fleet,
            false => fleet.restarted(namespace).await?,
        };
        let issued = match seen.new_root()?.filter(|_| !outcome.issues.is_empty()) {
            Some(root) => {
                let replaced = served.into_iter();
                let replaced = replaced.filter(|(child, _)| outcome.issues.contains(child));
                new_root::issue(args, next, root, replaced.collect(), fleet.host()).await?
            }
            None => Vec::new(),
        };
        let restarts = fleet.restarts(namespace, false).await?;
        let becomes = becomes(&seen, outcome, &issued, common);
        let keep = || {
            let mut issued = issued.iter();
            issued.try_for_each(|(child, pair)| successors::write_pair(&common.pki_dir, *child, pair))
        };
        common.carry_out(namespace, fleet, &becomes, keep).await?;
        tell(
            common,
            "The server's certificates come from the new root. Restart it, so that it issues by it:",
            &restarts,
        );
        common.then(
            "Agents renew their certificates by themselves, or when they are restarted after\n\
             their relay-client-tls-secret was deleted. Then:\n  kubectl relay-certs rotate root --step retire",
        );
        Ok(ExitCode::Done)
    }

    async fn retire(self) -> Result<ExitCode> {
        let common = &self.args.common;
        let outcome = self.seen.take(Turn::Retire)?;
        let stays = match self.seen.new_root()? {
            Some(new) => new.clone(),
            None => self.seen.only_root()?.clone(),
        };
        let fleet = self.fleet.renewed(self.namespace, &stays).await?;
        let retires = self.seen.is_changed_by(&outcome);
        let becomes = becomes(&self.seen, outcome, &[], common);
        common
            .carry_out(self.namespace, fleet, &becomes, || Ok(()))
            .await?;
        if common.writes() && self.seen.next == Some(stays) {
            settle(&common.pki_dir, &self.served)?;
        }
        common.then(match retires {
            true => "The old root is retired: only what comes from the new one is accepted.",
            false => "Every cluster trusts the same root alone: there was no other to retire.",
        });
        Ok(ExitCode::Done)
    }

    async fn abort(self) -> Result<ExitCode> {
        let common = &self.args.common;
        let outcome = self.seen.abort()?;
        let takes_back = self.seen.is_changed_by(&outcome);
        let becomes = becomes(&self.seen, outcome, &[], common);
        common
            .carry_out(self.namespace, self.fleet, &becomes, || Ok(()))
            .await?;
        common.then(match takes_back {
            true => {
                "No cluster trusts the new root any more. If it was made here, it is kept as\n\
                 relay-root-next.crt and .key, and another publish takes it again."
            }
            false => "No cluster trusts a new root: there was nothing to take back.",
        });
        Ok(ExitCode::Done)
    }
}

/// A certificate in use, and the root that it leads to.
fn leads_to(pair: Pair, trusted: &[Certificate]) -> Result<(Chain, Certificate)> {
    let Some(chain) = pair.chain else {
        return Err(Error::new(format!("{} holds no certificate", pair.place))
            .hint("run `kubectl relay-certs init` first"));
    };
    let path = chain.path(trusted);
    let top = path
        .certificates
        .last()
        .filter(|top| path.broken.is_none() && top.is_root());
    let top = top.map(|top| (*top).clone());
    let top = top.ok_or_else(|| {
        Error::new(format!(
            "the certificate of {} does not lead to any root that is trusted",
            pair.place
        ))
        .hint("`kubectl relay-certs status` shows who trusts what")
    })?;
    Ok((chain, top))
}

/// Gives what was made its final names, where it is what the clusters hold now.
fn settle(directory: &Path, served: &[(Child, Chain)]) -> Result<()> {
    for (child, chain) in served {
        let role = child.role();
        if successors::read(directory, role)?.chain.as_ref() == Some(chain) {
            successors::take_over(directory, role)?;
        }
    }
    for old in successors::take_over(directory, Role::Root)? {
        terminal::story(&format!("The old root is kept as {}.", old.display()));
    }
    Ok(())
}

fn becomes<'a>(
    seen: &Seen,
    outcome: Outcome,
    issued: &'a [(Child, CertifiedKey)],
    common: &CommonArgs,
) -> Becomes<'a> {
    let places = seen.trusts.iter().map(|trust| trust.place.clone());
    Becomes {
        trusts: places.zip(outcome.trusts).collect(),
        issued,
        take_over: common.take_over,
    }
}

fn tell(common: &CommonArgs, what: &str, lines: &[String]) {
    if common.writes() {
        terminal::story(what);
        for line in lines {
            terminal::story(&format!("  {line}"));
        }
    }
}
