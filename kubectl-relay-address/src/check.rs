//! `--check`: proves an address from where it runs, step by step.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, future::join, stream};
use k8s_openapi::ByteString;
use relay_shared::{
    ExitCode, Result,
    address::Address,
    certificate::Certificate,
    cluster::{Cluster, ObjectRef},
    relay,
};
use serde::Deserialize;
use time::OffsetDateTime;

use crate::{
    probe::{self, Failure, H2, Handshake, Probe, Timed},
    trust::{self, Verdict},
};

/// One step of the proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Such as `dns`.
    pub(crate) name: &'static str,
    pub(crate) outcome: Outcome,
    /// What was found.
    pub(crate) detail: String,
    /// What to do about it; empty where nothing is to be done.
    pub(crate) hint: String,
    /// How long it took; nothing for what is known from an earlier step.
    pub(crate) took: Duration,
}

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// Agents accept it, others do not.
    Warning,
    /// It will be wrong soon.
    Due,
    Failed,
    /// It takes a step that failed.
    Skipped,
}

impl Outcome {
    /// Its name in tables and documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Due => "due",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// The code that says how a check ended.
pub(crate) fn exit_code(steps: &[Step]) -> ExitCode {
    let any = |outcome| steps.iter().any(|step| step.outcome == outcome);
    if any(Outcome::Failed) {
        ExitCode::CheckFailed
    } else if any(Outcome::Due) {
        ExitCode::DueSoon
    } else {
        ExitCode::Done
    }
}

/// Whose roots a server has to be signed under.
pub(crate) struct Trusting<'a> {
    /// A file of roots that takes the place of the management cluster's.
    pub(crate) file: Option<&'a Path>,
    pub(crate) management: &'a Cluster,
    pub(crate) remotes: Vec<Result<Cluster>>,
    /// The namespace of the relay.
    pub(crate) namespace: &'a str,
    /// How many clusters to read at once.
    pub(crate) parallel: usize,
}

/// Roots, as somebody holds them.
struct Roots {
    /// Whose they are.
    whose: String,
    result: Result<Vec<Certificate>, Failure>,
    took: Duration,
}

/// Dials an address, reads the roots meanwhile, and judges what the server shows.
pub(crate) async fn check(address: &Address, name: &str, trusting: Trusting<'_>) -> Vec<Step> {
    let (probe, roots) = join(probe::probe(address, name), roots(trusting)).await;
    steps(address, name, &probe, roots, OffsetDateTime::now_utc())
}

async fn roots(trusting: Trusting<'_>) -> Vec<Roots> {
    let Trusting {
        file,
        management,
        remotes,
        namespace,
        parallel,
    } = trusting;
    // Only the management cluster's can be given by a file instead.
    const BY_FILE: Option<&str> =
        Some("without the right to read the Secret, name its certificate with --ca-file");
    let (first, clusters) = match file {
        Some(file) => (Some(of_file(file)), Vec::new()),
        None => (None, vec![(Ok(management.clone()), BY_FILE)]),
    };
    let remotes = remotes.into_iter().map(|remote| (remote, None));
    let clusters = clusters.into_iter().chain(remotes);
    let read = clusters.map(async |(cluster, refused)| of_cluster(cluster, namespace, refused).await);
    let read: Vec<_> = stream::iter(read).buffered(parallel).collect().await;
    first.into_iter().chain(read).collect()
}

fn of_file(file: &Path) -> Roots {
    let start = Instant::now();
    let unreadable = |what: String| Failure {
        what,
        hint: "--ca-file takes certificates in PEM".to_owned(),
    };
    let result = fs::read(file)
        .map_err(|e| unreadable(e.to_string()))
        .and_then(|pem| Certificate::all_from_pem(&pem).map_err(unreadable));
    Roots {
        whose: format!("{file:?}"),
        result,
        took: start.elapsed(),
    }
}

/// The certificate of a root Secret, and nothing else of it: a key may be beside it.
#[derive(Deserialize)]
struct RootSecret {
    data: Option<RootData>,
}

#[derive(Deserialize)]
struct RootData {
    #[serde(rename = "ca.crt")]
    certificate: Option<ByteString>,
}

/// The root that a cluster has, or why it is not known; `refused` is what to do where it
/// may not be read.
async fn of_cluster(cluster: Result<Cluster>, namespace: &str, refused: Option<&str>) -> Roots {
    let start = Instant::now();
    let object = ObjectRef::new::<k8s_openapi::api::core::v1::Secret>(namespace, relay::ROOT_SECRET);
    let (whose, read) = match cluster {
        Ok(cluster) => (
            format!("context {:?}", cluster.context()),
            cluster.get::<RootSecret>(&object).await,
        ),
        Err(error) => (
            error.place().map_or("a remote cluster".to_owned(), |context| {
                format!("context {context:?}")
            }),
            Err(error),
        ),
    };
    let failure = |what: String, hint: &str| Failure {
        what,
        hint: hint.to_owned(),
    };
    let result = match read {
        Ok(Some(RootSecret { data })) => match data.and_then(|data| data.certificate) {
            Some(ByteString(pem)) => Certificate::all_from_pem(&pem).map_err(|what| {
                failure(
                    format!("ca.crt of {object} {what}"),
                    "`kubectl relay-certs status` says more",
                )
            }),
            None => Err(failure(
                format!("{object} has no ca.crt"),
                "`kubectl relay-certs status` says more",
            )),
        },
        Ok(None) => Err(failure(
            format!("there is no {object}"),
            "`kubectl relay-certs init` places the root in every cluster",
        )),
        Err(error) => {
            let refused = refused.filter(|_| error.is_forbidden());
            let hint = refused.or(error.advice()).unwrap_or_default();
            Err(failure(error.message().to_owned(), hint))
        }
    };
    Roots {
        whose,
        result,
        took: start.elapsed(),
    }
}

/// The whole proof, in order: what was seen, and what is to be said of it.
fn steps(address: &Address, name: &str, probe: &Probe, roots: Vec<Roots>, now: OffsetDateTime) -> Vec<Step> {
    let Probe { dns, tcp, tls } = probe;
    let mut steps = Vec::new();
    steps.push(match dns {
        Some(dns) => step("dns", dns, |places| {
            let places: Vec<_> = places.iter().map(|place| place.ip().to_string()).collect();
            format!("{} is {}", address.host(), places.join(", "))
        }),
        None => found("dns", Outcome::Ok, format!("{} needs none", address.host())),
    });
    steps.push(tcp.as_ref().map_or_else(
        || skipped("tcp"),
        |tcp| step("tcp", tcp, |place| format!("{place} accepts connections")),
    ));
    steps.push(tls.as_ref().map_or_else(
        || skipped("tls"),
        |tls| step("tls", tls, |shown| format!("{} as {name}", shown.version)),
    ));
    match tls.as_ref().and_then(|tls| tls.result.as_ref().ok()) {
        Some(shown) => steps.extend(judgements(shown, name, roots, now)),
        None => {
            let trust = roots.iter().map(|_| "trust");
            let rest = ["alpn", "cert", "name"]
                .into_iter()
                .chain(trust)
                .chain(["client", "expiry"]);
            steps.extend(rest.map(skipped));
        }
    }
    steps
}

fn judgements(shown: &Handshake, name: &str, roots: Vec<Roots>, now: OffsetDateTime) -> Vec<Step> {
    let alpn = match shown.alpn.as_deref() {
        Some(H2) => found("alpn", Outcome::Ok, "HTTP/2".to_owned()),
        _ => Step {
            hint: "agents (gRPC for Go, since 1.67) refuse a server that does not choose h2".to_owned(),
            ..found(
                "alpn",
                Outcome::Failed,
                "it does not choose HTTP/2, so it is no gRPC server".to_owned(),
            )
        },
    };
    let client = match shown.asks_for_client {
        true => found(
            "client",
            Outcome::Ok,
            "it asks for a client certificate".to_owned(),
        ),
        false => Step {
            hint: "the relay server does: something on the way may end TLS, or this is another server"
                .to_owned(),
            ..found(
                "client",
                Outcome::Warning,
                "it does not ask for a client certificate".to_owned(),
            )
        },
    };
    let (judged, expiry) = of_certificates(shown, name, roots, now);
    [vec![alpn], judged, vec![client, expiry]].concat()
}

/// The steps about what a server showed, up to those about trust, and the last one.
fn of_certificates(
    shown: &Handshake,
    name: &str,
    roots: Vec<Roots>,
    now: OffsetDateTime,
) -> (Vec<Step>, Step) {
    const MAKE: &str = "`kubectl relay-certs init` makes a certificate that everybody accepts, with every name that agents may \
         ask for";
    let ders = shown.chain.iter().map(AsRef::as_ref);
    let chain = match trust::parse(ders) {
        Ok(chain) => chain,
        Err(defect) => {
            let mut steps = vec![
                judged("cert", Verdict::Bad(defect), Outcome::Failed, MAKE),
                skipped("name"),
            ];
            steps.extend(roots.iter().map(|_| skipped("trust")));
            return (steps, skipped("expiry"));
        }
    };
    let leaf = chain.leaf();
    let mut steps = vec![
        judged("cert", trust::fitness(leaf, name), Outcome::Warning, MAKE),
        judged("name", trust::name(leaf, name), Outcome::Warning, MAKE),
    ];
    let mut above = Vec::new();
    for Roots { whose, result, took } in roots {
        let mut step = match result {
            Ok(roots) => {
                let (verdict, ends_first) = trust::chain(&chain, &roots, name, now);
                above.extend(ends_first);
                judged(
                    "trust",
                    verdict,
                    Outcome::Warning,
                    "agents with another root refuse the server: `kubectl relay-certs status` shows which \
                     clusters have which; if something on the way ends TLS, let it pass through",
                )
            }
            Err(Failure { what, hint }) => Step {
                hint,
                ..found("trust", Outcome::Failed, what)
            },
        };
        step.detail = format!("{whose}: {}", step.detail);
        steps.push(Step { took, ..step });
    }
    let expiry = judged(
        "expiry",
        trust::expiry(leaf, &above, now),
        Outcome::Due,
        "`kubectl relay-certs rotate` replaces what ends; `kubectl relay-certs status` shows what else is due",
    );
    (steps, expiry)
}

fn step<T>(name: &'static str, timed: &Timed<T>, detail: impl FnOnce(&T) -> String) -> Step {
    let step = match &timed.result {
        Ok(found) => self::found(name, Outcome::Ok, detail(found)),
        Err(Failure { what, hint }) => Step {
            hint: hint.clone(),
            ..found(name, Outcome::Failed, what.clone())
        },
    };
    Step {
        took: timed.took,
        ..step
    }
}

/// A verdict as a step; what is odd has an outcome of the step's own.
fn judged(name: &'static str, verdict: Verdict, odd: Outcome, hint: &str) -> Step {
    let (outcome, detail) = match verdict {
        Verdict::Good(detail) => return found(name, Outcome::Ok, detail),
        Verdict::Odd(detail) => (odd, detail),
        Verdict::Bad(detail) => (Outcome::Failed, detail),
    };
    Step {
        hint: hint.to_owned(),
        ..found(name, outcome, detail)
    }
}

fn found(name: &'static str, outcome: Outcome, detail: String) -> Step {
    Step {
        name,
        outcome,
        detail,
        hint: String::new(),
        took: Duration::ZERO,
    }
}

fn skipped(name: &'static str) -> Step {
    found(name, Outcome::Skipped, String::new())
}

/// What the flags say about a check.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Check")]
pub(crate) struct CheckArgs {
    /// Prove the address from here: DNS, TCP, TLS, the server's certificate
    ///
    /// The certificate has to be signed under the root in the management cluster and
    /// in every --remote-context. Exits with 3 if a step fails, with 4 if the
    /// certificate expires within 30 days.
    #[arg(long, conflicts_with_all = ["all", "explain"])]
    pub(crate) check: bool,

    /// File with the root to expect instead of the management cluster's
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath, requires = "check")]
    pub(crate) ca_file: Option<PathBuf>,
}
