//! What was found, as text and as a document: pure functions of it.

use std::{collections::HashSet, time::Duration};

use relay_shared::{
    address::Address,
    candidate::{self, Candidate},
    escape,
    observation::Observation,
    shell, wrap,
};
use serde_json::{Value, json};

use crate::check::Step;

/// How wide what people read is at most, unless a name is wider.
const COLUMNS: usize = 80;

/// An address and the candidate it is from.
pub(crate) type Chosen<'o> = (&'o Address, &'o Candidate);

/// Every address there is, best first, none twice.
pub(crate) fn addresses(observation: &Observation) -> Vec<Chosen<'_>> {
    let mut known = HashSet::new();
    let found = observation
        .candidates
        .iter()
        .filter_map(|candidate| Some((candidate.result.as_ref().ok()?, candidate)));
    found.filter(|(address, _)| known.insert(*address)).collect()
}

/// An address a line.
pub(crate) fn lines(addresses: &[Chosen<'_>]) -> String {
    addresses
        .iter()
        .map(|(address, _)| format!("{address}\n"))
        .collect()
}

/// Rows of a table: each address and where it is from.
pub(crate) fn wide(addresses: &[Chosen<'_>]) -> Vec<[String; 4]> {
    let head = ["ADDRESS", "NAMESPACE", "SOURCE", "FIELD"].map(str::to_owned);
    let rows = addresses.iter().map(|(address, candidate)| {
        let object = &candidate.object;
        [
            address.to_string(),
            object.namespace().unwrap_or_default().to_owned(),
            object.path(),
            candidate.field.clone(),
        ]
    });
    std::iter::once(head).chain(rows).collect()
}

/// The variables of the page for a POSIX shell to `eval`, of the first address. An
/// IPv6 address has brackets, so that the page's `${ADDRESS}:${PORT}` is right, too.
pub(crate) fn environment(addresses: &[Chosen<'_>]) -> String {
    let Some((address, _)) = addresses.first() else {
        return String::new();
    };
    let variables = [
        ("MGMT_INGRESS_ADDRESS", address.url_host()),
        ("MGMT_INGRESS_PORT", address.port().to_string()),
        ("RELAY_ADDRESS", address.to_string()),
    ];
    variables
        .iter()
        .map(|(name, value)| format!("{name}={}\n", shell::quoted(value)))
        .collect()
}

/// The ranked candidates, each with its source below it and why it is taken or not,
/// at most 80 columns wide unless a name is longer.
pub(crate) fn explanation(observation: &Observation) -> String {
    let taken = taken(observation);
    let mut text = format!("relay host: {}\n", observation.host);
    for (index, candidate) in observation.candidates.iter().enumerate() {
        let (address, verdict) = match &candidate.result {
            Ok(address) if taken == Some(index) => (address.to_string(), "taken".to_owned()),
            Ok(address) => (address.to_string(), format!("not taken: {}", not_first(taken))),
            Err(reason) => ("-".to_owned(), format!("not taken: {}", reason.state)),
        };
        let rank = index + 1;
        text += &format!("\n{rank:<3} {address}\n");
        text += &wrapped(&format!("{}, {}", candidate.object, candidate.field), "    ");
        text += &wrapped(&verdict, "    ");
    }
    if !observation.notes.is_empty() {
        text.push('\n');
    }
    for note in &observation.notes {
        text += &wrapped(&format!("warning: {}", note.text), "");
    }
    text
}

fn not_first(taken: Option<usize>) -> String {
    format!("{} comes first", taken.map_or(0, |index| index + 1))
}

/// Which candidate is taken, counted from 0.
fn taken(observation: &Observation) -> Option<usize> {
    observation
        .candidates
        .iter()
        .position(|candidate| candidate.result.is_ok())
}

/// A proof as a table: each step, how it ended, how long it took and what was found.
pub(crate) fn proof(address: &Address, steps: &[Step]) -> String {
    let mut text = format!("address: {address}\n\nCHECK    RESULT        TIME   DETAIL\n");
    for step in steps {
        let took = match step.took {
            Duration::ZERO => "-".to_owned(),
            took => format!("{:.1} ms", took.as_secs_f64() * 1000.0),
        };
        let head = format!("{:6}   {:7}   {took:>8}   ", step.name, step.outcome.name());
        let detail = match step.detail.as_str() {
            "" => "-",
            detail => detail,
        };
        text += &hanging(&head, detail);
    }
    text
}

/// What to do about the steps that are not as they should be, a hint once, for those
/// that it is about.
pub(crate) fn hints(steps: &[Step]) -> Vec<String> {
    let mut hints: Vec<(Vec<&str>, &str)> = Vec::new();
    for Step { name, hint, .. } in steps.iter().filter(|step| !step.hint.is_empty()) {
        match hints.iter_mut().find(|(_, known)| known == hint) {
            Some((names, _)) if names.contains(name) => {}
            Some((names, _)) => names.push(name),
            None => hints.push((vec![name], hint)),
        }
    }
    let hints = hints.iter();
    hints
        .map(|(names, hint)| format!("hint: {}: {hint}", names.join(", ")))
        .collect()
}

/// The steps in `-o json`, under `checks`:
///
/// ```json
/// { "name": "tcp", "result": "ok", "detail": "…", "hint": "", "milliseconds": 1.25 }
/// ```
///
/// The result is ok, warning, due, failed or skipped. The step `trust` is there once
/// for each root.
pub(crate) fn checks(steps: &[Step]) -> Value {
    let steps = steps.iter().map(|step| {
        json!({
            "detail": step.detail,
            "hint": step.hint,
            "milliseconds": step.took.as_secs_f64() * 1000.0,
            "name": step.name,
            "result": step.outcome.name(),
        })
    });
    steps.collect::<Vec<_>>().into()
}

/// Words after a head, as lines of at most 80 columns, all but the first as far in as
/// the words of the first.
fn hanging(head: &str, text: &str) -> String {
    filled(head, text, head.chars().count())
}

/// Words as lines of at most 80 columns, all but the first further in.
fn wrapped(text: &str, indent: &str) -> String {
    filled(indent, text, indent.len() + 2)
}

fn filled(head: &str, text: &str, indent: usize) -> String {
    let text = escape::printable(text).replace('\n', " ");
    wrap::line(&format!("{head}{text}"), COLUMNS, indent) + "\n"
}

/// What `-o json` prints and templates are applied to:
///
/// ```json
/// {
///     "address": "203.0.113.10:9900",
///     "candidates": [
///         {
///             "address": "203.0.113.10:9900",
///             "host": "203.0.113.10",
///             "port": 9900,
///             "reason": "",
///             "source": { … },
///             "taken": true,
///             "via": "service"
///         }
///     ],
///     "host": "203.0.113.10",
///     "port": 9900,
///     "source": {
///         "field": "status.loadBalancer.ingress[0].ip",
///         "kind": "Service",
///         "name": "enterprise-networking",
///         "namespace": "gloo-mesh"
///     }
/// }
/// ```
///
/// An IPv6 host has brackets in `address` and none in `host`. A candidate without an
/// address has null for `address`, `host` and `port`; `via` is service, istio or
/// gateway-api. The candidates are those of the sources that were looked in.
///
/// With `--explain` these are all; the whole has null, too, where there is no address;
/// and there are `relayHost` and, about whole sources, `warnings`.
pub(crate) fn document(observation: &Observation, explain: bool) -> Value {
    let taken = taken(observation);
    let candidates = observation
        .candidates
        .iter()
        .enumerate()
        .map(|(index, candidate)| {
            let address = candidate.result.as_ref().ok();
            let reason = match &candidate.result {
                Ok(_) if taken == Some(index) => String::new(),
                Ok(_) => not_first(taken),
                Err(reason) => reason.state.clone(),
            };
            json!({
                "address": address.map(Address::to_string),
                "host": address.map(Address::host),
                "port": address.map(Address::port),
                "reason": reason,
                "source": source(candidate),
                "taken": taken == Some(index),
                "via": candidate.source.name(),
            })
        });
    let (address, chosen) = candidate::choose(&observation.candidates).unzip();
    let mut document = json!({
        "address": address.map(Address::to_string),
        "candidates": candidates.collect::<Vec<_>>(),
        "host": address.map(Address::host),
        "port": address.map(Address::port),
        "source": chosen.map(source),
    });
    if explain {
        document["relayHost"] = json!(observation.host);
        let warnings = observation.notes.iter().map(|note| note.text.as_str());
        document["warnings"] = warnings.collect();
    }
    document
}

fn source(candidate: &Candidate) -> Value {
    let object = &candidate.object;
    json!({
        "field": candidate.field,
        "kind": object.resource().kind,
        "name": object.name(),
        "namespace": object.namespace(),
    })
}
