//! The flow of `rotate server` and `rotate signing`: observe the management cluster,
//! issue from the root in use, plan, write files, apply, report.

use std::path::Path;

use relay_shared::{
    Error, ExitCode, Result,
    args::ClusterArgs,
    certificate::Certificate,
    path_validation,
    relay::RelayHost,
    runtime,
    terminal::{self, Progress},
};
use time::OffsetDateTime;

use crate::{
    directory,
    fleet::Fleet,
    issue::{Authority, CertifiedKey},
    key::{Algorithm, PrivateKey},
    names::Names,
    restarts::Peer,
    role::{Child, Role},
    rotate_args::PairArgs,
    successors::{self, Left, Successor},
    turnover::Becomes,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &PairArgs, child: Child) -> Result<ExitCode> {
    let common = &args.common;
    let namespace = &flags.namespace;
    common.output.format()?;
    common.names.check()?;
    let fleet = Fleet::alone(&flags.load()?, flags)?;
    let mut fleet = fleet.observe(common.places(namespace)).await?;
    fleet.complete()?;
    let context = fleet.management.cluster.context().to_owned();
    let live = fleet.take_pair(child.role()).chain.ok_or_else(|| {
        let secret = common.names.of(child.role());
        Error::new(format!("secret {secret} holds no certificate"))
            .context(&context)
            .hint("run `kubectl relay-certs init` first")
    })?;

    let left = successors::read(&common.pki_dir, child.role())?;
    // A run that was cut off between the cluster and the files only has to end.
    if left.chain.as_ref() == Some(&live) {
        if common.writes() {
            successors::take_over(&common.pki_dir, child.role())?;
        }
        terminal::story("Nothing changed: the certificate that was made before is in place.");
        return Ok(ExitCode::Done);
    }
    let host = fleet.host().clone();
    let trusted = fleet.management.trusted().to_vec();
    let pair = replacement(args, child, left, live.leaf(), &host, &trusted).await?;

    let trusts = fleet.roots().into_iter();
    let issued = [(child, pair)];
    let [(_, pair)] = &issued;
    let becomes = Becomes {
        trusts: trusts.map(|trust| (trust.place, trust.certificates)).collect(),
        issued: &issued,
        take_over: common.take_over,
    };
    let is_brought = args.cert.is_some();
    let keep = || match is_brought {
        true => Ok(()),
        false => successors::write_pair(&common.pki_dir, child, pair),
    };
    common.carry_out(namespace, fleet, &becomes, keep).await?;
    if common.writes() && !is_brought {
        for old in successors::take_over(&common.pki_dir, child.role())? {
            terminal::story(&format!("What it replaces is kept as {}.", old.display()));
        }
    }
    common.then(&match child {
        Child::Server => "The relay server notices it by itself.".to_owned(),
        Child::Signing => format!(
            "Restart the relay server, so that it issues by it:\n  {}",
            Peer::Server.restart(host.service(), namespace, &context)
        ),
    });
    Ok(ExitCode::Done)
}

/// What takes the place of the certificate in use: the user's own, else what an
/// interrupted run has left, else a new one.
async fn replacement(
    args: &PairArgs,
    child: Child,
    left: Successor,
    replaced: &Certificate,
    host: &RelayHost,
    trusted: &[Certificate],
) -> Result<CertifiedKey> {
    let pair = match own(args)? {
        Some(pair) => pair,
        None => match left.left()? {
            Left::Pair(pair) => pair,
            Left::Key(key) => issue(args, child, key, replaced, host, trusted).await?,
        },
    };
    is_sound(child, &pair, host, trusted)?;
    Ok(pair)
}

/// The user's own pair, if there is one.
fn own(args: &PairArgs) -> Result<Option<CertifiedKey>> {
    let (Some(cert), Some(key)) = (&args.cert, &args.key) else {
        return Ok(None);
    };
    let hint = "give a PEM file that holds it";
    let missing = |path: &Path| Error::new(format!("{} is not there", path.display()));
    let chain = directory::read_chain(cert, hint)?.ok_or_else(|| missing(cert))?;
    let key = directory::read_plain_key(key, hint)?.ok_or_else(|| missing(key))?;
    Ok(Some(CertifiedKey { chain, key }))
}

/// Issues what replaces a certificate from the root in use: to the key that was left, or
/// a new one.
async fn issue(
    args: &PairArgs,
    child: Child,
    left: Option<PrivateKey>,
    replaced: &Certificate,
    host: &RelayHost,
    trusted: &[Certificate],
) -> Result<CertifiedKey> {
    let authority = authority(args, trusted)?;
    let names = Names::successor(child, replaced, host);
    let algorithm = Algorithm::like(replaced.key_kind());
    let lifetime = args.common.lifetime;
    let _spinner = Progress::spinner("making a key and a certificate");
    let issued = runtime::compute(move || {
        let key = left.map_or_else(|| PrivateKey::generate(algorithm), Ok)?;
        authority.issue(child, key, &names, lifetime, OffsetDateTime::now_utc())
    });
    let stem = child.role().stem();
    issued
        .await
        .map_err(|e| Error::new(format!("cannot issue {stem}: {e}")))
}

/// The root of the PKI directory, which has to be one that is trusted.
fn authority(args: &PairArgs, trusted: &[Certificate]) -> Result<Authority> {
    let path = directory::key_path(&args.common.pki_dir, Role::Root);
    let place = path.display().to_string();
    let hint = "give the --pki-dir that the root in use was made in, or a certificate of yours with --cert and --key";
    let key = directory::read_key(&path, hint)?
        .ok_or_else(|| Error::new(format!("{place} is not there")).hint(hint))?;
    let key = key.open(|key| args.password.unlock(key, &place))?;
    Authority::new(trusted, key)
        .map_err(|_| Error::new(format!("{place} is not the key of a root that is trusted")).hint(hint))
}

/// Makes sure that the relay accepts a pair in place of the one in use.
fn is_sound(child: Child, pair: &CertifiedKey, host: &RelayHost, trusted: &[Certificate]) -> Result<()> {
    let findings = path_validation::of_chain(
        &pair.chain,
        Some(pair.key.public_key()),
        Some(trusted),
        child.purpose(&host.to_string()),
        OffsetDateTime::now_utc(),
    );
    match findings.error() {
        None => Ok(()),
        Some(defect) => Err(Error::new(format!("the new certificate {defect}"))
            .hint("nothing was written; `kubectl relay-certs rotate root` replaces a root")),
    }
}
