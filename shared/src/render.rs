//! Turns values into text: documents as YAML or JSON, reports as columns.

use std::fmt::Write as _;

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use crate::{
    apply::{Outcome, Report},
    args::DryRun,
    error::{Error, Result},
    terminal,
};

/// A format for documents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// YAML documents
    Yaml,
    /// JSON, indented as kubectl does
    Json,
}

/// Writes objects as kubectl does: YAML documents one after the other, JSON as
/// one object or as a `List` of several.
pub fn documents(objects: &[Value], format: Format) -> Result<String> {
    match (format, objects) {
        (Format::Yaml, objects) => {
            let documents: Result<Vec<_>> = objects.iter().map(yaml).collect();
            Ok(documents?.join("---\n"))
        }
        (Format::Json, [object]) => Ok(json(object)),
        (Format::Json, objects) => Ok(json(&serde_json::json!({
            "apiVersion": "v1",
            "items": objects,
            "kind": "List",
            "metadata": {},
        }))),
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

/// kubectl's JSON: four spaces of indentation and a newline at the end.
fn json(object: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    object
        .serialize(&mut serializer)
        .expect("a JSON value can always be written");
    text.push(b'\n');
    String::from_utf8(text).expect("JSON is UTF-8")
}

/// A line for each object: its context, its kind and name, what became of it.
pub fn report(report: &Report, dry_run: DryRun) -> String {
    let suffix = match dry_run {
        DryRun::None => "",
        DryRun::Client => " (dry run)",
        DryRun::Server => " (server dry run)",
    };
    let rows = report.clusters.iter().flat_map(|cluster| {
        cluster.outcomes.iter().map(|(object, outcome)| {
            let outcome = match outcome {
                Outcome::Created => "created",
                Outcome::Configured => "configured",
                Outcome::Unchanged => "unchanged",
                Outcome::Failed(_) => "failed",
                Outcome::NotTried => "not tried",
            };
            [
                cluster.context.clone(),
                object.path(),
                format!("{outcome}{suffix}"),
            ]
        })
    });
    columns(&rows.collect::<Vec<_>>())
}

/// Rows as left-aligned columns, three spaces apart as in kubectl's tables.
pub fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let shown: Vec<[String; N]> = rows
        .iter()
        .map(|row| {
            row.clone()
                .map(|cell| terminal::printable(&cell).replace('\n', " "))
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
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_line_up_and_show_control_characters() {
        let rows = [["a", "bbb", "c"], ["aaaa\x1b", "b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "a            bbb   c\naaaa\\u{1b}   b\n");
    }

    #[test]
    fn documents_are_kubectls() {
        let object = json!({"b": [1, {}], "a": {"c": "9900"}});
        assert_eq!(
            documents(std::slice::from_ref(&object), Format::Json).expect("renders"),
            "{\n    \"a\": {\n        \"c\": \"9900\"\n    },\n    \"b\": [\n        1,\n        {}\n    ]\n}\n"
        );
        let yaml = documents(&[object.clone(), json!({"d": true})], Format::Yaml).expect("renders");
        let (first, second) = yaml.split_once("---\n").expect("two documents");
        assert_eq!(serde_saphyr::from_str::<Value>(first).expect("is YAML"), object);
        assert_eq!(second, "d: true\n");
    }
}
