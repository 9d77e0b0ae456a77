//! kubectl's JSONPath templates, as `-o jsonpath=` takes them (k8s.io/client-go,
//! `util/jsonpath/jsonpath.go`).
//!
//! The language is older than RFC 9535. jsonpath-rust selects names at any depth,
//! elements and wildcards; what kubectl sees differently is ours:
//!
//! - `$` and `@` are both the object at hand: the item in a range or a filter.
//! - An index out of bounds, or of what is no array, is an error, and so is a name
//!   that nothing has, unless missing keys are allowed.
//! - An empty slice ends its step: `{.items[*].ports[*]}` stops at the first item
//!   whose ports are an empty list.
//! - A union finds all of its first member, then all of its second.
//! - A filter is for arrays, has one operator, compares values of one type and
//!   skips elements that lack the left side, also for `!=`.
//! - `..` by itself is everything that has parts; the parts of a text are its bytes.
//!
//! Ours differ from kubectl's results in this: `.*` and `..` go through an object
//! in the order of its keys, as `-o json` prints it, where kubectl's order is random;
//! a null that a range hands on is `null`, not `<no value>`; an array's index in a
//! range over nulls is nothing, where kubectl panics.

use std::borrow::Cow;

use jsonpath_rust::{parser::model::JpQuery, query::js_path_process};
use serde_json::Value;

use crate::{
    error::{Error, Result},
    json::{self, Decoded},
    jsonpath_parse::{self, Filter, Node, Path, Slice},
};

/// A template that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    text: String,
    lists: Vec<Vec<Node>>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// A usage error, in kubectl's words, if it makes no sense whatever it is
    /// applied to.
    pub fn parse(text: &str) -> Result<Self> {
        let failed = |why| Error::usage(format!("error parsing jsonpath {text}, {why}"));
        let lists = jsonpath_parse::template(text).map_err(failed)?;
        for node in lists.iter().flatten() {
            if let Node::Word(word) = node {
                return Err(failed(format!("unrecognized identifier {word}"))
                    .hint(format!("a path begins with a dot: {{.{word}}}")));
            }
        }
        let text = text.to_owned();
        Ok(Self { text, lists })
    }

    /// The text that the template makes of a document, without a newline at its end.
    ///
    /// # Errors
    /// If the document has not what the template demands. A missing key is no
    /// error if `allow_missing`.
    pub fn render(&self, document: &Value, allow_missing: bool) -> Result<String> {
        let mut text = String::new();
        for found in self.results(document, allow_missing)? {
            let found: Vec<_> = found.iter().map(|value| shown(value)).collect();
            text.push_str(&found.join(" "));
        }
        Ok(text)
    }

    /// For each action, and each text between them, what it finds, as a JSON array.
    ///
    /// # Errors
    /// As for [`Template::render`].
    pub fn render_as_json(&self, document: &Value, allow_missing: bool) -> Result<String> {
        let mut text = String::new();
        for found in self.results(document, allow_missing)? {
            let found = found.into_iter().map(Cow::into_owned).collect();
            text.push_str(&json::indented(&Value::Array(found)));
            text.push('\n');
        }
        Ok(text)
    }

    fn results<'a>(&'a self, document: &'a Value, allow_missing: bool) -> Result<Vec<Found<'a>>> {
        let mut walk = Walk {
            lists: &self.lists,
            allow_missing,
            begins: 0,
            inside: 0,
            ends: 0,
            last_end: 0,
        };
        let results = walk.lists_from(0, Cow::Borrowed(document));
        results.map_err(|Failure { message, .. }| {
            Error::new(format!("error executing jsonpath {:?}: {message}", self.text))
        })
    }
}

/// What a step has found: values of the document, or written in the template.
type Found<'a> = Vec<Cow<'a, Value>>;

/// Why a step has failed.
struct Failure {
    message: String,
    /// Whether it leaves something behind, which is enough for `[?(…)]` to be true.
    leaves: bool,
}

impl Failure {
    fn new(message: impl Into<String>, leaves: bool) -> Self {
        let message = message.into();
        Self { message, leaves }
    }
}

/// One pass through a template. `range` and `end` only count; the loop over the
/// lists acts on it, as in kubectl, where they can stand anywhere in an action.
struct Walk<'a> {
    lists: &'a [Vec<Node>],
    allow_missing: bool,
    begins: usize,
    inside: usize,
    ends: usize,
    last_end: usize,
}

impl<'a> Walk<'a> {
    /// What the lists find from the one at `first` on, until the range ends.
    fn lists_from(&mut self, first: usize, current: Cow<'a, Value>) -> Result<Vec<Found<'a>>, Failure> {
        let mut all = Vec::new();
        let mut i = first;
        while let Some(list) = self.lists.get(i) {
            let found = self.list(vec![current.clone()], list)?;
            if self.ends > 0 && self.ends <= self.inside {
                self.ends -= 1;
                self.last_end = i;
                break;
            }
            if self.begins == 0 {
                all.push(found);
            } else {
                self.begins -= 1;
                self.inside += 1;
                if found.is_empty() {
                    // To find its end; what is wrong in it is wrong all the same.
                    self.lists_from(i + 1, Cow::Owned(Value::Null))?;
                }
                for value in found {
                    all.append(&mut self.lists_from(i + 1, value)?);
                }
                self.inside -= 1;
                i = i.max(self.last_end);
            }
            i += 1;
        }
        Ok(all)
    }

    fn list(&mut self, mut found: Found<'a>, list: &'a [Node]) -> Result<Found<'a>, Failure> {
        for node in list {
            found = self.step(found, node)?;
        }
        Ok(found)
    }

    fn step(&mut self, input: Found<'a>, node: &'a Node) -> Result<Found<'a>, Failure> {
        match node {
            Node::Text(text) => Ok(vec![Cow::Owned(Value::from(text.as_str()))]),
            Node::Literal(value) => Ok(input.iter().map(|_| Cow::Borrowed(value)).collect()),
            Node::Range => {
                self.begins += 1;
                Ok(input)
            }
            Node::End if self.inside == 0 => Err(Failure::new("not in range, nothing to end", false)),
            Node::End => {
                self.ends += 1;
                Ok(Vec::new())
            }
            Node::Word(word) => Err(Failure::new(
                format!("unrecognized identifier {word}"),
                !input.is_empty(),
            )),
            Node::Path(path) => self.path(&input, path),
            Node::Wildcard => Ok(input.iter().flat_map(parts).collect()),
            Node::Array(slice) => elements(&input, slice),
            Node::Parts => {
                let mut found = Vec::new();
                for value in input {
                    add_with_parts(value, &mut found);
                }
                Ok(found)
            }
            Node::Union(members) => {
                let mut found = Vec::new();
                for member in members {
                    let member = self.list(input.clone(), member);
                    found.append(&mut member.map_err(|e| Failure::new(e.message, !input.is_empty()))?);
                }
                Ok(found)
            }
            Node::Filter(filter) => self.filter(&input, filter),
        }
    }

    fn path(&self, input: &Found<'a>, path: &Path) -> Result<Found<'a>, Failure> {
        let found: Found<'_> = input
            .iter()
            .flat_map(|value| select(value, &path.query))
            .collect();
        let looked = match path.anywhere {
            true => input.iter().any(|value| !parts(value).is_empty()),
            false => !input.is_empty(),
        };
        if !found.is_empty() || self.allow_missing || !looked {
            return Ok(found);
        }
        let is_found = |end: usize| {
            let query = JpQuery::new(path.query.segments[..end].to_vec());
            input.iter().any(|value| !select(value, &query).is_empty())
        };
        let missing = (1..path.names.len())
            .find(|end| !is_found(*end))
            .unwrap_or(path.names.len());
        Err(Failure::new(
            format!("{} is not found", path.names[missing - 1]),
            false,
        ))
    }

    fn filter(&mut self, input: &Found<'a>, filter: &'a Filter) -> Result<Found<'a>, Failure> {
        let mut found = Vec::new();
        for value in input {
            if !value.is_array() {
                let message = format!("{} cannot be filtered: it is not an array", kind(value));
                return Err(Failure::new(message, true));
            }
            for element in parts(value) {
                let passes = self.passes(element.clone(), filter);
                if passes.map_err(|e| Failure::new(e.message, e.leaves || !found.is_empty()))? {
                    found.push(element);
                }
            }
        }
        Ok(found)
    }

    fn passes(&mut self, element: Cow<'a, Value>, filter: &'a Filter) -> Result<bool, Failure> {
        let left = self.list(vec![element.clone()], &filter.left);
        let Some((operator, right)) = &filter.comparison else {
            return Ok(left.map_or_else(|e| e.leaves, |left| !left.is_empty()));
        };
        let Some(left) = single(left)? else {
            return Ok(false);
        };
        let right = self.list(vec![element], right);
        let Some(right) = single(right)? else {
            return Ok(false);
        };
        compare(&left, operator, &right).map_err(|message| Failure::new(message, false))
    }
}

/// What a query in RFC 9535 selects. What is not of the document has no parts.
fn select<'a>(value: &Cow<'a, Value>, query: &JpQuery) -> Found<'a> {
    let found = match value {
        Cow::Borrowed(value) => js_path_process(query, *value).unwrap_or_default(),
        Cow::Owned(_) => Vec::new(),
    };
    found
        .into_iter()
        .map(|found| Cow::Borrowed(found.val()))
        .collect()
}

/// The elements of an array, the values of an object, the bytes of a text.
fn parts<'a>(value: &Cow<'a, Value>) -> Found<'a> {
    match &**value {
        Value::String(text) => text.bytes().map(|byte| Cow::Owned(byte.into())).collect(),
        _ => select(value, &jsonpath_parse::wildcard()),
    }
}

/// Adds a value, if it has parts, and those below it that have some.
fn add_with_parts<'a>(value: Cow<'a, Value>, found: &mut Found<'a>) {
    let parts = parts(&value);
    if !parts.is_empty() {
        found.push(value);
    }
    for part in parts {
        add_with_parts(part, found);
    }
}

/// The elements of arrays, once kubectl has nothing against it.
fn elements<'a>(input: &Found<'a>, slice: &Slice) -> Result<Found<'a>, Failure> {
    let failed = |message| Err(Failure::new(message, true));
    let mut found = Vec::new();
    for value in input {
        let length = match &**value {
            Value::Array(array) => i64::try_from(array.len()).unwrap_or(i64::MAX),
            Value::Null => continue,
            other => return failed(format!("{} is not an array", kind(other))),
        };
        let start = slice.start + if slice.start < 0 { length } else { 0 };
        let end = match slice.end.unwrap_or(length) {
            end if end < 0 || (end == 0 && slice.single) => end + length,
            end => end,
        };
        if start == end {
            return Ok(found);
        }
        let beyond = |index| {
            failed(format!(
                "array index out of bounds: index {index}, length {length}"
            ))
        };
        if !(0..length).contains(&start) {
            return beyond(start);
        }
        if !(0..=length).contains(&end) {
            return beyond(end - 1);
        }
        if start > end {
            return failed(format!(
                "starting index {start} is greater than ending index {end}"
            ));
        }
        if slice.step <= 0 {
            return failed("step must be > 0".to_owned());
        }
        found.extend(select(value, &slice.query));
    }
    Ok(found)
}

/// The one side of a comparison, if there is any.
fn single<'a>(side: Result<Found<'a>, Failure>) -> Result<Option<Cow<'a, Value>>, Failure> {
    let mut side = side.map_err(|e| Failure::new(e.message, true))?;
    match side.len() {
        0 | 1 => Ok(side.pop()),
        _ => Err(Failure::new("can only compare one element at a time", true)),
    }
}

fn compare(left: &Value, operator: &str, right: &Value) -> Result<bool, String> {
    let ordering = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) if matches!(operator, "==" | "!=") => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        (Value::Number(left), Value::Number(right)) => match (Decoded::of(left), Decoded::of(right)) {
            (Decoded::Int(left), Decoded::Int(right)) => Some(left.cmp(&right)),
            (Decoded::Float(left), Decoded::Float(right)) => left.partial_cmp(&right),
            _ => None,
        },
        _ => None,
    };
    let ordering =
        ordering.ok_or_else(|| format!("{} {operator} {} cannot be compared", kind(left), kind(right)))?;
    match operator {
        "==" => Ok(ordering.is_eq()),
        "!=" => Ok(ordering.is_ne()),
        "<" => Ok(ordering.is_lt()),
        "<=" => Ok(ordering.is_le()),
        ">" => Ok(ordering.is_gt()),
        ">=" => Ok(ordering.is_ge()),
        _ => Err(format!("unrecognized filter operator {operator}")),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) => match Decoded::of(number) {
            Decoded::Int(_) => "an integer",
            Decoded::Float(_) => "a float",
        },
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// A value as kubectl prints it: text without quotes, and JSON for what has parts.
fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => json::plain(number),
        other => json::compact(other),
    }
}
