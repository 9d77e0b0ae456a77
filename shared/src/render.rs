//! Turns values into text: documents as YAML or JSON, reports as columns.

use std::{borrow::Cow, fmt::Write as _};

use serde_json::{Value, json};

use crate::{
    apply::{ObjectReport, Outcome, Report},
    args::DryRun,
    error::{Error, Result},
    escape, json,
    output::Format,
    plan::{Change, Plan, Step},
};

/// Writes objects as kubectl does: YAML documents one after the other, a line for
/// each name; JSON as one object or as a `List` of several, which is also what a
/// template is applied to.
///
/// # Errors
/// If a template demands what is not there, or YAML cannot be written.
pub fn documents(objects: &[Value], format: &Format) -> Result<String> {
    match format {
        Format::Json => Ok(json::indented(&whole(objects)) + "\n"),
        Format::Yaml => {
            let documents: Result<Vec<_>> = objects.iter().map(yaml).collect();
            Ok(documents?.join("---\n"))
        }
        Format::Name => Ok(objects.iter().map(name).collect()),
        Format::JsonPath(path) => path.render(&whole(objects)),
    }
}

fn whole(objects: &[Value]) -> Cow<'_, Value> {
    match objects {
        [object] => Cow::Borrowed(object),
        objects => Cow::Owned(json!({
            "apiVersion": "v1",
            "items": objects,
            "kind": "List",
            "metadata": {},
        })),
    }
}

/// One YAML document with a newline at its end.
fn yaml(object: &Value) -> Result<String> {
    let mut text =
        serde_saphyr::to_string(object).map_err(|e| Error::new(format!("cannot write YAML: {e}")))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

/// `service/NAME` or `gateway.networking.istio.io/NAME`, as kubectl's `NamePrinter`
/// (k8s.io/cli-runtime, `pkg/printers/name.go`).
fn name(object: &Value) -> String {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    let kind = text("/kind").unwrap_or("<unknown>").to_lowercase();
    let name = text("/metadata/name").unwrap_or("<unknown>");
    match text("/apiVersion").and_then(|version| version.split_once('/')) {
        Some((group, _)) => format!("{kind}.{group}/{name}\n"),
        None => format!("{kind}/{name}\n"),
    }
}

/// A line for each object: its context, its kind and name, what became of it. Where two
/// are alike, their namespaces tell them apart.
pub fn report(report: &Report, dry_run: DryRun) -> String {
    let suffix = match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let rows = report.clusters.iter().flat_map(|cluster| {
        let paths: Vec<_> = cluster
            .objects
            .iter()
            .map(|report| report.object.path())
            .collect();
        let shown = |report: &ObjectReport| {
            let path = report.object.path();
            let is_unique = paths.iter().filter(|other| **other == path).count() == 1;
            match report.object.namespace().filter(|_| !is_unique) {
                Some(namespace) => format!("{path} in {namespace}"),
                None => path,
            }
        };
        let row = |report: &ObjectReport| {
            let outcome = format!("{}{suffix}", report.outcome.word());
            [cluster.context.clone(), shown(report), outcome]
        };
        cluster.objects.iter().map(row).collect::<Vec<_>>()
    });
    columns(&rows.collect::<Vec<_>>())
}

/// What a plan changes about objects that are there; empty if it is nothing.
///
/// ```text
/// context "east", secret gloo-mesh/relay-root-tls-secret changes:
///   ca.crt   from 1f0c…
///            to 93ab…
/// ```
pub fn changes(plan: &Plan) -> String {
    let mut text = String::new();
    for cluster in &plan.clusters {
        let changed = cluster.steps.iter().filter(|step| !step.changes.is_empty());
        for Step { object, changes, .. } in changed {
            let _ = writeln!(text, "context {:?}, {object} changes:", cluster.cluster.context());
            let rows: Vec<_> = changes.iter().flat_map(change).collect();
            for line in columns(&rows).lines() {
                let _ = writeln!(text, "  {line}");
            }
        }
    }
    text
}

fn change(change: &Change) -> Vec<[String; 2]> {
    let Change { field, from, to } = change;
    let row = |field: &str, text: String| [field.to_owned(), text];
    match (from.as_str(), to.as_str()) {
        ("", to) => vec![row(field, format!("new {to}"))],
        (from, "") => vec![row(field, format!("without {from}"))],
        (from, to) => vec![row(field, format!("from {from}")), row("", format!("to {to}"))],
    }
}

/// A report as `-o json` shows it, a list with an entry for each cluster:
///
/// ```json
/// {
///     "context": "east",
///     "objects": [{
///         "apiVersion": "v1", "kind": "Secret", "namespace": "gloo-mesh", "name": "…",
///         "outcome": "configured",
///         "changes": [{ "field": "ca.crt", "from": null, "to": "…" }],
///         "sent": { "data": { "tls.key": "<redacted>" } },
///         "error": "…"
///     }]
/// }
/// ```
///
/// `outcome` is created, configured, unchanged, failed (then there is an `error`) or
/// not tried. `sent` is what was to be sent, a whole object or a merge patch.
pub fn report_document(report: &Report) -> Value {
    let object = |report: &ObjectReport| {
        let resource = report.object.resource();
        let mut document = json!({
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            "name": report.object.name(),
            "outcome": report.outcome.word(),
        });
        if let Some(namespace) = report.object.namespace() {
            document["namespace"] = namespace.into();
        }
        if !report.changes.is_empty() {
            document["changes"] = report.changes.iter().map(Change::document).collect();
        }
        if !report.sent.is_null() {
            document["sent"] = report.sent.clone();
        }
        if let Outcome::Failed(error) = &report.outcome {
            document["error"] = error.to_string().into();
        }
        document
    };
    let clusters = report.clusters.iter().map(|cluster| {
        let objects: Vec<_> = cluster.objects.iter().map(object).collect();
        json!({ "context": cluster.context, "objects": objects })
    });
    clusters.collect()
}

/// Rows as left-aligned columns, three spaces apart as in kubectl's tables.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let shown: Vec<[String; N]> = rows
        .iter()
        .map(|row| {
            row.clone()
                .map(|cell| escape::printable(&cell).replace('\n', " "))
        })
        .collect();
    let mut widths = [0; N];
    for row in &shown {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for row in &shown {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _ = write!(line, "{cell:width$}   ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{jsonpath::Template, output::JsonPath};

    #[test]
    fn columns_line_up_and_show_control_characters() {
        let rows = [["a", "bbb", "c"], ["aaaa\x1b", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a            bbb   c\naaaa\\u{1b}   b\n");
    }

    #[test]
    fn a_report_tells_objects_apart() {
        use k8s_openapi::api::core::v1::Secret;

        use crate::{apply::ClusterReport, cluster::ObjectRef};

        let object = |namespace: &str, name: &str| ObjectReport {
            object: ObjectRef::new::<Secret>(namespace, name),
            outcome: Outcome::Deleted,
            changes: Vec::new(),
            sent: Value::Null,
            answer: None,
        };
        let cluster = |context: &str, objects| ClusterReport {
            context: context.to_owned(),
            objects,
        };
        let clusters = vec![
            cluster("east", vec![object("a", "x"), object("b", "x"), object("b", "y")]),
            cluster("west", vec![object("a", "x")]),
        ];
        assert_eq!(
            report(&Report { clusters }, DryRun::None),
            "east   secret/x in a   deleted\n\
             east   secret/x in b   deleted\n\
             east   secret/y        deleted\n\
             west   secret/x        deleted\n"
        );
    }

    #[test]
    fn documents_are_kubectls() {
        let object = json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "a"}});
        let gateway =
            json!({"kind": "Gateway", "apiVersion": "networking.istio.io/v1", "metadata": {"name": "b"}});
        let both = [object.clone(), gateway.clone()];
        let documents = |objects, format| documents(objects, &format).expect("renders");

        let one = documents(&both[..1], Format::Json);
        assert!(
            one.starts_with("{\n    \"apiVersion\": \"v1\",\n    \"kind\""),
            "{one}"
        );
        let list: Value = serde_json::from_str(&documents(&both, Format::Json)).expect("is JSON");
        assert_eq!((&list["kind"], &list["items"][1]), (&json!("List"), &gateway));

        let yaml = documents(&both, Format::Yaml);
        let (first, second) = yaml.split_once("---\n").expect("two documents");
        let parsed = |text| serde_saphyr::from_str::<Value>(text).expect("is YAML");
        assert_eq!((parsed(first), parsed(second)), (object, gateway));

        assert_eq!(
            documents(&both, Format::Name),
            "service/a\ngateway.networking.istio.io/b\n"
        );
        let template = Template::parse("{.items[*].metadata.name}").expect("is a template");
        assert_eq!(documents(&both, Format::JsonPath(JsonPath::new(template))), "a b");
    }
}
