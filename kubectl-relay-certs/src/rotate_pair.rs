//! The flow of `rotate server` and `rotate signing`: observe the management cluster,
//! issue from the root in use, plan, write files, apply, report.

use relay_shared::{
    Error, ExitCode, Result,
    args::ClusterArgs,
    chain::Chain,
    runtime,
    soundness::{self, Purpose},
    terminal::{self, Progress},
};
use time::OffsetDateTime;

use crate::{
    directory::{self, RootKey},
    fleet::Fleet,
    issue::{Authority, Names, Server, Signing},
    key::{Algorithm, PrivateKey, StoredKey},
    restarts::Peer,
    rotate::PairArgs,
    secrets::Role,
    successors,
    turnover::Becomes,
};

/// Which of the management cluster's pairs is replaced.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Replaced {
    Server,
    Signing,
}

pub(crate) async fn run(flags: &ClusterArgs, args: &PairArgs, replaced: Replaced) -> Result<ExitCode> {
    let role = match replaced {
        Replaced::Server => Role::Server,
        Replaced::Signing => Role::Signing,
    };
    let common = &args.common;
    common.output.format()?;
    common.names.check()?;
    let now = OffsetDateTime::now_utc();
    let namespace = &flags.namespace;
    let kubeconfig = flags.load()?;
    let fleet = Fleet::alone(&kubeconfig, flags)?;
    let mut fleet = fleet.observe(common.places(flags)).await?;
    fleet.complete()?;
    let host = fleet.host().clone();
    let trusted = fleet.management.trusted().to_vec();
    let live = fleet.take_pair(role).chain;
    let Some(live) = live else {
        return Err(
            Error::new(format!("secret {} holds no certificate", common.names.of(role)))
                .context(fleet.management.cluster.context())
                .hint("run `kubectl relay-certs init` first"),
        );
    };

    let left = successors::read(&common.pki_dir, role)?;
    // A run that was cut off between the cluster and the files only has to end.
    let is_done = left.chain.as_ref() == Some(&live);
    let (chain, key) = match (&args.cert, &args.key, left.chain, left.key) {
        _ if is_done => {
            if common.writes() {
                successors::take_over(&common.pki_dir, role)?;
            }
            terminal::story("Nothing changed: the certificate that was made before is in place.");
            return Ok(ExitCode::Done);
        }
        (Some(cert), Some(key), ..) => own(cert, key)?,
        (_, _, Some(chain), Some(StoredKey::Plain(key))) => (chain, key),
        (_, _, None, left) => {
            let authority = authority(args, &trusted)?;
            let left = match left {
                Some(StoredKey::Plain(key)) => Some(key),
                _ => None,
            };
            let algorithm = Algorithm::like(live.leaf().key_kind());
            let (names, lifetime) = (
                match replaced {
                    Replaced::Server => Names::like(live.leaf(), &host),
                    Replaced::Signing => Names::signing(namespace),
                },
                common.lifetime,
            );
            let _spinner = Progress::spinner("making a key and a certificate");
            let made = runtime::compute(move || {
                let key = left.map_or_else(|| PrivateKey::generate(algorithm), Ok)?;
                match replaced {
                    Replaced::Server => authority
                        .server(key, &names, lifetime, now)
                        .map(|s| (s.chain, s.key)),
                    Replaced::Signing => authority
                        .signing(key, &names, lifetime, now)
                        .map(|s| (s.chain, s.key)),
                }
            });
            made.await
                .map_err(|e| Error::new(format!("cannot issue {}: {e}", role.stem())))?
        }
        (_, _, Some(_), _) => {
            return Err(
                Error::new(format!("{} is not there or encrypted", left.key_place))
                    .hint("an interrupted run has left its certificate: move that away, and run again"),
            );
        }
    };
    let purpose = match replaced {
        Replaced::Server => Purpose::Server {
            host: &host.to_string(),
        },
        Replaced::Signing => Purpose::Signing,
    };
    let findings = soundness::of_chain(&chain, Some(key.public_key()), Some(&trusted), purpose, now);
    if let Some(defect) = findings.error() {
        return Err(Error::new(format!("the new certificate {defect}"))
            .hint("nothing was written; `kubectl relay-certs rotate root` replaces a root"));
    }

    let trusts = fleet.roots().into_iter().collect();
    let context = fleet.management.cluster.context().to_owned();
    let (server, signing) = match replaced {
        Replaced::Server => (Some(Server { chain, key }), None),
        Replaced::Signing => (None, Some(Signing { chain, key })),
    };
    let becomes = Becomes {
        trusts,
        server: server.as_ref(),
        signing: signing.as_ref(),
        take_over: common.take_over,
    };
    let plan = fleet.turn(&becomes).await?.into_plan(common.places(flags)).0;
    let pair = server
        .as_ref()
        .map(|s| (&s.chain, &s.key))
        .or(signing.as_ref().map(|s| (&s.chain, &s.key)));
    if let Some((chain, key)) = pair.filter(|_| common.writes() && args.cert.is_none()) {
        successors::write(&common.pki_dir, role, chain, key, &RootKey::Plain)?;
    }
    common.carry_out(plan).await?;
    if !common.writes() {
        terminal::story("Nothing was written: this was a dry run.");
        return Ok(ExitCode::Done);
    }
    if args.cert.is_none() {
        for old in successors::take_over(&common.pki_dir, role)? {
            terminal::story(&format!("What it replaces is kept as {}.", old.display()));
        }
    }
    terminal::story(&match replaced {
        Replaced::Server => "The relay server notices it by itself.".to_owned(),
        Replaced::Signing => format!(
            "Restart the relay server, so that it issues by it:\n  {}",
            Peer::Server.restart(host.service(), namespace, &context)
        ),
    });
    Ok(ExitCode::Done)
}

/// The root of the PKI directory, which has to be one that is trusted.
fn authority(args: &PairArgs, trusted: &[relay_shared::certificate::Certificate]) -> Result<Authority> {
    let common = &args.common;
    let path = directory::key_path(&common.pki_dir, Role::Root);
    let hint = "give the --pki-dir that the root in use was made in, or a certificate of yours with --cert and --key";
    let key = match directory::read_key(&path, hint)? {
        None => return Err(Error::new(format!("{} is not there", path.display())).hint(hint)),
        Some(StoredKey::Plain(key)) => key,
        Some(StoredKey::Encrypted(key)) => args.password.unlock(&key, &path.display().to_string())?,
    };
    Authority::new(trusted, key).map_err(|_| {
        Error::new(format!(
            "{} is not the key of a root that is trusted",
            path.display()
        ))
        .hint(hint)
    })
}

/// The user's own pair.
fn own(cert: &std::path::Path, key: &std::path::Path) -> Result<(Chain, PrivateKey)> {
    let hint = "give a PEM file that holds it";
    let missing = |path: &std::path::Path| Error::new(format!("{} is not there", path.display()));
    let chain = directory::read_chain(cert, hint)?.ok_or_else(|| missing(cert))?;
    let key = directory::read_plain_key(key, hint)?.ok_or_else(|| missing(key))?;
    Ok((chain, key))
}
