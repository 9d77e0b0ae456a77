//! `-o`: the flag of commands that print objects, and of those that print a table.
//!
//! Formats and words are those of kubectl's `PrintFlags` (k8s.io/cli-runtime,
//! `pkg/genericclioptions/print_flags.go`). A format that kubectl would refuse is a
//! usage error here, and one before anything is read or written.

use std::fs;

use clap::Args;
use clap_complete::engine::{ArgValueCandidates, CompletionCandidate};
use serde_json::Value;

use crate::{
    args,
    error::{Error, Result},
    jsonpath::Template,
};

/// How objects are printed.
#[derive(Debug, Clone, PartialEq)]
pub enum Format {
    /// JSON, indented as kubectl does.
    Json,
    /// YAML documents.
    Yaml,
    /// `service/NAME`, a line each.
    Name,
    /// What a template makes of them.
    JsonPath(JsonPath),
}

/// A JSONPath template, and what is to become of its results.
#[derive(Debug, Clone, PartialEq)]
pub struct JsonPath {
    template: Template,
    as_json: bool,
    allow_missing: bool,
}

impl JsonPath {
    /// A template whose results are text, and that passes over missing keys.
    pub fn new(template: Template) -> Self {
        Self {
            template,
            as_json: false,
            allow_missing: true,
        }
    }

    /// What the template makes of a document.
    ///
    /// # Errors
    /// If the document has not what the template demands.
    pub fn render(&self, document: &Value) -> Result<String> {
        match self.as_json {
            true => self.template.render_as_json(document, self.allow_missing),
            false => self.template.render(document, self.allow_missing),
        }
    }
}

/// How what was found is printed: as a table, or as the document it is taken from.
#[derive(Debug, Clone, PartialEq)]
pub enum Table {
    /// With all columns.
    Wide,
    /// As a document.
    Document(Format),
}

/// The flag of a command that prints objects. Flattened into it.
#[derive(Debug, Args)]
pub struct ObjectOutput {
    /// Print the objects: json, yaml, name, jsonpath=TEMPLATE, jsonpath-file=FILE or
    /// jsonpath-as-json=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", add = ArgValueCandidates::new(|| candidates(&OBJECT)))]
    output: Option<String>,

    #[command(flatten)]
    template: TemplateArgs,
}

/// The flag of a command that prints what it found. Flattened into it.
#[derive(Debug, Args)]
pub struct TableOutput {
    /// Print more: wide, json, yaml, jsonpath=TEMPLATE, jsonpath-file=FILE or
    /// jsonpath-as-json=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", add = ArgValueCandidates::new(|| candidates(&TABLE)))]
    output: Option<String>,

    #[command(flatten)]
    template: TemplateArgs,
}

/// The flag of a command that reports what it did. Flattened into it.
#[derive(Debug, Args)]
pub struct ReportOutput {
    /// Print the report as a document: json, yaml, jsonpath=TEMPLATE, jsonpath-file=FILE
    /// or jsonpath-as-json=TEMPLATE
    #[arg(short, long, value_name = "FORMAT", add = ArgValueCandidates::new(|| candidates(&REPORT)))]
    output: Option<String>,

    #[command(flatten)]
    template: TemplateArgs,
}

/// The flag that says how a template is applied. Flattened beside `-o`.
#[derive(Debug, Args)]
pub struct TemplateArgs {
    /// Let a template pass over keys that are not there
    #[arg(long, value_name = "BOOL", value_parser = args::boolean, num_args = 0..=1, require_equals = true, hide_short_help = true,
          default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    allow_missing_template_keys: bool,
}

/// In the order of kubectl's message.
const OBJECT: [&str; 6] = [
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "name",
    "yaml",
];
const TABLE: [&str; 6] = [
    "json",
    "jsonpath",
    "jsonpath-as-json",
    "jsonpath-file",
    "wide",
    "yaml",
];
const REPORT: [&str; 5] = ["json", "jsonpath", "jsonpath-as-json", "jsonpath-file", "yaml"];

impl ObjectOutput {
    /// The format that is asked for, if any.
    ///
    /// # Errors
    /// If there is no such format, or its template makes no sense or cannot be read.
    pub fn format(&self) -> Result<Option<Format>> {
        optional(self.output.as_deref(), &OBJECT, &self.template)
    }
}

impl ReportOutput {
    /// The format that is asked for, if any.
    ///
    /// # Errors
    /// As for [`ObjectOutput::format`].
    pub fn format(&self) -> Result<Option<Format>> {
        optional(self.output.as_deref(), &REPORT, &self.template)
    }
}

impl TableOutput {
    /// The table that is asked for, if any.
    ///
    /// # Errors
    /// As for [`ObjectOutput::format`].
    pub fn table(&self) -> Result<Option<Table>> {
        match self.output.as_deref().unwrap_or_default() {
            "" => Ok(None),
            "wide" => Ok(Some(Table::Wide)),
            output => Ok(Some(Table::Document(format(output, &TABLE, &self.template)?))),
        }
    }
}

fn optional(output: Option<&str>, allowed: &[&str], flags: &TemplateArgs) -> Result<Option<Format>> {
    match output.unwrap_or_default() {
        "" => Ok(None),
        output => format(output, allowed, flags).map(Some),
    }
}

/// The document format of that name, if it is allowed; the names that are not
/// documents' are in the list for the message only.
///
/// # Errors
/// As for [`ObjectOutput::format`].
pub fn format(output: &str, allowed: &[&str], flags: &TemplateArgs) -> Result<Format> {
    let (kind, template) = output.split_once('=').unwrap_or((output, ""));
    if kind.starts_with("jsonpath") && allowed.contains(&kind) {
        let template = match (kind, template) {
            (_, "") => return Err(Error::usage("template format specified but no template given")),
            ("jsonpath-file", path) => Template::parse(&read(path)?)?,
            (_, text) => Template::parse(text)?,
        };
        return Ok(Format::JsonPath(JsonPath {
            template,
            as_json: kind == "jsonpath-as-json",
            allow_missing: flags.allow_missing_template_keys,
        }));
    }
    let lower = output.to_ascii_lowercase();
    match lower.as_str() {
        name if !allowed.contains(&name) => {}
        "json" => return Ok(Format::Json),
        "yaml" => return Ok(Format::Yaml),
        "name" => return Ok(Format::Name),
        _ => {}
    }
    Err(Error::usage(format!(
        "unable to match a printer suitable for the output format {output:?}, allowed formats are: {}",
        allowed.join(",")
    )))
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Error::usage(format!("cannot read the template in {path:?}: {e}")))
}

/// What can be typed; a template is yet to follow its `=`.
pub fn candidates(formats: &[&str]) -> Vec<CompletionCandidate> {
    let typed = formats.iter().map(|format| match format.starts_with("jsonpath") {
        true => format!("{format}="),
        false => (*format).to_owned(),
    });
    typed.map(CompletionCandidate::new).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(Debug, clap::Parser)]
    struct Objects {
        #[command(flatten)]
        output: ObjectOutput,
    }

    #[derive(Debug, clap::Parser)]
    struct Tables {
        #[command(flatten)]
        output: TableOutput,
    }

    fn objects(words: &[&str]) -> Result<Option<Format>> {
        let words = [&["test"], words].concat();
        Objects::try_parse_from(words)
            .expect("clap takes it")
            .output
            .format()
    }

    #[test]
    fn formats_are_kubectls() {
        #[track_caller]
        fn check(output: &str, want: Option<Format>) {
            assert_eq!(objects(&["-o", output]).expect("is a format"), want, "{output}");
        }
        check("", None);
        check("json", Some(Format::Json));
        check("JSON", Some(Format::Json));
        check("yaml", Some(Format::Yaml));
        check("name", Some(Format::Name));
        let path = |as_json, allow_missing| {
            Some(Format::JsonPath(JsonPath {
                template: Template::parse("{.a==1}").expect("is a template"),
                as_json,
                allow_missing,
            }))
        };
        check("jsonpath={.a==1}", path(false, true));
        check("jsonpath-as-json={.a==1}", path(true, true));
        let strict = objects(&["-ojsonpath={.a==1}", "--allow-missing-template-keys=false"]);
        assert_eq!(strict.expect("is a format"), path(false, false));
        assert_eq!(objects(&[]).expect("is no format"), None);
    }

    #[test]
    fn what_is_no_format_is_a_usage_error() {
        #[track_caller]
        fn check<T: std::fmt::Debug>(got: Result<T>, want: &str) {
            let error = got.expect_err("is no format");
            assert_eq!(error.exit_code(), crate::ExitCode::Usage);
            assert_eq!(error.to_string(), format!("error: {want}"));
        }
        let objects = |output| objects(&["-o", output]);
        let tables = |output| Tables::parse_from(["test", "-o", output]).output.table();
        let unable = "unable to match a printer suitable for the output format";
        let formats = "json,jsonpath,jsonpath-as-json,jsonpath-file";
        check(
            objects("wide"),
            &format!("{unable} \"wide\", allowed formats are: {formats},name,yaml"),
        );
        check(
            tables("name"),
            &format!("{unable} \"name\", allowed formats are: {formats},wide,yaml"),
        );
        check(
            objects("json=x"),
            &format!("{unable} \"json=x\", allowed formats are: {formats},name,yaml"),
        );
        check(
            objects("jsonpath"),
            "template format specified but no template given",
        );
        check(
            objects("jsonpath="),
            "template format specified but no template given",
        );
        check(
            objects("jsonpath={.a"),
            "error parsing jsonpath {.a, unclosed action",
        );
        check(
            objects("jsonpath-file=/nonexistent"),
            "cannot read the template in \"/nonexistent\": No such file or directory (os error 2)",
        );
        assert_eq!(tables("wide").expect("is a table"), Some(Table::Wide));
        assert_eq!(
            tables("json").expect("is a table"),
            Some(Table::Document(Format::Json))
        );
    }

    #[test]
    fn a_template_can_be_typed_after_its_candidate() {
        let typed: Vec<_> = candidates(&TABLE)
            .iter()
            .map(|c| c.get_value().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            typed,
            [
                "json",
                "jsonpath=",
                "jsonpath-as-json=",
                "jsonpath-file=",
                "wide",
                "yaml"
            ]
        );
    }
}
