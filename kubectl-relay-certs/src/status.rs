//! The flow of `status`: connect, observe, judge, report. Nothing is written.

use relay_shared::{
    Error, ExitCode, Result,
    args::ClusterArgs,
    certificate::{Certificate, fingerprints},
    cluster::ObjectRef,
    findings::{Findings, Severity},
    output::Table,
    render, soundness, terminal,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{
    cli::StatusArgs,
    fleet::Fleet,
    member::{Kind, Member, Places, Slot, TokenSlot},
    role::Role,
    secrets::Live,
    token::Token,
};

pub(crate) async fn run(flags: &ClusterArgs, args: &StatusArgs) -> Result<ExitCode> {
    let now = OffsetDateTime::now_utc();
    let table = args.output.table()?;
    args.names.check()?;
    let places = Places {
        namespace: &flags.namespace,
        names: &args.names,
        service: args.service.service.as_deref(),
        identity_token: true,
    };
    let fleet = Fleet::connect(&flags.load()?, flags, &args.remotes, true)?;
    let fleet = fleet.observe(places).await?;
    let rows = rows(&fleet, args.expires_within, now);
    let unread = fleet.left_out;
    let shown = match table {
        Some(Table::Document(format)) => {
            let document = document(&rows, fleet.management.roots(), &unread);
            render::documents(&[document], &format)?
        }
        Some(Table::Wide) => render::columns(&wide(&rows)),
        None => render::columns(&narrow(&rows)),
    };
    terminal::data(&shown)?;
    tell(&rows, fleet.management.roots(), &unread);
    Ok(exit_code(&rows, &unread))
}

/// One Secret of one cluster.
struct Row {
    context: String,
    object: ObjectRef,
    state: State,
    findings: Findings,
    /// The end of what is valid the shortest.
    expiry: Option<Expiry>,
    fingerprints: Vec<String>,
    owner: String,
}

/// When something ends.
#[derive(Debug, Clone, Copy)]
struct Expiry {
    at: OffsetDateTime,
    /// Whole days until then, as of now.
    days: i64,
}

/// What Secrets are judged by.
#[derive(Clone, Copy)]
struct Measure<'a> {
    /// What the management cluster trusts, if it trusts anything.
    trusted: Option<&'a [Certificate]>,
    /// The management cluster's identity token, if it has one.
    token: Option<&'a Token>,
    /// What agents call the relay server.
    host: &'a str,
    /// How long before its end something is due.
    within: Duration,
    now: OffsetDateTime,
}

/// How a Secret is, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// It is not there, and need not be.
    None,
    Ok,
    /// The relay accepts it.
    Warning,
    /// It expires soon.
    Due,
    Wrong,
    /// It has to be there and is not.
    Missing,
}

impl State {
    fn of(findings: &Findings, expires: Option<OffsetDateTime>, soon: OffsetDateTime) -> Self {
        let severest = findings.all().iter().map(|finding| finding.severity).max();
        match (severest, expires.is_some_and(|expires| expires <= soon)) {
            (Some(Severity::Error), _) => Self::Wrong,
            (_, true) => Self::Due,
            (Some(Severity::Warning), false) => Self::Warning,
            (None, false) => Self::Ok,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Due => "due",
            Self::Wrong => "wrong",
            Self::Missing => "missing",
        }
    }
}

impl Row {
    /// A Secret without certificates.
    fn new(context: &str, object: &ObjectRef, state: State, findings: Findings) -> Self {
        Self {
            context: context.to_owned(),
            object: object.clone(),
            state,
            findings,
            expiry: None,
            fingerprints: Vec::new(),
            owner: String::new(),
        }
    }
}

/// Judges every Secret of every cluster, the management cluster's first.
fn rows(fleet: &Fleet<Member>, within: Duration, now: OffsetDateTime) -> Vec<Row> {
    let management = &fleet.management;
    let measure = Measure {
        trusted: management.roots(),
        token: management.identity_token(),
        host: &fleet.host().to_string(),
        within,
        now,
    };
    let rows = fleet.members().flat_map(|(kind, member)| {
        let slots = member.secrets.iter();
        let rows = slots.map(move |slot| row(kind, member, slot, measure));
        let token = member.token.as_ref();
        rows.chain(token.map(|slot| token_row(kind, member.cluster.context(), slot, measure)))
    });
    rows.collect()
}

/// Judges one of a cluster's Secrets.
fn row(kind: Kind, member: &Member, slot: &Slot, measure: Measure<'_>) -> Row {
    let Slot { role, object, live } = slot;
    let context = member.cluster.context();
    let mut findings = Findings::default();
    let Some(live) = live else {
        findings.add(
            Severity::Error,
            "does not exist: kubectl relay-certs init makes it",
        );
        return Row::new(context, object, State::Missing, findings);
    };
    findings.extend(live.findings(*role, measure.trusted, measure.host, measure.now));
    findings.error_if(
        kind == Kind::Remote && live.has_key(),
        "has a tls.key, by which who reads it there can make certificates that every cluster trusts",
    );
    if let (Role::Server, Some([server, signing])) = (role, pairs(member)) {
        findings.extend(soundness::of_twins(server, signing));
    }
    let (certificates, end) = expiry(*role, live);
    let state = State::of(&findings, end, measure.now + measure.within);
    Row {
        expiry: end.map(|at| Expiry {
            at,
            days: (at - measure.now).whole_days(),
        }),
        fingerprints: certificates.iter().map(|c| c.fingerprint().to_string()).collect(),
        owner: live.owner().to_string(),
        ..Row::new(context, object, state, findings)
    }
}

/// The leaves of the server's and the signing certificate.
fn pairs(member: &Member) -> Option<[&Certificate; 2]> {
    let leaf = |role| {
        let slot = member.secrets.iter().find(|slot| slot.role == role)?;
        Some(slot.live.as_ref()?.chain()?.leaf())
    };
    Some([leaf(Role::Server)?, leaf(Role::Signing)?])
}

/// What a Secret is there for, and when that ends: the first of a chain, the last of
/// several roots, as one is enough.
fn expiry(role: Role, live: &Live) -> (Vec<&Certificate>, Option<OffsetDateTime>) {
    match role {
        Role::Root => {
            let roots: Vec<_> = live.roots.iter().flatten().collect();
            let last = roots.iter().map(|root| root.not_after()).max();
            (roots, last)
        }
        Role::Server | Role::Signing => {
            let chain: Vec<_> = live
                .chain()
                .into_iter()
                .flat_map(|chain| chain.certificates())
                .collect();
            let first = chain.iter().map(|certificate| certificate.not_after()).min();
            (chain, first)
        }
    }
}

/// Judges an identity token. An agent that has its certificate needs none any more,
/// and who registered it may have taken the token away.
fn token_row(kind: Kind, context: &str, slot: &TokenSlot, measure: Measure<'_>) -> Row {
    let mut findings = Findings::default();
    let Some(live) = &slot.live else {
        let state = match kind {
            Kind::Remote => State::None,
            Kind::Management => State::Warning,
        };
        findings.warn_if(
            kind == Kind::Management,
            "does not exist: an agent without a certificate needs it, and init --identity-token makes it",
        );
        return Row::new(context, &slot.object, state, findings);
    };
    findings.extend(live.findings());
    match (live.token(), measure.token) {
        (Some(token), Some(ours)) => {
            findings.error_if(token != ours, "has another token than the management cluster");
        }
        (Some(_), None) => findings.add(
            Severity::Error,
            "has a token that the management cluster does not know",
        ),
        (None, _) => {}
    }
    let state = State::of(&findings, None, measure.now);
    Row {
        owner: live.owner().to_string(),
        ..Row::new(context, &slot.object, state, findings)
    }
}

fn narrow(rows: &[Row]) -> Vec<[String; 4]> {
    let header = ["CONTEXT", "SECRET", "STATUS", "EXPIRES"].map(str::to_owned);
    let rows = rows.iter().map(|row| {
        [
            row.context.clone(),
            row.object.name().to_owned(),
            row.state.word().to_owned(),
            row.expiry
                .map_or_else(|| "-".to_owned(), |expiry| format!("{}d", expiry.days)),
        ]
    });
    std::iter::once(header).chain(rows).collect()
}

fn wide(rows: &[Row]) -> Vec<[String; 7]> {
    let header = [
        "CONTEXT", "SECRET", "STATUS", "EXPIRES", "DATE", "OWNER", "SHA-256",
    ]
    .map(str::to_owned);
    let more = rows.iter().map(|row| {
        let date = row.expiry.map(|expiry| expiry.at.date().to_string());
        let cells = [
            date.unwrap_or_default(),
            row.owner.clone(),
            row.fingerprints.join(","),
        ];
        cells.map(|cell| match cell.is_empty() {
            true => "-".to_owned(),
            false => cell,
        })
    });
    let rows = narrow(rows).into_iter().skip(1).zip(more);
    let rows = rows.map(|([context, secret, status, expires], [date, owner, prints])| {
        [context, secret, status, expires, date, owner, prints]
    });
    std::iter::once(header).chain(rows).collect()
}

/// What `-o json` prints:
///
/// ```json
/// {
///     "root": "…",
///     "secrets": [{
///         "context": "mgmt", "namespace": "gloo-mesh", "name": "relay-root-tls-secret",
///         "status": "ok",
///         "expires": "2036-01-01T00:00:00Z", "daysLeft": 3649,
///         "sha256": ["…"],
///         "owner": "this tool",
///         "findings": [{ "severity": "warning", "what": "has …" }]
///     }],
///     "unread": ["error: …"]
/// }
/// ```
///
/// `status` is ok, warning, due, wrong, missing, or none where nothing has to be.
fn document(rows: &[Row], root: Option<&[Certificate]>, unread: &[Error]) -> Value {
    let secrets = rows.iter().map(|row| {
        let findings = row.findings.all().iter();
        let findings = findings.map(|f| json!({ "severity": f.severity.to_string(), "what": f.what }));
        let expires = row.expiry.and_then(|expiry| expiry.at.format(&Rfc3339).ok());
        json!({
            "context": row.context,
            "namespace": row.object.namespace(),
            "name": row.object.name(),
            "status": row.state.word(),
            "expires": expires,
            "daysLeft": row.expiry.map(|expiry| expiry.days),
            "sha256": row.fingerprints,
            "owner": row.owner,
            "findings": findings.collect::<Vec<_>>(),
        })
    });
    json!({
        "root": root.map(fingerprints),
        "secrets": secrets.collect::<Vec<_>>(),
        "unread": unread.iter().map(Error::to_string).collect::<Vec<_>>(),
    })
}

/// Says what was found, and what is to be done about it.
fn tell(rows: &[Row], root: Option<&[Certificate]>, unread: &[Error]) {
    for row in rows {
        let Row { context, object, .. } = row;
        for finding in row.findings.all() {
            terminal::story(&format!(
                "{}: {object} in context {context:?} {}",
                finding.severity, finding.what
            ));
        }
        if let (State::Due, Some(Expiry { at, days })) = (row.state, row.expiry) {
            let date = at.date();
            terminal::story(&format!(
                "due: {object} in context {context:?} expires in {days} days ({date})"
            ));
        }
    }
    for error in unread {
        terminal::story(&error.to_string());
    }
    let sound = unread.is_empty() && rows.iter().all(|row| row.state < State::Wrong);
    if let Some(root) = root.filter(|_| sound) {
        terminal::story(&format!(
            "Every cluster trusts the same root:\n{}",
            fingerprints(root)
        ));
    }
}

/// The worst of it: what is wrong before what could not be seen, before what is due.
fn exit_code(rows: &[Row], unread: &[Error]) -> ExitCode {
    let worst = rows.iter().map(|row| row.state).max();
    match worst {
        Some(State::Wrong | State::Missing) => ExitCode::CheckFailed,
        _ if !unread.is_empty() => ExitCode::Failed,
        Some(State::Due) => ExitCode::DueSoon,
        Some(State::None | State::Ok | State::Warning) | None => ExitCode::Done,
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn the_worst_decides_the_exit_code() {
        let now = datetime!(2026-01-01 0:00 UTC);
        let row = |errors: usize, warnings: usize, days: i64| {
            let mut findings = Findings::default();
            (0..warnings).for_each(|_| findings.add(Severity::Warning, "is odd"));
            (0..errors).for_each(|_| findings.add(Severity::Error, "is wrong"));
            let object = ObjectRef::new::<k8s_openapi::api::core::v1::Secret>("ns", "s");
            let state = State::of(
                &findings,
                Some(now + Duration::days(days)),
                now + Duration::days(60),
            );
            Row::new("mgmt", &object, state, findings)
        };
        #[track_caller]
        fn check(rows: &[Row], unread: usize, want: ExitCode) {
            let unread: Vec<_> = (0..unread).map(|_| Error::new("down")).collect();
            assert_eq!(exit_code(rows, &unread), want);
        }
        check(&[row(0, 0, 61)], 0, ExitCode::Done);
        check(&[row(0, 2, 61)], 0, ExitCode::Done);
        check(&[row(0, 2, 60), row(0, 0, 61)], 0, ExitCode::DueSoon);
        check(&[row(0, 0, 60)], 1, ExitCode::Failed);
        check(&[row(0, 0, 60), row(1, 1, 61)], 1, ExitCode::CheckFailed);
    }
}
