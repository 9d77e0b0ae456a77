//! The flow of `rotate root`: connect, observe, decide the turn, make what it needs,
//! plan, write files, apply, report, and say what has to be restarted.

use std::path::Path;

use relay_shared::{
    Error, ExitCode, Result, args::ClusterArgs, certificate::Certificate, chain::Chain, runtime, terminal,
};
use time::OffsetDateTime;

use crate::{
    directory::{self, Pair, RootKey},
    fleet::{Fleet, Member},
    issue::{Authority, Names, Server, Signing},
    key::{Algorithm, PrivateKey, StoredKey},
    registered,
    rotate::{CommonArgs, RootArgs},
    rotation::{Seen, Trust, Turn},
    secrets::Role,
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
    let fleet = fleet.observe(common.places(flags)).await?;
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
    server: Chain,
    signing: Chain,
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
        let trusted: Vec<Certificate> = trusts.iter().flat_map(|(_, roots)| roots.clone()).collect();
        let context = fleet.management.cluster.context().to_owned();
        let mut served = |role| leads_to(fleet.take_pair(role), &trusted).map_err(|e| e.context(&context));
        let (server, server_root) = served(Role::Server)?;
        let (signing, signing_root) = served(Role::Signing)?;
        let trusts = trusts.into_iter();
        let seen = Seen {
            trusts: trusts
                .map(|(place, certificates)| Trust { place, certificates })
                .collect(),
            server: server_root,
            signing: signing_root,
            next: next.chain.as_ref().map(|chain| chain.leaf().clone()),
        };
        Ok(Self {
            namespace: &flags.namespace,
            args,
            fleet,
            seen,
            server,
            signing,
            next,
        })
    }

    async fn publish(mut self) -> Result<ExitCode> {
        let common = &self.args.common;
        let made = match self.seen.needs_root() {
            true => Some(make_root(self.args, &mut self.next, self.seen.only_root()?, self.namespace).await?),
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
        let becomes = becomes(&self.seen, outcome.trusts, common);
        let plan = self
            .fleet
            .turn(&becomes)
            .await?
            .into_plan(common.places_of(self.namespace))
            .0;
        if let Some(root) = made.filter(|_| common.writes()) {
            let chain = Chain::new(root.certificate().clone(), Vec::new());
            let encrypts = self.args.encrypt_root_key || is_encrypted(&common.pki_dir);
            let kept = self.args.password.kept(encrypts)?;
            successors::write(&common.pki_dir, Role::Root, &chain, root.key(), &kept)?;
        }
        common.carry_out(plan).await?;
        tell(
            common,
            "Every cluster trusts the new root, too. Restart the relay, so that it reads it:",
            &restarts,
        );
        then(common, "Then: kubectl relay-certs rotate root --step issue");
        Ok(ExitCode::Done)
    }

    async fn issue(self) -> Result<ExitCode> {
        let Self {
            namespace,
            args,
            fleet,
            seen,
            server,
            signing,
            next,
        } = self;
        let common = &args.common;
        let outcome = seen.take(Turn::Issue)?;
        let fleet = match args.assume_restarted || !(outcome.server || outcome.signing) {
            true => fleet,
            false => fleet.restarted(namespace).await?,
        };
        let host = fleet.host().clone();
        let mut issued = (None, None);
        if outcome.server || outcome.signing {
            let root = seen
                .new_root()?
                .cloned()
                .ok_or_else(|| Error::new("there is no new root"))?;
            let authority = authority(args, next, &root)?;
            let left = (
                successors::read(&common.pki_dir, Role::Server)?,
                successors::read(&common.pki_dir, Role::Signing)?,
            );
            let (names, lifetime) = (
                (Names::like(server.leaf(), &host), Names::signing(namespace)),
                common.lifetime,
            );
            let kinds = (server.leaf().key_kind(), signing.leaf().key_kind());
            let wanted = (outcome.server, outcome.signing);
            let _spinner = terminal::Progress::spinner("making keys and certificates");
            let made = runtime::compute(move || {
                let now = OffsetDateTime::now_utc();
                let server = wanted.0.then(|| {
                    successor(left.0, kinds.0, &root, |key| {
                        let Server { chain, key } = authority.server(key, &names.0, lifetime, now)?;
                        Ok((chain, key))
                    })
                });
                let signing = wanted.1.then(|| {
                    successor(left.1, kinds.1, &root, |key| {
                        let Signing { chain, key } = authority.signing(key, &names.1, lifetime, now)?;
                        Ok((chain, key))
                    })
                });
                Result::Ok((server.transpose()?, signing.transpose()?))
            });
            let (server, signing) = made.await?;
            issued = (
                server.map(|(chain, key)| Server { chain, key }),
                signing.map(|(chain, key)| Signing { chain, key }),
            );
        }
        let restarts = fleet.restarts(namespace, false).await?;
        let becomes = Becomes {
            server: issued.0.as_ref(),
            signing: issued.1.as_ref(),
            ..becomes(&seen, outcome.trusts, common)
        };
        let plan = fleet
            .turn(&becomes)
            .await?
            .into_plan(common.places_of(namespace))
            .0;
        if common.writes() {
            if let Some(Server { chain, key }) = &issued.0 {
                successors::write(&common.pki_dir, Role::Server, chain, key, &RootKey::Plain)?;
            }
            if let Some(Signing { chain, key }) = &issued.1 {
                successors::write(&common.pki_dir, Role::Signing, chain, key, &RootKey::Plain)?;
            }
        }
        common.carry_out(plan).await?;
        tell(
            common,
            "The server's certificates come from the new root. Restart it, so that it issues by it:",
            &restarts,
        );
        then(
            common,
            "Agents renew their certificates by themselves, or when they are restarted after\n\
                      their relay-client-tls-secret was deleted. Then:\n  kubectl relay-certs rotate root --step retire",
        );
        Ok(ExitCode::Done)
    }

    async fn retire(self) -> Result<ExitCode> {
        let Self {
            namespace,
            args,
            fleet,
            seen,
            server,
            signing,
            ..
        } = self;
        let common = &args.common;
        let outcome = seen.take(Turn::Retire)?;
        let stays = match seen.new_root()? {
            Some(new) => new.clone(),
            None => seen.only_root()?.clone(),
        };
        let fleet = fleet.renewed(namespace, &stays).await?;
        let retires = seen.is_changed_by(&outcome);
        let becomes = becomes(&seen, outcome.trusts, common);
        let plan = fleet
            .turn(&becomes)
            .await?
            .into_plan(common.places_of(namespace))
            .0;
        common.carry_out(plan).await?;
        if common.writes() && seen.next == Some(stays) {
            settle(&common.pki_dir, &server, &signing)?;
        }
        then(
            common,
            match retires {
                true => "The old root is retired: only what comes from the new one is accepted.",
                false => "Every cluster trusts the same root alone: there was no other to retire.",
            },
        );
        Ok(ExitCode::Done)
    }

    async fn abort(self) -> Result<ExitCode> {
        let Self {
            namespace,
            args,
            fleet,
            seen,
            ..
        } = self;
        let common = &args.common;
        let outcome = seen.abort()?;
        let takes_back = seen.is_changed_by(&outcome);
        let becomes = becomes(&seen, outcome.trusts, common);
        let plan = fleet
            .turn(&becomes)
            .await?
            .into_plan(common.places_of(namespace))
            .0;
        common.carry_out(plan).await?;
        then(
            common,
            match takes_back {
                true => {
                    "No cluster trusts the new root any more. If it was made here, it is kept as\n\
                     relay-root-next.crt and .key, and another publish takes it again."
                }
                false => "No cluster trusts a new root: there was nothing to take back.",
            },
        );
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

/// Makes the new root, with the key that an interrupted run has left.
async fn make_root(
    args: &RootArgs,
    next: &mut Successor,
    old: &Certificate,
    namespace: &str,
) -> Result<Authority> {
    let left = next
        .key
        .take()
        .map(|key| opened(args, key, &next.key_place))
        .transpose()?;
    let (names, lifetime, algorithm) = (
        Names::root(namespace),
        args.common.lifetime,
        Algorithm::like(old.key_kind()),
    );
    let _spinner = terminal::Progress::spinner("making the new root");
    let made = runtime::compute(move || {
        let key = left.map_or_else(|| PrivateKey::generate(algorithm), Ok)?;
        Authority::root(key, &names, lifetime, OffsetDateTime::now_utc())
    });
    made.await
        .map_err(|e| Error::new(format!("cannot issue the new root: {e}")))
}

/// The new root with its key.
fn authority(args: &RootArgs, next: Successor, root: &Certificate) -> Result<Authority> {
    let directory = args.common.pki_dir.display();
    let Some(key) = next.key else {
        return Err(Error::new(format!(
            "{directory} has not the key of the new root {}",
            root.fingerprint()
        ))
        .hint("give the --pki-dir that it was published from"));
    };
    let key = opened(args, key, &next.key_place)?;
    Authority::new(std::slice::from_ref(root), key).map_err(|_| {
        Error::new(format!(
            "{} is not the key of the new root {}",
            next.key_place,
            root.fingerprint()
        ))
        .hint("give the --pki-dir that it was published from")
    })
}

/// Whether the key of the root in use is behind a password.
fn is_encrypted(directory: &Path) -> bool {
    let key = directory::read_key(&directory::key_path(directory, Role::Root), "");
    matches!(key, Ok(Some(StoredKey::Encrypted(_))))
}

fn opened(args: &RootArgs, key: StoredKey, place: &str) -> Result<PrivateKey> {
    match key {
        StoredKey::Plain(key) => Ok(key),
        StoredKey::Encrypted(key) => args.password.unlock(&key, place),
    }
}

/// What an interrupted run has left of a successor if the new root has issued it, else
/// a new one.
fn successor(
    left: Successor,
    kind: relay_shared::certificate::KeyKind,
    root: &Certificate,
    issue: impl FnOnce(PrivateKey) -> Result<(Chain, PrivateKey), String>,
) -> Result<(Chain, PrivateKey)> {
    let key = match left.key {
        Some(StoredKey::Plain(key)) => Some(key),
        Some(StoredKey::Encrypted(_)) => {
            return Err(
                Error::new(format!("{} is encrypted", left.key_place)).hint("move it away, and run again")
            );
        }
        None => None,
    };
    if let Some(chain) = left.chain {
        return match key {
            Some(key) if chain.leaf().is_for(key.public_key()) && chain.leaf().is_signed_by(root) => {
                Ok((chain, key))
            }
            _ => Err(Error::new(format!(
                "what is beside {} is not from the new root",
                left.key_place
            ))
            .hint("another rotation has left it: move both away, and run again")),
        };
    }
    let key = key.map_or_else(|| PrivateKey::generate(Algorithm::like(kind)), Ok);
    key.and_then(issue)
        .map_err(|e| Error::new(format!("cannot issue from the new root: {e}")))
}

/// Gives what was made its final names, where it is what the clusters hold now.
fn settle(directory: &Path, server: &Chain, signing: &Chain) -> Result<()> {
    for (role, chain) in [(Role::Server, server), (Role::Signing, signing)] {
        if successors::read(directory, role)?.chain.as_ref() == Some(chain) {
            successors::take_over(directory, role)?;
        }
    }
    for old in successors::take_over(directory, Role::Root)? {
        terminal::story(&format!("The old root is kept as {}.", old.display()));
    }
    Ok(())
}

fn becomes<'a>(seen: &Seen, trusts: Vec<Vec<Certificate>>, common: &CommonArgs) -> Becomes<'a> {
    let places = seen.trusts.iter().map(|trust| trust.place.clone());
    Becomes {
        trusts: places.zip(trusts).collect(),
        server: None,
        signing: None,
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

fn then(common: &CommonArgs, what: &str) {
    terminal::story(match common.writes() {
        true => what,
        false => "Nothing was written: this was a dry run.",
    });
}
